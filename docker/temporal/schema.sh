#!/bin/sh
# Temporal's two databases in PostgreSQL. Every step does nothing where it is done already.
set -eu

prepare() { # DATABASE SCHEMA
  sql="temporal-sql-tool --plugin postgres12 --ep $SQL_HOST -p 5432 -u $SQL_USER --db $1"
  $sql create
  $sql setup-schema -v 0.0
  $sql update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
