import type { ClickHouseHost } from '../clickhouse/host';
import { FIRST_NOTE, latestNotesSql, noteOfRow, type ReplicaNote, SEALED_ROWS, STORE_DATABASE } from '../clickhouse/store';
import { isOwnEnsemble } from '../domain/inventory';
import { inBatches } from '../zookeeper/in-batches';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, report } from './deps';
import type { RestartInput } from './types';

/** A replica of the inventory with the note in force. */
export interface NotedReplica {
  readonly database: string;
  readonly table: string;
  /** See `tableOrderKey`. */
  readonly key: string;
  readonly zookeeperName: string;
  readonly node: string;
  readonly note: ReplicaNote;
}

/** Every replica that a migration has on a host. */
export async function notedReplicas(host: ClickHouseHost, migration: string): Promise<NotedReplica[]> {
  const rows = await host.select<Parameters<typeof noteOfRow>[0] & { key: string; name: string; node: string }>(
    `SELECT i.sort_key AS key, i.zookeeper_name AS name, concat(i.zookeeper_path, '/replicas/', i.replica_name) AS node,
       i.database AS database, i.table AS table, s.seq AS seq, s.status AS status, s.step AS step, s.take AS take, s.old_metadata AS old_metadata,
       s.rows AS rows, s.parts AS parts, s.detail AS detail FROM
       (SELECT sort_key, database, table, zookeeper_name, zookeeper_path, replica_name FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}) AS i
     LEFT JOIN (${latestNotesSql('')}) AS s USING (database, table)`,
    { params: { migration }, doing: 'reading how far its tables are', timeoutMs: 120_000 },
  );
  return rows.map((row) => ({
    database: row.database,
    table: row.table,
    key: row.key,
    zookeeperName: row.name,
    node: row.node,
    note: row.status === '' ? FIRST_NOTE : noteOfRow(row),
  }));
}

/**
 * Those of a host's replicas that are registered at its old place, and not at its new one: a host that moves would leave their metadata
 * behind. What an abort made anew where it was is RESTORED there, and so is not what its note alone would say.
 */
export async function onlyAtOldPlace(connections: Connections, { host, after, zookeeper: target }: RestartInput, replicas: readonly NotedReplica[]): Promise<NotedReplica[]> {
  // An auxiliary ensemble stays where it is.
  const moving = replicas.filter(({ zookeeperName }) => isOwnEnsemble(zookeeperName));
  if (moving.length === 0) return [];
  report({ doing: 'looking where its tables are registered' });
  const there = await registered(await connections.zookeeper(after, target.digestEnv), moving);
  const absent = moving.filter((one) => !there.has(one));
  if (absent.length === 0) return [];
  const here = await registered(await connections.zookeeper(host.zookeeper, target.digestEnv), absent);
  return absent.filter((one) => here.has(one));
}

async function registered(zookeeper: ZooKeeperSession, replicas: readonly NotedReplica[]): Promise<ReadonlySet<NotedReplica>> {
  const seen = await inBatches(replicas, ({ node }) => zookeeper.exists(node));
  return new Set(replicas.filter((_, index) => seen[index] !== undefined));
}
