import type { Client, WorkflowExecutionDescription, WorkflowExecutionStatusName } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';

import type { MigrationSummary } from '../domain/summary';
import { WORKFLOW_TYPE } from '../workflows/messages';
import { closingWords } from './closing';
import { ClientError } from './errors';
import type { PendingActivity } from './pending';
import { decodePending, pendingReasons } from './pending';
import { isRunning, summaryOf } from './summary-of';
import { unpolledQueues, workflowTaskReasons } from './workers';

/** One look at a migration: what the workflow says of itself, set right by what the server knows. */
export interface MigrationDescription {
  readonly id: string;
  readonly runId: string;
  /** The workflow's status, by Temporal. */
  readonly status: WorkflowExecutionStatusName;
  readonly summary: MigrationSummary;
  readonly pendingActivities: readonly PendingActivity[];
  /** Why it does not get on, in words, beside `summary.waitingFor`: retries, activities that wait, task queues without a worker. */
  readonly reasons: readonly string[];
  /** Why it closed, for a run that did not complete. */
  readonly closedBecause?: string;
  readonly taskQueue: string;
  readonly memo: Readonly<Record<string, unknown>>;
  /** ISO 8601. */
  readonly runStarted: string;
  readonly closed?: string;
}

export interface DescribeOptions {
  /** Whether the task queues are asked for their pollers. @default true */
  readonly checkWorkers?: boolean;
  /** A run; the latest when absent. */
  readonly runId?: string;
  /** @default now */
  readonly at?: Date;
}

/**
 * Describes a migration that runs or ended; needs no worker.
 *
 * @throws {ClientError} NOT_FOUND, NOT_A_MIGRATION; gRPC errors pass
 */
export async function describeMigration(client: Client, id: string, options: DescribeOptions = {}): Promise<MigrationDescription> {
  const description = await describeWorkflow(client, id, options.runId);
  const now = (options.at ?? new Date()).getTime();
  const running = isRunning(description.status.name);
  const pendingActivities = await decodePending(client, description.raw.pendingActivities ?? []);
  const unpolled =
    running && options.checkWorkers !== false ? await unpolledQueues(client, description.taskQueue, pendingActivities, now) : [];
  const closedBecause = running ? undefined : await closingWords(client, description);
  const stuck = running && unpolled.length === 0 ? workflowTaskReasons(description, now) : [];
  const reasons = running ? [...unpolled, ...stuck, ...pendingReasons(pendingActivities, now)] : [];
  return {
    id,
    runId: description.runId,
    status: description.status.name,
    summary: summaryOf(description, pendingActivities),
    pendingActivities,
    reasons,
    ...(closedBecause === undefined ? {} : { closedBecause }),
    taskQueue: description.taskQueue,
    memo: description.memo ?? {},
    runStarted: description.startTime.toISOString(),
    ...(description.closeTime === undefined ? {} : { closed: description.closeTime.toISOString() }),
  };
}

async function describeWorkflow(client: Client, id: string, runId: string | undefined): Promise<WorkflowExecutionDescription> {
  const description = await client.workflow
    .getHandle(id, runId)
    .describe()
    .catch((error: unknown) => {
      throw error instanceof WorkflowNotFoundError ? unknownMigration(client, id, error) : error;
    });
  if (description.type !== WORKFLOW_TYPE) {
    throw new ClientError(
      'NOT_A_MIGRATION',
      `${JSON.stringify(id)} is a workflow of type ${JSON.stringify(description.type)}, not a migration`,
      {
        next: 'ch-zk-migrate list',
      },
    );
  }
  return description;
}

function unknownMigration(client: Client, id: string, cause: unknown): ClientError {
  const where = `Temporal's namespace ${JSON.stringify(client.options.namespace)}`;
  return new ClientError(
    'NOT_FOUND',
    `${where} knows no migration ${JSON.stringify(id)} (or its history is past the namespace's retention)`,
    {
      next: 'ch-zk-migrate list',
      cause,
    },
  );
}
