import type { MigrationInput } from '../workflows/messages';

/** What a replica's status can be read from: Temporal's events, decoded. `time` is ISO 8601, by the server's clock. */
export type HistoryFact =
  RunStarted | RunClosed | ActivityScheduled | ActivityStarted | ActivityCompleted | ActivityFailed | ActivityCanceled | MessageReceived;

interface Timed {
  readonly time: string;
}

export interface RunStarted extends Timed {
  readonly kind: 'run started';
  readonly runId: string;
  readonly input?: MigrationInput;
  /** The run before it in the chain: continued as new, closed and retried, or reset. */
  readonly previous?: string;
  /** Whether the run was made by a reset. */
  readonly reset?: boolean;
  readonly identity?: string;
}

export interface RunClosed extends Timed {
  readonly kind: 'run closed';
  readonly how: 'completed' | 'failed' | 'terminated' | 'canceled' | 'timed out' | 'continued as new';
  readonly message?: string;
}

export interface ActivityScheduled extends Timed {
  readonly kind: 'activity scheduled';
  /** The event's own id: what the later events of the activity name. */
  readonly eventId: number;
  readonly activityId: string;
  /** Its type, such as `restoreReplica`. */
  readonly activity: string;
  readonly input: unknown;
}

interface OfActivity extends Timed {
  readonly scheduledEventId: number;
}

/** Written by the server only when the attempt has ended. */
export interface ActivityStarted extends OfActivity {
  readonly kind: 'activity started';
  /** From 1. */
  readonly attempt: number;
  /** Why the attempt before it failed. */
  readonly lastFailure?: FailureWords;
}

export interface ActivityCompleted extends OfActivity {
  readonly kind: 'activity completed';
  readonly result: unknown;
}

export interface ActivityFailed extends OfActivity {
  readonly kind: 'activity failed';
  readonly failure: FailureWords;
}

export interface ActivityCanceled extends OfActivity {
  readonly kind: 'activity canceled';
}

export interface MessageReceived extends Timed {
  readonly kind: 'message';
  readonly form: 'signal' | 'update';
  readonly name: string;
  readonly payload: unknown;
  /** The identity of the client that sent it. */
  readonly identity?: string;
}

export interface FailureWords {
  /** The failure's type, or `TIMED_OUT`, or `UNKNOWN`. */
  readonly code: string;
  readonly message: string;
}
