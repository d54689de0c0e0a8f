import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type ReplicaRef, replicaLabel } from '../domain/inventory';
import type { ManifestDifference } from '../domain/manifest';
import { type ReplicaNote, STORE_DATABASE } from '../clickhouse/store';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { report, sleep } from './deps';

/** What a server says of one replica now. */
export interface ReplicaState {
  readonly attached: boolean;
  readonly uuid: string;
  readonly engine: string;
  /** Below: only of an attached replica. */
  readonly readonly: boolean;
  readonly zookeeperPath: string;
  readonly replicaName: string;
  /** Without merges: where they are stopped a server goes on choosing them, and they bring no row. */
  readonly queueSize: number;
  readonly sessionExpired: boolean;
}

const NOT_ATTACHED: ReplicaState = {
  attached: false,
  uuid: '',
  engine: '',
  readonly: true,
  zookeeperPath: '',
  replicaName: '',
  queueSize: 0,
  sessionExpired: false,
};

interface LookRow {
  readonly kind: 'table' | 'replica';
  readonly database: string;
  readonly table: string;
  readonly a: string;
  readonly b: string;
  readonly readonly: number;
  readonly queue_size: number;
  readonly expired: number;
}

/** Looks whether the replica is attached, and how it is, without a read of ZooKeeper. An attached one that is no replicated table any more is `TABLE_CHANGED`. */
export async function lookAtReplica(host: ClickHouseHost, replica: ReplicaRef): Promise<ReplicaState> {
  const { database, table } = replica;
  const rows = await askTogether(host, 'state', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const all = await host.select<LookRow>(
      `SELECT 'table' AS kind, database, name AS table, toString(uuid) AS a, engine AS b, 0 AS readonly, toUInt32(0) AS queue_size, 0 AS expired
       FROM system.tables WHERE ${condition('database', 'name')}
       UNION ALL SELECT 'replica', database, table, zookeeper_path, replica_name, is_readonly, toUInt32(queue_size - merges_in_queue), is_session_expired
       FROM system.replicas WHERE ${condition('database', 'table')}`,
      { params, doing: `looking at ${labelOf(tables)}` },
    );
    return tables.map(rowsOf(all));
  });
  return stateOf(replica, rows);
}

function stateOf(replica: ReplicaRef, rows: readonly LookRow[]): ReplicaState {
  const table = rows.find(({ kind }) => kind === 'table');
  if (table === undefined) return NOT_ATTACHED;
  if (!table.b.startsWith('Replicated')) {
    throw new MigrationError('TABLE_CHANGED', `${replicaLabel(replica)} is a ${table.b} table now, and no replicated one`);
  }
  const state = rows.find(({ kind }) => kind === 'replica');
  // Between the two reads it may have come or gone: what is not seen as a replica is not readonly for sure, nor anything else.
  if (state === undefined) throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is attached, and not among the server's replicas yet`);
  return {
    attached: true,
    uuid: table.a,
    engine: table.b,
    readonly: state.readonly === 1,
    zookeeperPath: state.a,
    replicaName: state.b,
    queueSize: state.queue_size,
    sessionExpired: state.expired === 1,
  };
}

/** Throws `TABLE_CHANGED` when what is attached under the replica's name is not what the inventory froze. */
export function sameTable(replica: InventoryReplica, state: ReplicaState): void {
  if (!state.attached) return;
  const differences = [
    ['uuid', replica.uuid, state.uuid],
    ['ZooKeeper path', replica.zookeeperPath, state.zookeeperPath],
    ['replica name', replica.replicaName, state.replicaName],
  ].filter(([, frozen, now]) => frozen !== now);
  if (differences.length === 0) return;
  const words = differences.map(([what, frozen, now]) => `${what} ${now} (the inventory has ${frozen})`).join(', ');
  throw new MigrationError('TABLE_CHANGED', `${replicaLabel(replica)} is another table now: ${words}`);
}

/** Ways to name one side of a comparison of parts. */
export type PartsSide =
  | { readonly kind: 'active' }
  | { readonly kind: 'manifest'; readonly take: string };

/**
 * Compares two multisets of `(partition_id, rows, hash_of_all_files)` on the server, in one query whatever their size: what `expected`
 * has and `actual` lacks, and the other way round. Parts without rows are left out, the server drops them by itself.
 */
export async function compareParts(
  host: ClickHouseHost,
  migration: string,
  replica: ReplicaRef,
  expected: PartsSide,
  actual: PartsSide,
): Promise<ManifestDifference> {
  const params: Record<string, string> = { migration, database: replica.database, table: replica.table };
  const side = (of: PartsSide, weight: number, name: string): string => {
    const columns = `partition_id, rows, hash_of_all_files, ${weight} AS weight`;
    if (of.kind === 'active') {
      return `SELECT ${columns} FROM system.parts WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}`;
    }
    params[name] = of.take;
    return `SELECT ${columns} FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String} AND database = {database:String}
      AND table = {table:String} AND take = {${name}:String} AND rows > 0`;
  };
  const rows = await host.select<Record<'mp' | 'mr' | 'ep' | 'er', string>>(
    `SELECT sumIf(n, n > 0) AS mp, sumIf(n * toInt64(rows), n > 0) AS mr, -sumIf(n, n < 0) AS ep, -sumIf(n * toInt64(rows), n < 0) AS er
     FROM (SELECT partition_id, rows, hash_of_all_files, sum(toInt64(weight)) AS n
       FROM (${side(expected, 1, 'expected')} UNION ALL ${side(actual, -1, 'actual')})
       GROUP BY partition_id, rows, hash_of_all_files HAVING n != 0)`,
    { params, doing: `comparing the parts of ${replica.database}.${replica.table}`, timeoutMs: 300_000 },
  );
  const row = rows[0];
  if (row === undefined) throw new MigrationError('INVARIANT', 'a comparison of parts without an answer');
  return {
    missingParts: Number(row.mp),
    missingRows: Number(row.mr),
    extraParts: Number(row.ep),
    extraRows: Number(row.er),
  };
}

