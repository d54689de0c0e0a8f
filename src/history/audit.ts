import type { ReplicaRef } from '../domain/inventory';
import type { Phase } from '../domain/spec';
import type { ActivityScheduled, FailureWords, HistoryFact, MessageReceived, RunClosed, RunStarted } from './facts';

/** What a report tells beyond the replicas' status: who did what when, how long it took, and what had to be tried again. */
export interface Audit {
  readonly runs: readonly RunRecord[];
  readonly activities: readonly ActivityRecord[];
  readonly messages: readonly MessageRecord[];
}

export interface RunRecord {
  readonly runId: string;
  readonly started: string;
  readonly by?: string;
  /** `start`, or how it follows the run before it. */
  readonly as: 'start' | 'continued' | 'retry' | 'abort' | 'reset';
  readonly reason?: string;
  readonly ended?: string;
  readonly how?: RunClosed['how'];
  readonly message?: string;
}

export interface ActivityRecord {
  readonly activity: string;
  readonly activityId: string;
  readonly phase?: Phase | 'preflight' | 'finish' | 'abort';
  readonly host?: string;
  /** The replicas that it worked on. */
  readonly replicas: readonly ReplicaRef[];
  readonly scheduled: string;
  /** Of the last attempt. */
  readonly started?: string;
  readonly ended: string;
  readonly attempts: number;
  readonly outcome: 'completed' | 'failed' | 'canceled';
  /** Why it failed for good. */
  readonly failure?: FailureWords;
  /** Why the attempt before the last one failed. */
  readonly retriedAfter?: FailureWords;
}

export type MessageRecord = Omit<MessageReceived, 'kind'>;

interface Open {
  readonly scheduled: ActivityScheduled;
  readonly started?: { readonly time: string; readonly attempt: number; readonly lastFailure?: FailureWords };
}

/** Which phase an activity belongs to; what is in none of them is housekeeping. */
const PHASE_OF: Readonly<Record<string, NonNullable<ActivityRecord['phase']>>> = {
  preflight: 'preflight',
  freezeInventory: 'preflight',
  attachTakenOver: 'preflight',
  judgeTakenOver: 'preflight',
  detachReplica: 'detach',
  cleanTable: 'clean',
  restartHost: 'restart',
  attachReplica: 'restart',
  electFirst: 'restore',
  restoreReplica: 'restore',
  startMerges: 'restore',
  locateHost: 'abort',
  returnTable: 'abort',
  reattachReplica: 'abort',
  finishMigration: 'finish',
};

/** Collects the audit while the fold goes over the events. */
export class AuditLog {
  private readonly runs: RunRecord[] = [];
  private readonly activities: ActivityRecord[] = [];
  private readonly messages: MessageRecord[] = [];
  private readonly open = new Map<number, Open>();

  apply(fact: HistoryFact): void {
    switch (fact.kind) {
      case 'run started':
        this.open.clear();
        this.runs.push(runRecord(fact));
        return;
      case 'run closed':
        return this.closeRun(fact);
      case 'activity scheduled':
        this.open.set(fact.eventId, { scheduled: fact });
        return;
      case 'activity started':
        return this.start(fact);
      case 'activity completed':
        return this.end(fact.scheduledEventId, fact.time, 'completed');
      case 'activity failed':
        // Not begun, as the migration was paused or aborted: it failed at nothing.
        if (fact.failure?.code === 'RECALLED') return this.end(fact.scheduledEventId, fact.time, 'canceled');
        return this.end(fact.scheduledEventId, fact.time, 'failed', fact.failure);
      case 'activity canceled':
        return this.end(fact.scheduledEventId, fact.time, 'canceled');
      case 'message': {
        const { kind: _kind, ...message } = fact;
        this.messages.push(message);
        return;
      }
      default:
        return fact satisfies never;
    }
  }

  /** An event that a reset copied: only what is still open counts. */
  applyCopied(fact: HistoryFact): void {
    if (fact.kind === 'activity scheduled' || fact.kind === 'activity started') this.apply(fact);
    else if ('scheduledEventId' in fact) this.open.delete(fact.scheduledEventId);
  }

  result(): Audit {
    return { runs: [...this.runs], activities: [...this.activities], messages: [...this.messages] };
  }

  private closeRun({ time, how, message }: RunClosed): void {
    const run = this.runs.pop();
    if (run !== undefined) this.runs.push({ ...run, ended: time, how, ...(message === undefined ? {} : { message }) });
  }

  private start({ scheduledEventId, time, attempt, lastFailure }: Extract<HistoryFact, { kind: 'activity started' }>): void {
    const activity = this.open.get(scheduledEventId);
    if (activity === undefined) return;
    const started = { time, attempt, ...(lastFailure === undefined ? {} : { lastFailure }) };
    this.open.set(scheduledEventId, { ...activity, started });
  }

  private end(scheduledEventId: number, ended: string, outcome: ActivityRecord['outcome'], failure?: FailureWords): void {
    const activity = this.open.get(scheduledEventId);
    this.open.delete(scheduledEventId);
    if (activity === undefined) return;
    this.activities.push(activityRecord(activity, ended, outcome, failure));
  }
}

function activityRecord(
  { scheduled, started }: Open,
  ended: string,
  outcome: ActivityRecord['outcome'],
  failure?: FailureWords,
): ActivityRecord {
  const phase = PHASE_OF[scheduled.activity];
  const host = hostName(scheduled.input);
  return {
    activity: scheduled.activity,
    activityId: scheduled.activityId,
    ...(phase === undefined ? {} : { phase }),
    ...(host === undefined ? {} : { host }),
    replicas: briefRefs(scheduled.input),
    scheduled: scheduled.time,
    ...(started === undefined ? {} : { started: started.time }),
    ended,
    attempts: started?.attempt ?? 1,
    outcome,
    ...(failure === undefined ? {} : { failure }),
    ...(started?.lastFailure === undefined ? {} : { retriedAfter: started.lastFailure }),
  };
}

function runRecord(fact: RunStarted): RunRecord {
  const { runId, time, input, identity } = fact;
  const by = input?.resume?.by ?? identity;
  const reason = input?.resume?.reason;
  return { runId, started: time, as: succession(fact), ...(by === undefined ? {} : { by }), ...(reason === undefined ? {} : { reason }) };
}

function succession({ input, previous, reset }: RunStarted): RunRecord['as'] {
  if (reset === true) return 'reset';
  if (previous === undefined) return 'start';
  return input?.resume?.runId === previous ? input.resume.mode : 'continued';
}

function hostName(input: unknown): string | undefined {
  const host = (input as { host?: { name?: unknown } } | undefined)?.host?.name;
  return typeof host === 'string' ? host : undefined;
}

function briefRefs(input: unknown): readonly ReplicaRef[] {
  const { replica, table } = (input ?? {}) as { replica?: ReplicaRef; table?: { replicas?: readonly ReplicaRef[] } };
  const refs = replica === undefined ? (table?.replicas ?? []) : [replica];
  return refs.map(({ host, database, table: name }) => ({ host, database, table: name }));
}
