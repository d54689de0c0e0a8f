import { quoteIdentifier } from '../clickhouse/sql';
import { STORE_DATABASE } from '../clickhouse/store';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import type { ListedReplica } from './inspect';
import { settingOf, storageOf } from './zero-copy-storage';

/** To see everything that lives on the server: what is not seen is not guarded either. */
export const TO_LOOK = ['SELECT ON system.*', 'SHOW TABLES ON *.*'] as const;

/** For this program's own database, see clickhouse/store.ts; a replicated table is made and dropped there to find the root. */
const FOR_STORE = ['CREATE DATABASE', 'CREATE TABLE', 'DROP TABLE', 'INSERT', 'SELECT', 'ALTER DELETE', 'ALTER ADD COLUMN'] as const;

/** DETACH needs DROP TABLE, ATTACH needs CREATE TABLE, and ATTACH PART, which repairs, needs INSERT. */
const FOR_TABLES = ['SYSTEM MERGES', 'DROP TABLE', 'CREATE TABLE', 'SYSTEM RESTORE REPLICA', 'SYSTEM SYNC REPLICA', 'INSERT'] as const;

/** What it needs beside of a database with a zero-copy table: they are stopped. */
const FOR_ZERO_COPY = ['SYSTEM MOVES', 'SYSTEM CLEANUP'] as const;
/** And where `verify.blobs` has their blobs read. */
const FOR_BLOBS = 'SELECT';

/** Wanted, not needed: without it marks that are cached may stand for a blob, which is said of the replica. */
export const FOR_MARK_CACHE = 'SYSTEM DROP MARK CACHE ON *.*';

/** Wanted, not needed: without it a queue of asynchronous INSERTs is waited for. */
export const FOR_ASYNC_INSERTS = 'SYSTEM FLUSH ASYNC INSERT QUEUE ON *.*';

/** The user of the spec, and what it lacks: each grant is what follows GRANT, without the TO. */
export interface MissingGrants {
  readonly user: string;
  readonly grants: readonly string[];
  /** False where the server does not know `CHECK GRANT` (before 24.10): nothing was looked at. */
  readonly checked: boolean;
}

/**
 * Every right that a run needs on a host, as `CHECK GRANT` takes it.
 *
 * @param zeroCopy those of the replicas that are zero-copy ones
 * @param blobs how their blobs are proved (`verify.blobs`)
 * Source: https://clickhouse.com/docs/sql-reference/statements/grant
 */
export function neededGrants(
  host: HostSpec,
  replicas: readonly ListedReplica[],
  zeroCopy: readonly ListedReplica[],
  blobs: MigrationSpec['verify']['blobs'],
): string[] {
  const forZeroCopy = blobs === 'locks' ? FOR_ZERO_COPY : [...FOR_ZERO_COPY, FOR_BLOBS];
  const databasesOf = (those: readonly ListedReplica[]): string[] =>
    [...new Set(those.filter(({ selected }) => selected).map(({ replica }) => replica.database))].sort();
  return [
    ...TO_LOOK,
    ...FOR_STORE.map((right) => `${right} ON ${STORE_DATABASE}.*`),
    ...databasesOf(replicas).flatMap((name) => FOR_TABLES.map((right) => `${right} ON ${quoteIdentifier(name)}.*`)),
    ...databasesOf(zeroCopy).flatMap((name) => forZeroCopy.map((right) => `${right} ON ${quoteIdentifier(name)}.*`)),
    ...(host.restart.strategy.kind === 'sql' ? ['SYSTEM SHUTDOWN ON *.*'] : []),
  ];
}

/** The replicas with zero-copy replication. */
export async function zeroCopyAmong(server: ClickHouseHost, replicas: readonly ListedReplica[]): Promise<ListedReplica[]> {
  const storage = await storageOf(server);
  return replicas.filter((one) => {
    const { remote, on } = settingOf(storage, one);
    return remote && on;
  });
}

/**
 * Those of `needed` that the user lacks: one query where it has all. A user that was given all of it on
 * everything is seen by its own grants, so that nothing but a SELECT is sent.
 *
 * @throws MigrationError when the server does not answer
 */
export async function missingGrants(server: ClickHouseHost, needed: readonly string[]): Promise<MissingGrants> {
  const { user } = server.target;
  if (await hasEverywhere(server, needed)) return { user, grants: [], checked: true };
  try {
    if (await granted(server, needed.join(', '))) return { user, grants: [], checked: true };
    const grants: string[] = [];
    for (const grant of needed) {
      if (!(await granted(server, grant))) grants.push(grant);
    }
    return { user, grants, checked: true };
  } catch (error) {
    if (error instanceof MigrationError && error.type === 'UNSUPPORTED') return { user, grants: [], checked: false };
    throw error;
  }
}

/** Whether the user itself was given all of `needed` on everything. One that may not see its grants was not. */
async function hasEverywhere(server: ClickHouseHost, needed: readonly string[]): Promise<boolean> {
  try {
    const rows = await server.select<{ type: string; revoke: number }>(
      `SELECT access_type AS type, is_partial_revoke AS revoke FROM system.grants
       WHERE user_name = currentUser() AND (is_partial_revoke OR (database IS NULL AND table IS NULL AND column IS NULL))`,
      { doing: 'reading its grants', timeoutMs: 10_000 },
    );
    if (rows.some(({ revoke }) => revoke === 1)) return false;
    const given = ({ type }: { type: string }, right: string): boolean => type === 'ALL' || right === type || right.startsWith(`${type} `);
    return needed.every((grant) => rows.some((row) => given(row, grant.slice(0, grant.indexOf(' ON ')))));
  } catch (error) {
    if (error instanceof MigrationError && error.kind !== 'passing') return false;
    throw error;
  }
}

async function granted(server: ClickHouseHost, grants: string): Promise<boolean> {
  const [row] = await server.ask<{ result: number | string }>(`CHECK GRANT ${grants}`, { doing: 'asking for rights', timeoutMs: 10_000 });
  return Number(row?.result) === 1;
}

/** The statement that gives a right. */
export function grantStatement(grant: string, user: string): string {
  return `GRANT ${grant} TO ${quoteIdentifier(user)}`;
}
