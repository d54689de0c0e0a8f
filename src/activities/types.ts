import type { SkipRule } from '../config/skips';
import type { InventoryPage, InventoryReplica, ReplicaEntry, ReplicaRef, ReplicatedTable } from '../domain/inventory';
import type { BlobListing, EnsembleSpec, HostSpec, MigrationSpec, RestartSpec, TlsSpec } from '../domain/spec';
import type { OldMetadata, ReplicaStatus, StatusCounts } from '../domain/status';
import type { PlanEstimate, PlannedHost } from '../domain/plan';
import type { Finding, MigrationSummary } from '../domain/summary';

/** How a worker reaches one host: no secret, only the name of the variable that holds it. */
export interface HostTarget {
  readonly name: string;
  readonly url: string;
  readonly user: string;
  readonly passwordEnv?: string;
  readonly tls?: TlsSpec;
  /** Where its metadata is expected now. */
  readonly zookeeper: EnsembleSpec;
}

/** How a worker reaches ZooKeeper. */
export interface ZooKeeperTarget {
  readonly digestEnv?: string;
  readonly auxiliary: Readonly<Record<string, EnsembleSpec>>;
}

/** What an activity saw of one replica: the history's record, from which the status file is derived. */
export interface ReplicaUpdate extends ReplicaRef {
  readonly status: ReplicaStatus;
  readonly rows?: number;
  readonly parts?: number;
  readonly oldMetadata?: OldMetadata;
  /** Its place, once it got another path. */
  readonly zookeeperPath?: string;
  readonly replicaName?: string;
  /** What was found or mended on the way, in words. */
  readonly note?: string;
  /** ISO 8601, UTC, by the worker's clock. */
  readonly at: string;
}

/** Every activity that works on replicas answers with this. */
export interface ReplicaOutcome {
  readonly updates: readonly ReplicaUpdate[];
}

export interface PreflightInput {
  readonly spec: MigrationSpec;
  /** A dry run wants the plan too, in pieces that fit into a payload: so many tables from this one on. */
  readonly page?: { readonly offset: number; readonly limit: number };
  /** A closed run may have left tables detached: a host that does not answer is waited for, its refusal would say that nothing was begun. */
  readonly goesOn?: boolean;
  /** Of `attachTakenOver`: a refusal came after it, and what it stopped goes on again. */
  readonly letGo?: boolean;
  /** Hosts that an abort leaves out: they are none of the spec's here. */
  readonly withoutHosts?: readonly string[];
  /** Of `freezeInventory`: the blobs that no host named at the preflight, kept for the end. */
  readonly unnamedBlobs?: number;
}

export interface PreflightOutcome {
  readonly replicas: number;
  readonly tables: number;
  readonly rows: number;
  readonly bytes: number;
  readonly parts: number;
  readonly refusals: readonly Finding[];
  readonly refusalsTotal: number;
  readonly warnings: readonly Finding[];
  readonly warningsTotal: number;
  /** Replicas per host. */
  readonly perHost: Readonly<Record<string, number>>;
  /** Blobs that no host names, where the spec has them listed. */
  readonly unnamedBlobs?: number;
  /** True when the hosts' own tables know this migration already: it goes on from what they say. */
  readonly known: boolean;
  /** The piece of the plan that was asked for, without its statements (they follow from the rest). */
  readonly plan?: { readonly hosts: readonly PlannedHost[]; readonly estimate: PlanEstimate; readonly next?: number };
}

export interface FreezeOutcome {
  readonly replicas: number;
  readonly tables: number;
  readonly counts: StatusCounts;
  readonly perHost: Readonly<Record<string, number>>;
  readonly resumed: boolean;
}

/** What was attached for a take-over, and what stands against it now that it can be read. */
export interface AttachTakenOutcome {
  readonly attached: number;
  readonly refusals: readonly Finding[];
  readonly refusalsTotal: number;
}

export interface JudgeTakenOutcome {
  readonly counts: StatusCounts;
  /** What was found and done, in words, for the audit; bounded. */
  readonly words: readonly string[];
}

export interface LoadPageInput {
  readonly migration: string;
  /** All hosts of the spec, or one where only that host's replicas are wanted. */
  readonly hosts: readonly HostTarget[];
  readonly after?: string;
  /** Tables at the most. */
  readonly limit: number;
}

export interface DetachInput {
  readonly migration: string;
  readonly host: HostTarget;
  readonly replica: InventoryReplica;
  readonly zookeeper: ZooKeeperTarget;
  /** Statements of this kind at a time on this host. */
  readonly limit: number;
  /** Asked for by an abort. */
  readonly aborting?: true;
  /** An abort attaches it again in a moment: one that was attached stays INIT. */
  readonly forNow?: true;
}

