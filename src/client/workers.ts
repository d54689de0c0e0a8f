/** Whether somebody does a migration's work: what the server knows of the workers of its task queues. */
import type { Client, WorkflowExecutionDescription } from '@temporalio/client';
import { temporal } from '@temporalio/proto';

import { DEFAULT_TASK_QUEUE } from '../domain/spec';
import type { PendingActivity } from './pending';
import { toMillis } from './proto-values';

/** Whether a poller was seen within the last two minutes: the server itself remembers a dead one for five. */
const POLLER_FRESH_MS = 120_000;

/** The task queues of a running migration that no worker polls, in words with what to do. */
export async function unpolledQueues(
  client: Client,
  workflowQueue: string,
  pending: readonly PendingActivity[],
  now: number,
): Promise<string[]> {
  const kinds = temporal.api.enums.v1.TaskQueueType;
  const waiting = pending.filter((activity) => activity.state === 'scheduled').map((activity) => activity.taskQueue ?? workflowQueue);
  const asked = [
    { queue: workflowQueue, kind: kinds.TASK_QUEUE_TYPE_WORKFLOW },
    ...[...new Set(waiting)].map((queue) => ({ queue, kind: kinds.TASK_QUEUE_TYPE_ACTIVITY })),
  ];
  const silent = await Promise.all(asked.map(async ({ queue, kind }) => ((await isPolled(client, queue, kind, now)) ? undefined : queue)));
  const queues = [...new Set(silent.filter((queue) => queue !== undefined))];
  return queues.map((queue) => `no worker polls task queue ${JSON.stringify(queue)}: start one with \`${workerCommand(queue)}\``);
}

/** The command line of a worker that polls `queue`. */
function workerCommand(queue: string): string {
  if (queue === DEFAULT_TASK_QUEUE) return 'ch-zk-migrate worker';
  return `ch-zk-migrate worker --task-queue ${/^[\w./:-]+$/.test(queue) ? queue : `'${queue.replaceAll("'", String.raw`'\''`)}'`}`;
}

async function isPolled(client: Client, queue: string, kind: temporal.api.enums.v1.TaskQueueType, now: number): Promise<boolean> {
  const { namespace } = client.options;
  // Who may not ask for the queue may still look at the migration.
  const answer = await client.workflowService
    .describeTaskQueue({ namespace, taskQueue: { name: queue }, taskQueueType: kind })
    .catch(() => undefined);
  if (answer === undefined) return true;
  return (answer.pollers ?? []).some((poller) => {
    const seen = toMillis(poller.lastAccessTime);
    return seen === undefined || now - seen < POLLER_FRESH_MS;
  });
}

/** Longer than the server waits for the worker that had the workflow before (10 s). */
const TASK_STALE_MS = 20_000;
/** The server gives the first failures a second chance at once. */
const TASK_ATTEMPTS = 3;

/** Why the workflow itself does not get on: nobody takes its task, or its code fails on its history. */
export function workflowTaskReasons({ raw, taskQueue }: WorkflowExecutionDescription, now: number): string[] {
  const task = raw.pendingWorkflowTask;
  if (task === null || task === undefined) return [];
  const attempt = task.attempt ?? 1;
  if (attempt >= TASK_ATTEMPTS) {
    return [
      `its workflow task has failed ${String(attempt - 1)} times: see the history in the Web UI, and whether the worker's version fits`,
    ];
  }
  const scheduled = toMillis(task.scheduledTime);
  const waits = task.state === temporal.api.enums.v1.PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED;
  if (!waits || scheduled === undefined || now - scheduled < TASK_STALE_MS) return [];
  const seconds = Math.floor((now - scheduled) / 1000);
  return [
    `no worker has taken its task for ${String(seconds)} s (task queue ${JSON.stringify(taskQueue)}): is one running? \`${workerCommand(taskQueue)}\``,
  ];
}
