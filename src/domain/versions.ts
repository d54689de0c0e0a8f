/** What versions of ClickHouse can do, and what is wrong with some. A version is as `version()` answers it: `25.12.4.35`. */
import semver from 'semver';

/** `SYSTEM RESTORE REPLICA` came with 21.7. Source: https://clickhouse.com/docs/whats-new/changelog/2021 */
const LEAST_VERSION = '21.7.0';

/**
 * Releases whose zero-copy replication deletes blobs that other replicas still use (ClickHouse issue 94262). Its fix (pull request 95597)
 * is in the release notes of no 25.12 release up to 25.12.8, so the whole line counts.
 */
const DAMAGES_SHARED_BLOBS = '25.12.x';

/** Whether the server knows `SYSTEM RESTORE REPLICA`. What is no version is too old. */
export function knowsRestoreReplica(version: string): boolean {
  const parsed = semver.coerce(version);
  return parsed !== null && semver.gte(parsed, LEAST_VERSION);
}

/** Whether the server may delete blobs that zero-copy replicas share. */
export function damagesSharedBlobs(version: string): boolean {
  const parsed = semver.coerce(version);
  return parsed !== null && semver.satisfies(parsed, DAMAGES_SHARED_BLOBS);
}