export interface CleanInput {
  readonly migration: string;
  /** Of the table's replicas, and of those that share its zero-copy locks' id. */
  readonly hosts: readonly HostTarget[];
  readonly table: ReplicatedTable;
  readonly zookeeper: ZooKeeperTarget;
  readonly allowMissingReplicas: readonly string[];
  readonly limit: number;
  readonly aborting?: true;
  /**
   * `delete`: behind the barrier, before the restart. `keep`: only the barrier, the old nodes stay. `delete-old`: after all is proved
   * at the new place, the old nodes go (`clean: after-verify`).
   */
  readonly keep: 'delete' | 'keep' | 'delete-old';
  /** With `delete-old`: the hosts at their new place, where every replica has to be registered. Absent in the histories of before it was asked. */
  readonly newPlaces?: readonly HostTarget[];
  /** An abort leaves hosts out that are gone for good: replicas of theirs are no strangers, as long as they are not active. */
  readonly hostsGone?: boolean;
  /** Those hosts, by the names that they had in the spec. Absent in the histories of before they were told. */
  readonly goneHosts?: readonly string[];
  /** The first step of an abort that gives everything back: what is behind others that lived on is attached again. */
  readonly takesBack?: true;
  /** Whether replicas at their new place have to be active there before what is old is deleted. Absent in the histories of before it was asked. */
  readonly writable?: 'required' | 'report';
}

export interface RestartInput {
  readonly migration: string;
  readonly host: HostTarget;
  readonly after: EnsembleSpec;
  readonly restart: RestartSpec;
  readonly zookeeper: ZooKeeperTarget;
  /** Forward, to the new place: nothing may stay behind. Absent on the way back. */
  readonly forward?: boolean;
  /** Every variable that the spec names for a secret: commands get none of them. */
  readonly secretEnvs?: readonly string[];
}

export interface RestartOutcome {
  readonly restarted: boolean;
  /** Why it was left alone, or what was done. */
  readonly note: string;
  readonly at: string;
}

export interface LocateOutcome {
  readonly on: 'before' | 'after' | 'elsewhere';
}

export interface ChooseReturnInput {
  readonly hosts: readonly RestartInput[];
}

export interface ChooseReturnOutcome {
  /** Hosts that go back to their old place; the others go forward. */
  readonly back: readonly string[];
}

export interface AttachInput extends DetachInput {
  /** Whether a replica that an abort returns must be writable again; it is not looked at elsewhere. */
  readonly writable?: 'required' | 'report';
}

export interface ElectInput {
  readonly migration: string;
  readonly aborting?: true;
  readonly hosts: readonly HostTarget[];
  readonly table: ReplicatedTable;
  readonly zookeeper: ZooKeeperTarget;
}

export interface ElectOutcome {
  /** The host whose replica is restored first. */
  readonly first: string;
  /** It is a zero-copy table. */
  readonly zeroCopy?: true;
  readonly note?: string;
}

export interface RestoreInput {
  readonly migration: string;
  readonly host: HostTarget;
  readonly replica: InventoryReplica;
  /** The first replica, for the others: it was proved before they started. */
  readonly first?: { readonly host: HostTarget; readonly replica: InventoryReplica };
  readonly zookeeper: ZooKeeperTarget;
  readonly writable: 'required' | 'report';
  /** Whether the blobs of a zero-copy replica are read to prove that they are there. */
  readonly blobs: 'full' | 'read' | 'locks';
  readonly limit: number;
  readonly aborting?: true;
  /** The table has this replica alone: its merges start again with its proof. */
  readonly alone: boolean;
  /** Another table keeps its zero-copy locks under the same id. Absent in the histories of before it was told. */
  readonly sharing?: true;
  /** It is a zero-copy table. Told for the others than the first. */
  readonly zeroCopy?: true;
  /** Hosts that an abort leaves out since they are gone for good, by their names in the spec. */
  readonly goneHosts?: readonly string[];
  /** Replicas that are gone for good by the word of whoever started the migration. */
  readonly allowMissingReplicas?: readonly string[];
}

export interface MergesInput {
  readonly migration: string;
  readonly hosts: readonly HostTarget[];
  readonly table: ReplicatedTable;
  readonly zookeeper: ZooKeeperTarget;
}

export interface MirrorInput {
  readonly migration: string;
  readonly statusFile: string;
  /** What the workflow says of itself now, for the file's header: its memo may be older. Absent in the histories of before it was told. */
  readonly now?: Pick<MigrationSummary, 'id' | 'phase' | 'outcome' | 'waitingFor'>;
}

export interface MirrorOutcome {
  readonly written: boolean;
  readonly error?: string;
}

