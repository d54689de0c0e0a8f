import type { OldMetadata, ReplicaStatus } from './status';

/** One table on one host. */
export interface ReplicaRef {
  readonly host: string;
  readonly database: string;
  readonly table: string;
}

/** A replica as the inventory froze it: everything here came from the server, nothing was composed. */
export interface InventoryReplica extends ReplicaRef {
  readonly uuid: string;
  /** `default`, or the auxiliary ensemble's name (`system.replicas.zookeeper_name`). */
  readonly zookeeperName: string;
  /** `system.replicas.zookeeper_path`, below the server's root. */
  readonly zookeeperPath: string;
  readonly replicaName: string;
  readonly rows: number;
  readonly bytes: number;
  readonly parts: number;
  /** Where it will be, where the migration gives it another path in the same ensemble. */
  readonly after?: MovedReplica;
}

/** Of a table in a database that gives none. */
export const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Whether a replica's ensemble is its server's own, and no auxiliary one, by the name in `system.replicas`; servers before they had names say nothing. */
export function isOwnEnsemble(zookeeperName: string): boolean {
  return zookeeperName === 'default' || zookeeperName === '';
}

/** Another place of a replica in its ensemble. */
export interface MovedReplica {
  readonly zookeeperPath: string;
  readonly replicaName: string;
}

/** The replica as its server has it once it got its other path. */
export function settled({ after, ...replica }: InventoryReplica): InventoryReplica {
  return { ...replica, ...after };
}

/** A replica with what its host's own tables last proved of it. */
export interface ReplicaEntry extends InventoryReplica {
  readonly status: ReplicaStatus;
  readonly oldMetadata: OldMetadata;
  readonly attached: boolean;
  /** What was last noted on its host, see `Step` in clickhouse/store.ts: `none` before the first note. */
  readonly step: string;
  /** Present once its way to another path was begun: it does not lead back. */
  readonly moved?: true;
}

/** All replicas with the same ensemble, root and path: the unit of deletion and of restore. */
export interface ReplicatedTable {
  /** Position in the inventory's order, see {@link tableOrderKey}. */
  readonly key: string;
  readonly zookeeperName: string;
  readonly zookeeperPath: string;
  readonly replicas: readonly ReplicaEntry[];
  /** Replicas of other tables that keep their zero-copy locks under the same id; absent where there are none. */
  readonly sharers?: readonly SharingReplica[];
}

/** A replica of another table whose zero-copy locks lie under the same shared id. */
export interface SharingReplica extends ReplicaRef {
  readonly replicaName: string;
}

/** A piece of the inventory, in the inventory's order. */
export interface InventoryPage {
  readonly tables: readonly ReplicatedTable[];
  /** The key to go on after; absent on the last page. */
  readonly next?: string;
}

export function replicaId(replica: ReplicaRef): string {
  return JSON.stringify([replica.host, replica.database, replica.table]);
}

export function replicaLabel(replica: ReplicaRef): string {
  return `${replica.host} ${replica.database}.${replica.table}`;
}

/** 64-bit FNV-1a as 16 hexadecimal digits: spreads neighbouring paths (the tables of one shard) over the inventory's order. */
export function fnv1a64(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, '0');
}

/**
 * The order in which tables are worked on. A hash comes first, so that every page holds tables of every shard and no host waits
 * for another shard's turn; what follows makes it unique for the group (ensemble, root, path).
 */
export function tableOrderKey(ensemble: string, root: string, path: string): string {
  const identity = JSON.stringify([ensemble, root, path]);
  return `${fnv1a64(identity)} ${identity}`;
}
