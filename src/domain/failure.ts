/**
 * The one list of failure types that cross an activity's boundary (as `ApplicationFailure.type`), and what each means for a retry.
 * A *passing* fault is retried for as long as it lasts, with its reason shown; a *final* one fails its table at once; an *unknown*
 * one is tried a few times.
 */
export const FAILURE_KINDS = {
  /** The server does not answer, or refuses the connection. */
  HOST_UNREACHABLE: 'passing',
  /** The server answers that it has too much to do, or is going down. */
  HOST_BUSY: 'passing',
  /** ZooKeeper does not answer, from the worker or from the server. */
  ZOOKEEPER_UNAVAILABLE: 'passing',
  /** ZooKeeper answers the server, and refuses what it asks for: no right to a node, a request too large. */
  ZOOKEEPER_REFUSED: 'unknown',
  /** A request that ZooKeeper does not read, for it is larger than `jute.maxbuffer` allows. */
  PACKET_TOO_BIG: 'final',
  /** A statement is still running, or its reply was lost; the world was not yet seen to have changed. */
  STILL_RUNNING: 'passing',
  /** The restart command failed or timed out. */
  RESTART_FAILED: 'final',
  /** The server came back, but not on the root it should be on. */
  WRONG_ROOT: 'final',
  /** A host would move and leave metadata of its tables behind. */
  STRANDED: 'final',
  /** The server would give a replica another ZooKeeper path than the one that was planned. */
  WRONG_PATH: 'final',
  /** The server refuses the user. */
  AUTHENTICATION_FAILED: 'final',
  ACCESS_DENIED: 'final',
  /** The user's profile keeps a setting on a value with which answers could not be trusted. */
  SETTING_FIXED: 'final',
  UNKNOWN_TABLE: 'final',
  /** Another table stands under this name now (another uuid, another path). */
  TABLE_CHANGED: 'final',
  UNSUPPORTED: 'final',
  PREFLIGHT_REFUSED: 'final',
  /** Another unfinished migration holds the replica. */
  HELD: 'final',
  /** The manifest that must exist does not. */
  MANIFEST_MISSING: 'final',
  /** A replica is attached or active where none may be. */
  REPLICA_LIVE: 'final',
  /** ZooKeeper's record of the replicas differs: one of them has what another lacks. */
  REPLICAS_DIFFER: 'final',
  /** A path that may not be deleted. */
  UNSAFE_PATH: 'final',
  /** Zero-copy replication is not set as it was, or not alike on all replicas. */
  ZERO_COPY_CHANGED: 'final',
  /** Parts of the manifest are not there, or others are. */
  PROOF_FAILED: 'final',
  /** The replica did not become writable, or did not catch up, in time. */
  NOT_CAUGHT_UP: 'final',
  /** Something lies in the way in `detached/`. */
  DETACHED_COLLISION: 'final',
  /** What SQL cannot mend. */
  NEEDS_HAND: 'final',
  /** An invariant of this program is broken. */
  INVARIANT: 'final',
  ABORTED: 'final',
  /** Not begun, because the migration was paused or aborted meanwhile: no failure, the workflow begins it again. */
  RECALLED: 'final',
  MISSING_VARIABLE: 'final',
  /** Anything else, also any other ClickHouse error. */
  UNKNOWN: 'unknown',
} as const;

export type FailureType = keyof typeof FAILURE_KINDS;
export type FailureKind = (typeof FAILURE_KINDS)[FailureType];

/** How many times in a row an unknown fault is tried before its table fails. */
export const UNKNOWN_FAILURE_ATTEMPTS = 4;

export function isFailureType(value: unknown): value is FailureType {
  return typeof value === 'string' && Object.hasOwn(FAILURE_KINDS, value);
}

/** An error of this program with a type from the list; the activity boundary turns it into an `ApplicationFailure`. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  constructor(
    readonly type: FailureType,
    message: string,
    readonly options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }

  get kind(): FailureKind {
    return FAILURE_KINDS[this.type];
  }
}
