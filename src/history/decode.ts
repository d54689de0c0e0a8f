import type { Client } from '@temporalio/client';
import { decodeArrayFromPayloads, decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow';
import type { temporal } from '@temporalio/proto';

import { describeFailure } from '../client/pending';
import { toIso } from '../client/proto-values';
import type { MigrationInput } from '../workflows/messages';
import type { FailureWords, HistoryFact, RunClosed } from './facts';

export type HistoryEvent = temporal.api.history.v1.IHistoryEvent;
type Converter = Client['options']['loadedDataConverter'];
type Payloads = temporal.api.common.v1.IPayloads | null | undefined;
type Failure = temporal.api.failure.v1.IFailure | null | undefined;

/** A Temporal event as a fact, with its payloads decoded; `undefined` for one that says nothing of replicas or of who did what. */
export async function decodeEvent(converter: Converter, runId: string, event: HistoryEvent): Promise<HistoryFact | undefined> {
  const time = toIso(event.eventTime) ?? new Date(0).toISOString();
  return (
    (await decodeActivityEvent(converter, event, time)) ??
    (await decodeMessage(converter, event, time)) ??
    decodeRunEvent(converter, runId, event, time)
  );
}

export function eventIdOf(event: HistoryEvent): number {
  return Number(event.eventId ?? 0);
}

async function decodeActivityEvent(converter: Converter, event: HistoryEvent, time: string): Promise<HistoryFact | undefined> {
  const scheduled = event.activityTaskScheduledEventAttributes;
  if (scheduled) {
    const activity = scheduled.activityType?.name ?? '';
    const input = await firstOf(converter, scheduled.input);
    return { kind: 'activity scheduled', time, eventId: eventIdOf(event), activityId: scheduled.activityId ?? '', activity, input };
  }
  const started = event.activityTaskStartedEventAttributes;
  if (started) {
    const lastFailure = await failureWords(converter, started.lastFailure);
    const attempt = started.attempt ?? 1;
    return {
      kind: 'activity started',
      time,
      scheduledEventId: Number(started.scheduledEventId),
      attempt,
      ...(lastFailure && { lastFailure }),
    };
  }
  return decodeActivityEnd(converter, event, time);
}

async function decodeActivityEnd(converter: Converter, event: HistoryEvent, time: string): Promise<HistoryFact | undefined> {
  const completed = event.activityTaskCompletedEventAttributes;
  if (completed) {
    const result = await firstOf(converter, completed.result);
    return { kind: 'activity completed', time, scheduledEventId: Number(completed.scheduledEventId), result };
  }
  const failed = event.activityTaskFailedEventAttributes ?? event.activityTaskTimedOutEventAttributes;
  if (failed) {
    const failure = (await failureWords(converter, failed.failure)) ?? { code: 'UNKNOWN', message: 'failed without words' };
    return { kind: 'activity failed', time, scheduledEventId: Number(failed.scheduledEventId), failure };
  }
  const canceled = event.activityTaskCanceledEventAttributes;
  return canceled ? { kind: 'activity canceled', time, scheduledEventId: Number(canceled.scheduledEventId) } : undefined;
}

async function decodeMessage(converter: Converter, event: HistoryEvent, time: string): Promise<HistoryFact | undefined> {
  const signal = event.workflowExecutionSignaledEventAttributes;
  if (signal) {
    const payload = await firstOf(converter, signal.input);
    return { kind: 'message', form: 'signal', time, name: signal.signalName ?? '', payload, ...named(signal.identity) };
  }
  const request = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest;
  if (!request) return undefined;
  const payload = await firstOf(converter, request.input?.args);
  return { kind: 'message', form: 'update', time, name: request.input?.name ?? '', payload, ...named(request.meta?.identity) };
}

async function decodeRunEvent(converter: Converter, runId: string, event: HistoryEvent, time: string): Promise<HistoryFact | undefined> {
  const started = event.workflowExecutionStartedEventAttributes;
  if (started) {
    const input = (await firstOf(converter, started.input)) as MigrationInput | undefined;
    const previous = started.continuedExecutionRunId || input?.resume?.runId;
    return { kind: 'run started', time, runId, ...(input && { input }), ...(previous ? { previous } : {}), ...named(started.identity) };
  }
  const closed = await decodeClosing(converter, event);
  return closed === undefined ? undefined : { kind: 'run closed', time, ...closed };
}

async function decodeClosing(converter: Converter, event: HistoryEvent): Promise<Pick<RunClosed, 'how' | 'message'> | undefined> {
  if (event.workflowExecutionCompletedEventAttributes) return { how: 'completed' };
  if (event.workflowExecutionCanceledEventAttributes) return { how: 'canceled' };
  if (event.workflowExecutionTimedOutEventAttributes) return { how: 'timed out' };
  if (event.workflowExecutionContinuedAsNewEventAttributes) return { how: 'continued as new' };
  const terminated = event.workflowExecutionTerminatedEventAttributes;
  if (terminated) {
    const message = [terminated.identity, terminated.reason].filter(Boolean).join(': ');
    return { how: 'terminated', ...(message === '' ? {} : { message }) };
  }
  const failed = event.workflowExecutionFailedEventAttributes;
  if (!failed) return undefined;
  const words = await failureWords(converter, failed.failure);
  return { how: 'failed', ...(words === undefined ? {} : { message: `${words.code}: ${words.message}` }) };
}

async function firstOf(converter: Converter, payloads: Payloads): Promise<unknown> {
  const [first] = await decodeArrayFromPayloads(converter, payloads?.payloads);
  return first;
}

async function failureWords(converter: Converter, failure: Failure): Promise<FailureWords | undefined> {
  const error = await decodeOptionalFailureToOptionalError(converter, failure);
  return error === undefined ? undefined : describeFailure(error);
}

function named(identity: string | null | undefined): { identity?: string } {
  return identity === null || identity === undefined || identity === '' ? {} : { identity };
}
