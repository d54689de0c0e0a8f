import type { Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { decodeArrayFromPayloads, decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow';
import { temporal } from '@temporalio/proto';

import { errorText } from './errors';
import { toIso } from './proto-values';

type RawPending = temporal.api.workflow.v1.IPendingActivityInfo;

/** An activity that Temporal has handed out or is about to hand out, with what its history does not show yet. */
export interface PendingActivity {
  readonly activityId: string;
  /** Its type, such as `restoreReplica`. */
  readonly activity: string;
  readonly state: 'scheduled' | 'started' | 'paused' | 'canceling';
  /** From 1. */
  readonly attempt: number;
  readonly lastFailure?: { readonly code: string; readonly message: string };
  /** ISO 8601; when the next attempt is due. */
  readonly nextAttempt?: string;
  /** What it last told of itself. */
  readonly heartbeat?: unknown;
  /** What somebody outside has to do before it goes on (a heartbeat's `waiting`), such as a restart by hand. */
  readonly waiting?: string;
  /** What it waits for by itself (a heartbeat's `doing` that says so). */
  readonly waitingItself?: string;
  readonly taskQueue?: string;
}

export async function decodePending(client: Client, raw: readonly RawPending[]): Promise<PendingActivity[]> {
  return Promise.all(raw.map((activity) => decodeOne(client, activity)));
}

async function decodeOne(client: Client, raw: RawPending): Promise<PendingActivity> {
  const converter = client.options.loadedDataConverter;
  const [heartbeat] = await decodeArrayFromPayloads(converter, raw.heartbeatDetails?.payloads).catch(() => []);
  const error = await decodeOptionalFailureToOptionalError(converter, raw.lastFailure).catch(() => undefined);
  const told = asTold(heartbeat);
  const nextAttempt = toIso(raw.nextAttemptScheduleTime);
  const taskQueue = raw.activityOptions?.taskQueue?.name;
  return {
    activityId: raw.activityId ?? '',
    activity: raw.activityType?.name ?? '',
    state: stateWord(raw),
    attempt: raw.attempt ?? 1,
    ...(error === undefined ? {} : { lastFailure: describeFailure(error) }),
    ...(nextAttempt === undefined ? {} : { nextAttempt }),
    ...(heartbeat === undefined ? {} : { heartbeat }),
    ...told,
    ...(taskQueue === undefined || taskQueue === null || taskQueue === '' ? {} : { taskQueue }),
  };
}

/** Code and words of a failed activity; the code is the failure's type, or `TIMED_OUT`, or `UNKNOWN`. */
export function describeFailure(error: Error): { readonly code: string; readonly message: string } {
  if (error instanceof ApplicationFailure) return { code: error.type ?? 'UNKNOWN', message: errorText(error) };
  if (error.name === 'TimeoutFailure') return { code: 'TIMED_OUT', message: errorText(error) };
  return error.cause instanceof Error ? describeFailure(error.cause) : { code: 'UNKNOWN', message: errorText(error) };
}

/** At most this many reasons: the others are alike. */
const MAX_REASONS = 5;

/**
 * Why activities do not get on, one line a reason, the most frequent first: retries with their last failure and the next attempt, and
 * what activities say they wait for.
 */
export function pendingReasons(pending: readonly PendingActivity[], now: number): string[] {
  const groups = new Map<string, PendingActivity[]>();
  for (const activity of pending) {
    const words = reasonWords(activity);
    if (words !== undefined) groups.set(words, [...(groups.get(words) ?? []), activity]);
  }
  return [...groups]
    .sort(([, left], [, right]) => right.length - left.length)
    .slice(0, MAX_REASONS)
    .map(([words, activities]) => `${words}${suffix(activities, now)}`);
}

function reasonWords(activity: PendingActivity): string | undefined {
  if (activity.state === 'paused') return `${label(activity)} is paused in Temporal`;
  if (activity.attempt > 1 && activity.lastFailure !== undefined) {
    return `${activity.activity} is retried: ${activity.lastFailure.code}: ${activity.lastFailure.message}`;
  }
  return activity.waiting ?? activity.waitingItself;
}

function suffix(activities: readonly PendingActivity[], now: number): string {
  const notes: string[] = [];
  if (activities.length > 1) notes.push(`${String(activities.length)} activities`);
  const attempt = Math.max(...activities.map((activity) => activity.attempt));
  if (attempt > 1) notes.push(`attempt ${String(attempt)}`);
  const next = Math.min(
    ...activities.map((activity) => (activity.nextAttempt === undefined ? Infinity : Date.parse(activity.nextAttempt))),
  );
  if (Number.isFinite(next) && next > now) notes.push(`next try in ${String(Math.ceil((next - now) / 1000))} s`);
  return notes.length === 0 ? '' : ` (${notes.join(', ')})`;
}

function label({ activity, activityId }: PendingActivity): string {
  return /^\d+$/.test(activityId) ? activity : `${activity} ${activityId}`;
}

/** See `Progress` in activities/deps.ts. */
function asTold(heartbeat: unknown): Pick<PendingActivity, 'waiting' | 'waitingItself'> {
  if (typeof heartbeat !== 'object' || heartbeat === null) return {};
  const { waiting, doing } = heartbeat as { waiting?: unknown; doing?: unknown };
  if (typeof waiting === 'string' && waiting !== '') return { waiting };
  return typeof doing === 'string' && doing.startsWith('waiting ') ? { waitingItself: doing } : {};
}

function stateWord(raw: RawPending): PendingActivity['state'] {
  const states = temporal.api.enums.v1.PendingActivityState;
  if (raw.paused === true || raw.state === states.PENDING_ACTIVITY_STATE_PAUSED) return 'paused';
  if (raw.state === states.PENDING_ACTIVITY_STATE_STARTED) return 'started';
  if (raw.state === states.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED) return 'canceling';
  return 'scheduled';
}
