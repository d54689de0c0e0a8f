import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import { type ReplicaRef, replicaLabel } from '../domain/inventory';
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
 * Has the server write the asynchronous INSERTs into a replica which it has acknowledged and holds in its memory still (`async_insert = 1`,
 * `wait_for_async_insert = 0`). Its queue knows the table by name alone, and finds none when it comes to write after a DETACH: the rows
 * would be gone. Where the statement is refused or not known it is waited until the queue has emptied by itself.
 *
 * Source: https://clickhouse.com/docs/optimize/asynchronous-inserts, and `AsynchronousInsertQueue::processData` in ClickHouse
 */
export async function flushAsyncInserts(host: ClickHouseHost, replica: ReplicaRef): Promise<AsyncInsertsOutcome> {
  const first = await pendingAsyncInserts(host, replica);
  if (first.length === 0) return { waited: false };
  report({ doing: `SYSTEM FLUSH ASYNC INSERT QUEUE on ${host.name}` });
  const refusal = await flush(host, replica);
  // One that writes without end fills it again at once: only what was there before is waited for.
  const seen = new Set(first);
  for (const end = Date.now() + EMPTIES_WITHIN_MS; ; await sleep(LOOK_EVERY_MS)) {
    const left = (await pendingAsyncInserts(host, replica)).filter((id) => seen.has(id)).length;
    if (left === 0) return { waited: true };
    if (Date.now() < end) continue;
    const why = refusal === undefined ? '' : `; SYSTEM FLUSH ASYNC INSERT QUEUE was refused: ${refusal.message}`;
    return { waited: true, words: `${left} asynchronous INSERT(s) that ${host.name} had acknowledged were not written yet when it was detached, and their rows may be lost${why}` };
  }
}

/** The refusal, where the server does not know the statement or does not let the user run it. */
async function flush(host: ClickHouseHost, replica: ReplicaRef): Promise<MigrationError | undefined> {
  try {
    await host.run(statements.flushAsyncInserts(), { doing: `writing the asynchronous INSERTs into ${replicaLabel(replica)}`, timeoutMs: FLUSH_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    if (error instanceof MigrationError && error.kind !== 'passing') return error;
    throw error;
  }
}

const withoutQueue = new WeakSet<ClickHouseHost>();

/** The ids of the INSERTs into a table that wait in the server's memory; none where it has no such queue (before 21.11). */
async function pendingAsyncInserts(host: ClickHouseHost, { database, table }: ReplicaRef): Promise<readonly string[]> {
  if (withoutQueue.has(host)) return [];
  return askTogether(host, 'asynchronous inserts', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    try {
      const rows = await host.select<{ database: string; table: string; ids: string[] }>(
        `SELECT database, table, \`entries.query_id\` AS ids FROM system.asynchronous_inserts WHERE ${condition('database', 'table')}`,
        { params, doing: `looking for asynchronous INSERTs into ${labelOf(tables)}` },
      );
      const of = rowsOf(rows);
      return tables.map((one) => of(one).flatMap(({ ids }) => ids));
    } catch (error) {
      if (!(error instanceof MigrationError) || error.type !== 'UNKNOWN_TABLE') throw error;
      withoutQueue.add(host);
      return tables.map(() => []);
    }
  });
}
