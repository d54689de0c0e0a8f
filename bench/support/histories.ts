import type { Client } from '@temporalio/client';
import { temporal } from '@temporalio/proto';

import { eventIdOf, type HistoryEvent } from '../../src/history/decode';
import { pagesForward, walkChain } from '../../src/history/runs';

/** What a migration left in Temporal. */
export interface HistoryFigures {
  /** One a continue-as-new, oldest first. */
  readonly runs: readonly { readonly events: number; readonly bytes: number }[];
  readonly workflowTasks: number;
  readonly largestEvent: { readonly bytes: number; readonly what: string };
  /** By activity type: how many, and medians of the time until a worker took it, and until it was done. */
  readonly activities: Readonly<Record<string, { readonly count: number; readonly queuedMs: number; readonly runMs: number }>>;
}

/** Reads every run of a migration's chain. */
export async function historyFigures(client: Client, id: string, runId: string): Promise<HistoryFigures> {
  const { runs: chain } = await walkChain(client, id, runId);
  const runs: { events: number; bytes: number }[] = [];
  const activities = new Map<string, { queued: number[]; ran: number[] }>();
  let workflowTasks = 0;
  let largestEvent = { bytes: 0, what: '' };
  for (const run of chain) {
    const scheduled = new Map<number, { type: string; at: number; started?: number }>();
    for await (const events of pagesForward(client, id, run.runId)) {
      for (const event of events) {
        const bytes = temporal.api.history.v1.HistoryEvent.encode(event).finish().length;
        const what = temporal.api.enums.v1.EventType[event.eventType ?? 0] ?? '?';
        if (bytes > largestEvent.bytes) largestEvent = { bytes, what: what.replace('EVENT_TYPE_', '').toLowerCase() };
        if (event.workflowTaskScheduledEventAttributes) workflowTasks += 1;
        takeActivity(event, scheduled, activities);
      }
    }
    const { raw } = await client.workflow.getHandle(id, run.runId).describe();
    const info = raw.workflowExecutionInfo;
    runs.push({ events: Number(info?.historyLength ?? 0), bytes: Number(info?.historySizeBytes ?? 0) });
  }
  return {
    runs,
    workflowTasks,
    largestEvent,
    activities: Object.fromEntries(
      [...activities].map(([type, { queued, ran }]) => [type, { count: ran.length, queuedMs: middle(queued), runMs: middle(ran) }]),
    ),
  };
}

function takeActivity(
  event: HistoryEvent,
  scheduled: Map<number, { type: string; at: number; started?: number }>,
  activities: Map<string, { queued: number[]; ran: number[] }>,
): void {
  const at = Number(event.eventTime?.seconds ?? 0) * 1000 + (event.eventTime?.nanos ?? 0) / 1e6;
  const begun = event.activityTaskScheduledEventAttributes;
  if (begun) scheduled.set(eventIdOf(event), { type: begun.activityType?.name ?? '?', at });
  const taken = event.activityTaskStartedEventAttributes;
  const known = scheduled.get(Number(taken?.scheduledEventId ?? event.activityTaskCompletedEventAttributes?.scheduledEventId ?? 0));
  if (known === undefined) return;
  if (taken) known.started = at;
  else if (event.activityTaskCompletedEventAttributes) {
    const lists = activities.get(known.type) ?? { queued: [], ran: [] };
    activities.set(known.type, lists);
    lists.queued.push((known.started ?? at) - known.at);
    lists.ran.push(at - (known.started ?? at));
  }
}

function middle(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}
