import type { google } from '@temporalio/proto';

type Timestamp = google.protobuf.ITimestamp | null | undefined;

/** Milliseconds since the epoch. */
export function toMillis(time: Timestamp): number | undefined {
  if (time === null || time === undefined) return undefined;
  return Number(time.seconds ?? 0) * 1000 + Math.floor((time.nanos ?? 0) / 1_000_000);
}

/** ISO 8601, UTC. */
export function toIso(time: Timestamp): string | undefined {
  const millis = toMillis(time);
  return millis === undefined ? undefined : new Date(millis).toISOString();
}
