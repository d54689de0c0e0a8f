import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import type { Findings } from './preflight';

/**
 * Where ClickHouse keeps what it has inserted last, so that the same INSERT sent again adds nothing: nodes of a table's path, of synchronous
 * and asynchronous INSERTs, and of both in newer servers.
 *
 * Source: https://clickhouse.com/docs/operations/settings/merge-tree-settings#replicated_deduplication_window
 */
const RECORDS = ['blocks', 'async_blocks', 'deduplication_hashes'] as const;

/** Whether the table at this path has INSERTs on record. RESTORE makes the nodes anew, and empty. */
export async function remembersInserts(zookeeper: Pick<ZooKeeperSession, 'exists'>, path: string): Promise<boolean> {
  const stats = await Promise.all(RECORDS.map((record) => zookeeper.exists(`${path}/${record}`)));
  return stats.some((stat) => (stat?.numChildren ?? 0) > 0);
}

/** One warning for the whole migration: it is the same for each table, and the producers' matter. */
export function warnOfRepeats(those: readonly InventoryReplica[], found: Findings): void {
  const [first] = those;
  if (first === undefined) return;
  const tables = those.length === 1 ? `${replicaLabel(first)} remembers` : `${those.length} tables, ${replicaLabel(first)} among them, remember`;
  found.warn(
    'DEDUPLICATION',
    { host: '' },
    `${tables} the last INSERTs, so that one that is sent twice adds its rows once. This memory is not carried along: an INSERT from before the migration that a producer sends again after it doubles its rows`,
    'let the producers finish, and see that all of their INSERTs were acknowledged, before the start; let none be repeated after it without a look at whether its rows are there',
  );
}
