import { clickHouseCode, serverWords } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { type ReplicaRef, replicaLabel } from '../domain/inventory';

/**
 * What a server could not do at its last try at ZooKeeper for a replica; empty where there is nothing to say.
 *
 * Some columns of `system.replicas` make the server read ZooKeeper (`zookeeper_exception`, `total_replicas`, `log_pointer`, …), and one value
 * there that it cannot parse fails the query for all tables that it is asked for. So they are read of one table alone, and only for words:
 * that it fails is then what the server says of this table.
 *
 * Source: `StorageReplicatedMergeTree::getStatus` in ClickHouse
 */
export async function zooKeeperWords(host: ClickHouseHost, replica: ReplicaRef): Promise<string> {
  try {
    const [row] = await host.select<{ exception: string }>(
      'SELECT zookeeper_exception AS exception FROM system.replicas WHERE database = {database:String} AND table = {table:String}',
      { params: { database: replica.database, table: replica.table }, doing: `asking what keeps ${replicaLabel(replica)} from ZooKeeper` },
    );
    return row?.exception ?? '';
  } catch (error) {
    if (!(error instanceof MigrationError) || clickHouseCode(error) === undefined) throw error;
    return serverWords(error.cause);
  }
}
