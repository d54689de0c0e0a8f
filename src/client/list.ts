import type { Client, WorkflowExecutionInfo, WorkflowExecutionStatusName } from '@temporalio/client';

import type { StatusCounts } from '../domain/status';
import type { MigrationSummary, Outcome, Stage } from '../domain/summary';
import { WORKFLOW_TYPE } from '../workflows/messages';
import { summaryOf } from './summary-of';

/** A migration as a list shows it: its latest run. */
export interface MigrationListing {
  readonly id: string;
  readonly runId: string;
  readonly status: WorkflowExecutionStatusName;
  readonly executed: boolean;
  readonly phase: Stage;
  readonly outcome: Outcome;
  /** Null where it does not wait for somebody. */
  readonly waitingFor: MigrationSummary['waitingFor'];
  readonly replicas: number;
  readonly counts: StatusCounts;
  readonly failuresTotal: number;
  /** ISO 8601; of the first run. */
  readonly started: string;
  readonly updated: string;
}

/** Migrations on the server, newest first. Runs that only continued as another are left out; `limit` counts migrations. */
export async function listMigrations(client: Client, limit: number): Promise<MigrationListing[]> {
  const newest = new Map<string, WorkflowExecutionInfo>();
  for await (const execution of client.workflow.list({ query: `WorkflowType = '${WORKFLOW_TYPE}'` })) {
    if (execution.status.name === 'CONTINUED_AS_NEW') continue;
    const known = newest.get(execution.workflowId);
    if (known === undefined && newest.size >= limit) break;
    if (known === undefined || known.startTime < execution.startTime) newest.set(execution.workflowId, execution);
  }
  return [...newest.values()].sort((left, right) => right.startTime.getTime() - left.startTime.getTime()).map(listing);
}

function listing(execution: WorkflowExecutionInfo): MigrationListing {
  const { executed, phase, outcome, waitingFor, replicas, counts, failuresTotal, started, updated } = summaryOf(execution, []);
  const { workflowId: id, runId, status } = execution;
  return { id, runId, status: status.name, executed, phase, outcome, waitingFor, replicas, counts, failuresTotal, started, updated };
}