export interface FinishInput {
  readonly migration: string;
  readonly hosts: readonly HostTarget[];
  /** Whether the hosts' replicas are let go of, so that another migration may hold them. */
  readonly release: 'completed' | 'aborted' | 'no';
  /** What somebody chose to leave out: counted as SKIPPED. */
  readonly skip: readonly SkipRule[];
  /** Where locks of zero-copy tables are looked for, and the hosts as they were before; absent in the histories of before they were. */
  readonly zookeeper?: ZooKeeperTarget;
  readonly before?: readonly HostTarget[];
  /** How the blobs of the object storage are listed; absent where they are not, and where an abort leaves out a host. */
  readonly listing?: BlobListing;
  /** The variables that the spec names for secrets: the listing does not get them. */
  readonly secretEnvs?: readonly string[];
  /** What the migration was begun with on these hosts; absent in the histories of before it was asked for. */
  readonly replicas?: number;
  /** Whether a replica may be readonly and count as restored, which its note says then. Absent in the histories of before it was asked. */
  readonly writable?: 'required' | 'report';
}

/** What the spec's listing of the object storage shows, or why it does not. */
export type UnnamedBlobs =
  | {
      /** Named by no file of any host. */
      readonly blobs: number;
      readonly listed: number;
      /** A few of them. */
      readonly names: readonly string[];
    }
  | { readonly fault: string };

/** What somebody should know of a replica that counts as done. */
export type LooseEnd = 'not attached' | 'not replicated' | 'without metadata' | 'readonly' | 'restored and readonly' | 'without merges';

export interface FinishOutcome {
  readonly counts: StatusCounts;
  /** Replicas that count as done, and of which somebody should know more (bounded). Absent in older histories. */
  readonly loose: readonly { readonly host: string; readonly db: string; readonly table: string; readonly what: LooseEnd }[];
  /** After an abort: hosts that run at their old place, and whose restart on another one was begun. Absent where there is none. */
  readonly begun?: readonly { readonly host: string; readonly from: string; readonly to: string }[];
  /** What lies in `detached/` of the migration's tables, named by no manifest: left alone, and listed (bounded). */
  readonly leftovers: readonly {
    readonly host: string;
    readonly db: string;
    readonly table: string;
    readonly parts: number;
    readonly names: readonly string[];
    /** Some are on an object storage: their blobs may be those of active parts too. */
    readonly onBlobs: boolean;
  }[];
  readonly leftoversTotal: number;
  /** Zero-copy locks that none of the migration's replicas needs: left alone, and listed (bounded). Absent in older histories. */
  readonly locks?: readonly {
    readonly host: string;
    readonly db: string;
    readonly table: string;
    /** Of no part that is anywhere on the hosts. */
    readonly nobody: number;
    /** Of replicas outside the migration. */
    readonly outside: number;
    /** A few of them. */
    readonly names: readonly string[];
  }[];
  /** Blobs that no host names, with how many there were at the preflight where that is known. Absent where they are not listed. */
  readonly blobs?: UnnamedBlobs & { readonly before?: number };
}

/** The activities as a workflow sees them. */
export interface Activities {
  preflight(input: PreflightInput): Promise<PreflightOutcome>;
  freezeInventory(input: PreflightInput): Promise<FreezeOutcome>;
  /** Take-over: attaches what the status file names and is detached, so that it can be read. */
  attachTakenOver(input: PreflightInput): Promise<AttachTakenOutcome>;
  /** Take-over: saves a manifest of each replica that the status file names, and notes what it was found to be. */
  judgeTakenOver(input: PreflightInput): Promise<JudgeTakenOutcome>;
  loadPage(input: LoadPageInput): Promise<InventoryPage>;
  detachReplica(input: DetachInput): Promise<ReplicaOutcome>;
  cleanTable(input: CleanInput): Promise<ReplicaOutcome>;
  restartHost(input: RestartInput): Promise<RestartOutcome>;
  attachReplica(input: AttachInput): Promise<ReplicaOutcome>;
  electFirst(input: ElectInput): Promise<ElectOutcome>;
  restoreReplica(input: RestoreInput): Promise<ReplicaOutcome>;
  startMerges(input: MergesInput): Promise<void>;
  /** Where a host keeps its metadata now. */
  locateHost(input: RestartInput): Promise<LocateOutcome>;
  /** Abort where the old metadata was kept: which hosts go back to it. */
  chooseReturn(input: ChooseReturnInput): Promise<ChooseReturnOutcome>;
  /** Attaches all replicas of a table that was not cleaned yet, and lets them catch up with each other. */
  returnTable(input: CleanInput): Promise<ReplicaOutcome>;
  /** Abort: attaches the replica where its nodes are; answers INIT when it is active again, ZK_CLEANED when it must be restored. */
  reattachReplica(input: AttachInput): Promise<ReplicaOutcome>;
  mirrorStatus(input: MirrorInput): Promise<MirrorOutcome>;
  finishMigration(input: FinishInput): Promise<FinishOutcome>;
}

export type { HostSpec, ReplicaEntry };
