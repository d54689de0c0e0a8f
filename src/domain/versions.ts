/** What versions of ClickHouse can do, and what is wrong with some. A version is as `version()` answers it: `25.12.4.35`. */
import semver from 'semver';

/** `SYSTEM RESTORE REPLICA` came with 21.7. Source: https://clickhouse.com/docs/whats-new/changelog/2021 */
const LEAST_VERSION = '21.7.0';

/**
 * Releases whose zero-copy replication deletes blobs that other replicas still use. ClickHouse pull request 94262 made them so in 26.1, and
 * in 25.12.4, 25.11.7, 25.10.5 and 25.8.15 by its backports; the one that mends it (95597) is in the release notes of no later release of
 * these lines that were read (25.12.8, 25.8.16, 26.1.2), so each counts to its end.
 */
const DAMAGES_SHARED_BLOBS = '>=25.8.15 <25.9 || >=25.10.5 <25.11 || >=25.11.7 <25.12 || 25.12.x || 26.1.x';

/** Altinity's own builds of 25.8 have the mending one from this on. Source: the release notes of 25.8.28.10001.altinitystable */
const ALTINITY_MENDED = { release: '25.8.28', build: 10_001 };

/** Whether the server knows `SYSTEM RESTORE REPLICA`. What is no version is too old. */
export function knowsRestoreReplica(version: string): boolean {
  const parsed = semver.coerce(version);
  return parsed !== null && semver.gte(parsed, LEAST_VERSION);
}

/** Whether the server may delete blobs that zero-copy replicas share. */
export function damagesSharedBlobs(version: string): boolean {
  const parsed = semver.coerce(version);
  return parsed !== null && semver.satisfies(parsed, DAMAGES_SHARED_BLOBS) && !isMendedByAltinity(version, parsed);
}

function isMendedByAltinity(version: string, parsed: semver.SemVer): boolean {
  if (!version.includes('altinity') || parsed.major !== 25 || parsed.minor !== 8) return false;
  const build = Number(version.split('.')[3]);
  const { release } = ALTINITY_MENDED;
  return semver.gt(parsed, release) || (semver.eq(parsed, release) && build >= ALTINITY_MENDED.build);
}