interface ComparedRow {
  readonly database: string;
  readonly table: string;
  readonly mp: string;
  readonly mr: string;
  readonly ep: string;
  readonly er: string;
  readonly expected: string;
  readonly names: string[];
}

/**
 * Compares a replica's active parts with a saved manifest, as {@link compareParts} does, and lists the names of the active ones, parts
 * without rows included: one query for both, and for all replicas of the host that are compared at the same time.
 *
 * @param by uncompressed where parts may have come from another replica: it may compress them otherwise
 *
 * @throws MigrationError `MANIFEST_MISSING` when the manifest has not the parts that were counted when it was saved
 */
export async function compareWithBaseline(
  host: ClickHouseHost,
  migration: string,
  replica: ReplicaRef,
  { baselineTake: take, parts }: Pick<ReplicaNote, 'baselineTake' | 'parts'>,
  by: 'hash_of_all_files' | 'hash_of_uncompressed_files',
): Promise<{ difference: ManifestDifference; names: readonly string[] }> {
  const { database, table } = replica;
  const row = await askTogether(host, `baseline ${by} ${migration}`, { database, table, take }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await host.select<ComparedRow>(
      `SELECT database, table, sumIf(n, n > 0 AND rows > 0) AS mp, sumIf(n * toInt64(rows), n > 0) AS mr,
         -sumIf(n, n < 0 AND rows > 0) AS ep, -sumIf(n * toInt64(rows), n < 0) AS er, sum(saved) AS expected,
         groupArrayArray(active) AS names
       FROM (SELECT database, table, partition_id, rows, hash, sum(toInt64(weight)) AS n, countIf(weight = 1) AS saved,
           groupArrayIf(name, weight = -1) AS active
         FROM (SELECT database, table, name, partition_id, rows, ${by} AS hash, 1 AS weight FROM ${STORE_DATABASE}.manifests
             WHERE migration = {migration:String} AND ${condition('database', 'table')} AND take IN {takes:Array(String)}
           UNION ALL SELECT database, table, name, partition_id, rows, ${by}, -1 FROM system.parts
             WHERE active AND ${condition('database', 'table')})
         GROUP BY database, table, partition_id, rows, hash)
       GROUP BY database, table`,
      {
        params: { ...params, migration, takes: tables.map((one) => one.take) },
        doing: `comparing the parts of ${labelOf(tables)}`,
        timeoutMs: 300_000,
      },
    );
    const of = rowsOf(rows);
    return tables.map((one) => of(one)[0]);
  });
  // Nothing saved and nothing there: a table without parts.
  const { mp = 0, mr = 0, ep = 0, er = 0, expected = 0, names = [] } = row ?? {};
  if (Number(expected) !== parts) {
    throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)}: its saved manifest has ${expected} parts of ${parts}`);
  }
  return { difference: { missingParts: Number(mp), missingRows: Number(mr), extraParts: Number(ep), extraRows: Number(er) }, names };
}

/** A statement that runs on a server. */
export interface RunningStatement {
  /** ISO 8601, UTC, by the server's clock. */
  readonly since: string;
}

/** The statement with this id, while it runs on the server. */
export async function runningStatement(host: ClickHouseHost, queryId: string): Promise<RunningStatement | undefined> {
  const [row] = await host.select<{ since: string }>(
    'SELECT toString(toInt64(toUnixTimestamp(now()) - elapsed)) AS since FROM system.processes WHERE query_id = {queryId:String}',
    { params: { queryId }, doing: 'looking for a running statement' },
  );
  return row === undefined ? undefined : { since: new Date(Number(row.since) * 1000).toISOString() };
}

/** Waits until no statement with this id runs on the server any more, however long it does, and says so. */
export async function waitWhileRunning(host: ClickHouseHost, queryId: string): Promise<void> {
  for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    const running = await runningStatement(host, queryId);
    if (running === undefined) return;
    report({ doing: waitingWords(host, queryId, running) });
    await sleep(pauseMs);
  }
}

/** What is said of a statement that is waited for; to be found, and killed, by its id. */
export function waitingWords(host: ClickHouseHost, queryId: string, { since }: RunningStatement): string {
  return `waiting for the statement ${queryId} on ${host.name}, which runs since ${since}`;
}

/** A server that attached a table, or renews its session, has it readonly for seconds. */
export const ACTIVE_WITHIN_MS = 60_000;

/** Waits until an attached replica is active. Answers false when it is still readonly in the end. */
export async function untilActive(host: ClickHouseHost, replica: InventoryReplica, withinMs = ACTIVE_WITHIN_MS): Promise<boolean> {
  const end = Date.now() + withinMs;
  while ((await lookAtReplica(host, replica)).readonly) {
    if (Date.now() > end) return false;
    report({ doing: 'waiting until it is active again' });
    await sleep(200);
  }
  return true;
}
