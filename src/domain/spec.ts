/**
 * The spec of a migration after it was read, checked and filled in with its defaults: JSON-safe, free of secrets (only the names of
 * the variables that hold them), and the workflow's input. Made by `config/load-spec.ts`; durations are milliseconds.
 */

import type { ReplicaStatus } from './status';

/** Where migrations and workers meet, unless something else is said. */
export const DEFAULT_TASK_QUEUE = 'ch-zk-migrate';

export const PHASES = ['detach', 'clean', 'restart', 'restore'] as const;
/** A phase that has a gate before it. */
export type Phase = (typeof PHASES)[number];

/** A ZooKeeper ensemble as one client sees it. */
export interface EnsembleSpec {
  /** `host:port[,host:port…]`, without a chroot. */
  readonly connect: string;
  /** The servers' `<zookeeper><root>`: `''` where they have none, else `/a[/b…]` without a slash at the end. */
  readonly root: string;
}

export type RestartStrategy =
  | { readonly kind: 'command'; readonly command: readonly string[] }
  | { readonly kind: 'sql' }
  | { readonly kind: 'manual' }
  | { readonly kind: 'none' };

/** How one host is restarted; `{host}` in the argument vectors is already filled in. */
export interface RestartSpec {
  readonly strategy: RestartStrategy;
  readonly reconfigure?: readonly string[];
  /** Changes the configuration back to the old place, where an abort may go back to it. */
  readonly reconfigureBack?: readonly string[];
  readonly timeoutMs: number;
}

export interface TlsSpec {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface HostSpec {
  readonly name: string;
  readonly url: string;
  readonly user: string;
  /** The variable that holds the password; absent means no password. */
  readonly passwordEnv?: string;
  readonly tls?: TlsSpec;
  readonly restart: RestartSpec;
  /** Where the host's metadata is today. */
  readonly zookeeper: EnsembleSpec;
  /** Where it must be after the restart; equal to `zookeeper` when nothing moves. */
  readonly after: EnsembleSpec;
  /** The task queue of the activities that touch this host. */
  readonly taskQueue: string;
}

export type CleanMode = 'before-restore' | 'after-verify' | 'never';

export interface TableSelection {
  /** Globs on `database.table`; empty means every replicated table. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Only tables with an active part on this disk. */
  readonly disk?: string;
  /** A glob on the ZooKeeper path. */
  readonly zkPath?: string;
  /** An explicit list (from `tables.from`, read when the spec was loaded). */
  readonly list?: readonly { readonly host?: string; readonly database: string; readonly table: string }[];
}

export interface ParallelSpec {
  /** Per host. */
  readonly detach: number;
  /** Replicated tables at a time. */
  readonly clean: number;
  /** Per host. */
  readonly restore: number;
}

/** What a status file says of one replica. */
export interface TakeOverEntry {
  readonly host: string;
  readonly database: string;
  readonly table: string;
  readonly status: ReplicaStatus;
  /** As it stands in the file, with `name:` in front where it is in an auxiliary ensemble. */
  readonly zookeeperPath: string;
  /** Only in a file of this program. */
  readonly rows?: number;
  readonly parts?: number;
}

/** A half-finished run, of the reference or of this program, that is resumed from its status file (`start --take-over`). */
export interface TakeOverSpec {
  readonly file: string;
  readonly entries: readonly TakeOverEntry[];
  /** Globs on `database.table`: the parts left in `detached/` of these are attached, by the operator's word. */
  readonly attachDetached: readonly string[];
  /** The same: what lies in `detached/` of these is none of theirs, and is left there. */
  readonly leaveDetached: readonly string[];
}

/** The command that lists the blobs of the object storage, for a report of those that no host names. */
export interface BlobListing {
  /** An argument vector, run on the worker; prints one key a line. */
  readonly command: readonly string[];
  /** Put before a key, to make it what `remote_path` of `system.remote_data_paths` is. */
  readonly prefix: string;
  readonly timeoutMs: number;
}

export interface MigrationSpec {
  readonly id: string;
  readonly hosts: readonly HostSpec[];
  /** The variable that holds ZooKeeper's `user:password` digest. */
  readonly digestEnv?: string;
  /** Further ensembles, by the name before the colon of a path such as `zk2:/clickhouse/tables/…`. */
  readonly auxiliary: Readonly<Record<string, EnsembleSpec>>;
  readonly clean: CleanMode;
  /** The pattern of the paths that tables must get in the same ensemble; absent where paths stay. */
  readonly newPath?: string;
  readonly tables: TableSelection;
  readonly wave: number;
  readonly pauseBefore: readonly Phase[];
  readonly parallel: ParallelSpec;
  readonly onFailure: 'stop' | 'continue';
  readonly holdOnFailureMs: number;
  /** How long a run waits before it refuses for what is in flight. */
  readonly preflight: { readonly waitMs: number };
  readonly verify: { readonly writable: 'required' | 'report'; readonly blobs: 'full' | 'read' | 'locks' };
  /** Absent where nothing is listed. */
  readonly zeroCopy?: { readonly blobs: BlobListing };
  /** The workflow's task queue. */
  readonly taskQueue: string;
  readonly statusFile: string;
  /** Replicas that may be on no host of the spec, by the operator's word. */
  readonly allowMissingReplicas: readonly string[];
  readonly takeOver?: TakeOverSpec;
}

/** The variables that a spec names for secrets, each once, sorted. */
export function secretVariables({ hosts, digestEnv }: MigrationSpec): string[] {
  const named = [...hosts.map(({ passwordEnv }) => passwordEnv), digestEnv].filter((name) => name !== undefined);
  return [...new Set(named)].sort();
}
