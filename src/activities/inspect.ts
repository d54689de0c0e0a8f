import type { ClickHouseHost } from '../clickhouse/host';
import { STORE_DATABASE } from '../clickhouse/store';
import type { InventoryReplica } from '../domain/inventory';
import type { MigrationSpec } from '../domain/spec';
import { selectionOf } from './selection';

/** A replicated table as a server lists it now, and whether the spec selects it. */
export interface ListedReplica {
  readonly replica: InventoryReplica;
  readonly createQuery: string;
  readonly engine: string;
  readonly databaseEngine: string;
  readonly storagePolicy: string;
  /** Of its active parts, and of those that lie in `detached/` under their plain names. */
  readonly disks: readonly string[];
  readonly selected: boolean;
  readonly readonly: boolean;
  readonly sessionExpired: boolean;
  readonly queueSize: number;
}

interface ReplicaRow {
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
  readonly engine: string;
  readonly database_engine: string;
  readonly create_table_query: string;
  readonly storage_policy: string;
  readonly zookeeper_name: string;
  readonly zookeeper_path: string;
  readonly replica_name: string;
  readonly is_readonly: number;
  readonly is_session_expired: number;
  readonly queue_size: number;
  readonly rows: string;
  readonly bytes: string;
  readonly parts: string;
  readonly disks: readonly string[];
}

/**
 * Every replicated table that is attached on a server, but for this program's own. Only SELECTs, and nothing for which the server reads
 * ZooKeeper: what is broken there would hide all of its tables, see `zooKeeperWords`.
 */
export async function listReplicas(host: ClickHouseHost, spec: MigrationSpec): Promise<ListedReplica[]> {
  const rows = await host.select<ReplicaRow>(
    `SELECT r.database AS database, r.table AS table, toString(t.uuid) AS uuid, t.engine AS engine, d.engine AS database_engine,
       t.create_table_query AS create_table_query, t.storage_policy AS storage_policy, r.zookeeper_name AS zookeeper_name, r.zookeeper_path AS zookeeper_path,
       r.replica_name AS replica_name, r.is_readonly AS is_readonly, r.is_session_expired AS is_session_expired,
       r.queue_size AS queue_size,
       p.rows AS rows, p.bytes AS bytes, p.parts AS parts, arrayDistinct(arrayConcat(p.disks, l.disks)) AS disks
     FROM (SELECT database, table, zookeeper_name, zookeeper_path, replica_name, is_readonly, is_session_expired, queue_size
         FROM system.replicas WHERE database != {store:String}) AS r
     INNER JOIN (SELECT database, name, uuid, engine, create_table_query, storage_policy FROM system.tables WHERE database != {store:String}) AS t
       ON r.database = t.database AND r.table = t.name
     INNER JOIN system.databases AS d ON d.name = r.database
     LEFT JOIN (SELECT database, table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts,
         groupUniqArray(disk_name) AS disks FROM system.parts WHERE active GROUP BY database, table) AS p
       ON r.database = p.database AND r.table = p.table
     LEFT JOIN (SELECT database, table, groupUniqArray(disk) AS disks FROM system.detached_parts WHERE reason = '' GROUP BY database, table) AS l
       ON r.database = l.database AND r.table = l.table
     ORDER BY database, table`,
    { params: { store: STORE_DATABASE }, doing: 'listing its replicated tables', timeoutMs: 120_000 },
  );
  const selects = selectionOf(spec);
  return rows.map((row) => {
    const replica: InventoryReplica = {
      host: host.name,
      database: row.database,
      table: row.table,
      uuid: row.uuid,
      zookeeperName: row.zookeeper_name === '' ? 'default' : row.zookeeper_name,
      zookeeperPath: row.zookeeper_path,
      replicaName: row.replica_name,
      rows: Number(row.rows),
      bytes: Number(row.bytes),
      parts: Number(row.parts),
    };
    return {
      replica,
      createQuery: row.create_table_query,
      engine: row.engine,
      databaseEngine: row.database_engine,
      storagePolicy: row.storage_policy,
      disks: row.disks,
      selected: selects({
        host: host.name,
        database: row.database,
        table: row.table,
        zookeeperPath: row.zookeeper_path,
        zookeeperName: row.zookeeper_name,
        disks: [...row.disks],
      }),
      readonly: row.is_readonly === 1,
      sessionExpired: row.is_session_expired === 1,
      queueSize: row.queue_size,
    };
  });
}
