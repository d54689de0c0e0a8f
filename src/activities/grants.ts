import { quoteIdentifier } from '../clickhouse/sql';
import { STORE_DATABASE } from '../clickhouse/store';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import type { HostSpec } from '../domain/spec';
import type { ListedReplica } from './inspect';

/** To see everything that lives on the server: what is not seen is not guarded either. */
export const TO_LOOK = ['SELECT ON system.*', 'SHOW TABLES ON *.*'] as const;

/** For this program's own database, see clickhouse/store.ts; a replicated table is made and dropped there to find the root. */
const FOR_STORE = ['CREATE DATABASE', 'CREATE TABLE', 'DROP TABLE', 'INSERT', 'SELECT', 'ALTER DELETE'] as const;

/** DETACH needs DROP TABLE, ATTACH needs CREATE TABLE, and ATTACH PART, which repairs, needs INSERT. */
const FOR_TABLES = ['SYSTEM MERGES', 'DROP TABLE', 'CREATE TABLE', 'SYSTEM RESTORE REPLICA', 'SYSTEM SYNC REPLICA', 'INSERT'] as const;

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
 * Source: https://clickhouse.com/docs/sql-reference/statements/grant
 */
export function neededGrants(host: HostSpec, replicas: readonly ListedReplica[]): string[] {
  const databases = [...new Set(replicas.filter(({ selected }) => selected).map(({ replica }) => replica.database))].sort();
  return [
    ...TO_LOOK,
    ...FOR_STORE.map((right) => `${right} ON ${STORE_DATABASE}.*`),
    ...databases.flatMap((name) => FOR_TABLES.map((right) => `${right} ON ${quoteIdentifier(name)}.*`)),
    ...(host.restart.strategy.kind === 'sql' ? ['SYSTEM SHUTDOWN ON *.*'] : []),
  ];
}

/**
 * Those of `needed` that the user lacks: one query where it has all.
 *
 * @throws MigrationError when the server does not answer
 */
export async function missingGrants(server: ClickHouseHost, needed: readonly string[]): Promise<MissingGrants> {
  const { user } = server.target;
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

async function granted(server: ClickHouseHost, grants: string): Promise<boolean> {
  const [row] = await server.ask<{ result: number | string }>(`CHECK GRANT ${grants}`, { doing: 'asking for rights', timeoutMs: 10_000 });
  return Number(row?.result) === 1;
}

/** The statement that gives a right. */
export function grantStatement(grant: string, user: string): string {
  return `GRANT ${grant} TO ${quoteIdentifier(user)}`;
}
