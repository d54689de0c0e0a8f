import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import type { ReplicaRef } from '../domain/inventory';
import { report, sleep } from './deps';

const FLUSH_TIMEOUT_MS = 600_000;
/** A queue that may not be flushed empties by itself: by default an entry waits in it for a second at most. */
const EMPTIES_WITHIN_MS = 10_000;
const LOOK_EVERY_MS = 200;

/** What was done about a replica's asynchronous INSERTs. */
export interface AsyncInsertsOutcome {
  /** Time went by, and what was looked at before has to be looked at again. */
  readonly waited: boolean;
  /** What could not be brought into the table, in words. */
  readonly words?: string;
}

/**
 * Has the server write the asynchronous INSERTs into a replica which it has acknowledged and not written yet (`async_insert = 1`,
 * `wait_for_async_insert = 0`). Its queue knows the table by name alone, and finds none when it comes to write after a DETACH: the rows
 * would be gone. One that is being written stands in no queue any more, and counts for every table of the host: only FLUSH waits for it. Where the
 * statement is refused or not known it is waited until all that has ended by itself.
 *
 * Source: https://clickhouse.com/docs/optimize/asynchronous-inserts, and `AsynchronousInsertQueue::processData` in ClickHouse
 */
export async function flushAsyncInserts(host: ClickHouseHost, replica: ReplicaRef): Promise<AsyncInsertsOutcome> {
  const first = await pendingAsyncInserts(host, replica);
  if (first.ids.length === 0 && first.writing === 0) return { waited: false };
  report({ doing: `SYSTEM FLUSH ASYNC INSERT QUEUE on ${host.name}` });
  const { refusal } = await askTogether(host, 'flush of asynchronous inserts', { database: replica.database, table: replica.table }, async (tables) => {
    const flushed = await flush(host, tables);
    return tables.map(() => flushed);
  });
  // One that writes without end fills it again at once: only what was there before is waited for.
  const seen = new Set(first.ids);
  for (const end = Date.now() + EMPTIES_WITHIN_MS; ; await sleep(LOOK_EVERY_MS)) {
    const { ids, writing } = await pendingAsyncInserts(host, replica);
    const left = ids.filter((id) => seen.has(id)).length;
    if (left === 0 && (refusal === undefined || writing === 0)) return { waited: true };
    if (Date.now() < end) continue;
    const what = left === 0 ? `asynchronous INSERTs that ${host.name} was writing, into this or another table,` : `${left} asynchronous INSERT(s) that ${host.name} had acknowledged`;
    const why = refusal === undefined ? '' : `; SYSTEM FLUSH ASYNC INSERT QUEUE was refused: ${refusal.message}`;
    return { waited: true, words: `${what} were not written yet when it was detached, and their rows may be lost${why}` };
  }
}

/** Of the whole host, for all who ask at the same time. The refusal, where the server does not know the statement or does not let the user run it. */
async function flush(host: ClickHouseHost, tables: readonly Pick<ReplicaRef, 'database' | 'table'>[]): Promise<{ readonly refusal?: MigrationError }> {
  try {
    await host.run(statements.flushAsyncInserts(), { doing: `writing the asynchronous INSERTs into ${labelOf(tables)}`, timeoutMs: FLUSH_TIMEOUT_MS });
    return {};
  } catch (error) {
    if (error instanceof MigrationError && error.kind !== 'passing') return { refusal: error };
    throw error;
  }
}

interface Pending {
  /** The INSERTs into a table that wait in the server's memory. */
  readonly ids: readonly string[];
  /** Those of all tables that wait or are being written. */
  readonly writing: number;
}

const NONE: Pending = { ids: [], writing: 0 };
const withoutQueue = new WeakSet<ClickHouseHost>();

/** Nothing where the server has no such queue (before 21.11). */
async function pendingAsyncInserts(host: ClickHouseHost, { database, table }: ReplicaRef): Promise<Pending> {
  if (withoutQueue.has(host)) return NONE;
  return askTogether(host, 'asynchronous inserts', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const doing = `looking for asynchronous INSERTs into ${labelOf(tables)}`;
    try {
      // In this order: one that leaves the queue in between is counted still.
      const rows = await host.select<{ database: string; table: string; ids: string[] }>(
        `SELECT database, table, \`entries.query_id\` AS ids FROM system.asynchronous_inserts WHERE ${condition('database', 'table')}`,
        { params, doing },
      );
      const [metric] = await host.select<{ n: string }>("SELECT toString(value) AS n FROM system.metrics WHERE metric = 'PendingAsyncInsert'", { doing });
      const of = rowsOf(rows);
      return tables.map((one) => ({ ids: of(one).flatMap(({ ids }) => ids), writing: Number(metric?.n ?? 0) }));
    } catch (error) {
      if (!(error instanceof MigrationError) || error.type !== 'UNKNOWN_TABLE') throw error;
      withoutQueue.add(host);
      return tables.map(() => NONE);
    }
  });
}
