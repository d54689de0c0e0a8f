#!/bin/sh
# The namespace of the migrations. A migration can be looked at, retried and exported for as long as its history is kept.
set -eu

tries=0
until temporal operator cluster health; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || exit 1
  sleep 2
done
temporal operator namespace describe --namespace default || temporal operator namespace create --namespace default --retention 30d
