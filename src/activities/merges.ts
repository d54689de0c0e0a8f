import type { ClickHouseHost } from '../clickhouse/host';
import { STORE_DATABASE } from '../clickhouse/store';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import { type ReplicaRef, replicaLabel } from '../domain/inventory';
import { report, sleep, stopIfCancelled } from './deps';

/** A merge that was stopped ends at the next block it reads, and one that is being committed within seconds. */
const MERGES_END_WITHIN_MS = 300_000;

/**
 * Waits until no merge or mutation of a replica runs any more whose merges were stopped: STOP MERGES does not wait, and one that is past its
 * last look at it commits all the same. A manifest taken before that would name parts that the replica has no more.
 *
 * Source: https://clickhouse.com/docs/operations/system-tables/merges
 *
 * @throws MigrationError `STILL_RUNNING` when they have not ended after minutes
 */
export async function untilMergesEnded(host: ClickHouseHost, replica: ReplicaRef): Promise<void> {
  const end = Date.now() + MERGES_END_WITHIN_MS;
  for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    const running = await runningMerges(host, replica);
    const [first] = running;
    if (first === undefined) return;
    const words = `${running.length} merge(s) or mutation(s) of ${replicaLabel(replica)} that were stopped, and have not ended yet (${first})`;
    if (Date.now() > end) throw new MigrationError('STILL_RUNNING', `${words}: no manifest is saved before that; see system.merges on ${host.name}`);
    report({ doing: `waiting for ${words}` });
    stopIfCancelled();
    await sleep(pauseMs);
  }
}

/** The parts that merges and mutations of a replica make now. */
async function runningMerges(host: ClickHouseHost, { database, table }: ReplicaRef): Promise<readonly string[]> {
  return askTogether(host, 'merges', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await host.select<{ database: string; table: string; part: string }>(
      `SELECT database, table, result_part_name AS part FROM system.merges WHERE ${condition('database', 'table')}`,
      { params, doing: `looking for merges of ${labelOf(tables)}` },
    );
    const of = rowsOf(rows);
    return tables.map((one) => of(one).map(({ part }) => part));
  });
}

/**
 * How many parts with rows a manifest names that are active no more: a merge, a mutation or a DROP PARTITION took their place since. What
 * came beside them since is not counted.
 */
export async function goneSince(host: ClickHouseHost, migration: string, { database, table }: ReplicaRef, take: string): Promise<number> {
  return askTogether(host, `gone ${migration}`, { database, table, take }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await host.select<{ database: string; table: string; n: string }>(
      `SELECT database, table, count() AS n FROM ${STORE_DATABASE}.manifests
       WHERE migration = {migration:String} AND ${condition('database', 'table')} AND take IN {takes:Array(String)} AND rows > 0
         AND (database, table, name) NOT IN (SELECT database, table, name FROM system.parts WHERE active AND ${condition('database', 'table')})
       GROUP BY database, table`,
      {
        params: { ...params, migration, takes: tables.map((one) => one.take) },
        doing: `comparing the manifests of ${labelOf(tables)} with their parts`,
        timeoutMs: 300_000,
      },
    );
    const of = rowsOf(rows);
    return tables.map((one) => Number(of(one)[0]?.n ?? 0));
  });
}
