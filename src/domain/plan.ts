import type { ReplicaStatus } from './status';
import type { Finding } from './summary';

export interface PlannedTakeOver {
  readonly said: ReplicaStatus;
  readonly found: Exclude<ReplicaStatus, 'SKIPPED'>;
  readonly attached: boolean;
}

/** The plan of one table on one host, see cli.md (`plan --json`). */
export interface PlannedTable {
  readonly db: string;
  readonly table: string;
  readonly zk_path: string;
  readonly replica: string;
  /** Where it would be in the same ensemble, where the spec gives it another path. */
  readonly zk_path_after?: string;
  readonly replica_after?: string;
  readonly rows: number;
  readonly bytes: number;
  readonly parts: number;
  /** Nodes at and below the path now; null where they could not be counted. */
  readonly znodes: number | null;
  /** Of a table that a status file to take over names: what the file says, and what was found. */
  readonly takenOver?: PlannedTakeOver;
  /** What would be sent, in order: SQL, and deletions as `-- delete …` lines. */
  readonly statements: readonly string[];
  /** Of a table whose storage policy has a disk that is not local. */
  readonly remote_disk?: PlannedRemoteDisk;
  /** Of a zero-copy table alone. */
  readonly zero_copy?: PlannedZeroCopy;
}

/** A replica that can have parts on blobs. With zero-copy off each replica has blobs of its own, and there are no locks. */
export interface PlannedRemoteDisk {
  /** Disks of its parts. */
  readonly disks: readonly string[];
  /** `allow_remote_fs_zero_copy_replication` of the server (`system.merge_tree_settings`). */
  readonly server_setting: boolean;
  /** The same among the table's own settings; null where it has none. */
  readonly table_setting: boolean | null;
  /** What is in force. */
  readonly zero_copy: boolean;
}

/** What a plan says of a replica whose parts are on shared blobs, see docs/zero-copy.md. */
export interface PlannedZeroCopy {
  /** Where `allow_remote_fs_zero_copy_replication` is set. */
  readonly setting: 'server' | 'table';
  /** Disks of its parts. */
  readonly disks: readonly string[];
  /** The value of `table_shared_id`. */
  readonly shared_id: string;
  /** Where its locks are today, the server's root included. */
  readonly lock_root: string;
  /** The nodes below that root that the table has locks in, one a kind of disk: `zero_copy_s3`. */
  readonly lock_kinds: readonly string[];
  /** Its active parts by how many replicas of the table have a lock on them, on the blobs that this replica has them on. */
  readonly lock_counts: readonly { readonly replicas: number; readonly parts: number }[];
  /** Locks of this replica on its active parts. */
  readonly locks: number;
  /** Copies of them below the table's own path (compatible mode). */
  readonly legacy_locks: number;
  readonly parts_without_lock: number;
  /** Locks under the shared id, by the name of a replica of the spec, of no part that its host has. */
  readonly leaked_locks: number;
  /** Locks under the shared id of replicas that no table of the spec has: perhaps of another shard, which lives by them. */
  readonly foreign_locks: number;
  /** Replicas of other tables with the same shared id. */
  readonly shared_with: readonly string[];
  /** Parts in `detached/` that a start attaches again, by name. */
  readonly attach: readonly string[];
}

export interface PlannedHost {
  readonly name: string;
  /** Empty where the host did not answer. */
  readonly version: string;
  /** What the restart phase would do with the host, in words. */
  readonly restart: string;
  /** What an abort would do with the host once it moved, in words; absent where nothing moves. */
  readonly abort?: string;
  /** Where its metadata is, and where it would be. */
  readonly from: string;
  readonly to: string;
  readonly tables: readonly PlannedTable[];
}

export interface PlanEstimate {
  /** Seconds, by the rates below. */
  readonly seconds: number;
  readonly how: string;
}

export interface Plan {
  readonly id: string;
  readonly hosts: readonly PlannedHost[];
  readonly refusals: readonly Finding[];
  readonly warnings: readonly Finding[];
  readonly estimate: PlanEstimate;
  /** True when the hosts know this migration already: a start would go on with it. */
  readonly known: boolean;
  /** Blobs that no host names, where the spec has them listed and that could be told. */
  readonly unnamed_blobs?: number;
}

/** Rates of one host, from `docs/performance.md`; a plan's estimate is a first guess, `watch` has the true one. */
export const RATES = { tablesPerSecond: 40, partsPerSecond: 250, nodesPerSecond: 8_000, restartSeconds: 30 } as const;

/** Estimates a run: hosts work side by side, restarts go in waves. */
export function estimate(
  hosts: readonly { readonly tables: readonly PlannedTable[]; readonly restarts: boolean }[],
  wave: number,
): PlanEstimate {
  const slowest = Math.max(
    0,
    ...hosts.map(({ tables }) => {
      const parts = tables.reduce((sum, table) => sum + table.parts, 0);
      return tables.length / RATES.tablesPerSecond + parts / RATES.partsPerSecond + tables.length / RATES.tablesPerSecond;
    }),
  );
  const nodes = hosts.reduce((sum, { tables }) => sum + tables.reduce((n, table) => n + (table.znodes ?? 0), 0), 0);
  const waves = Math.ceil(hosts.filter(({ restarts }) => restarts).length / wave);
  const seconds = Math.ceil(slowest + nodes / RATES.nodesPerSecond + waves * RATES.restartSeconds);
  return {
    seconds,
    how: `${RATES.tablesPerSecond} tables/s and ${RATES.partsPerSecond} parts/s a host, ${RATES.nodesPerSecond} nodes/s, ${RATES.restartSeconds} s a restart`,
  };
}
