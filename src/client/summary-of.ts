import type { WorkflowExecutionInfo, WorkflowExecutionStatusName } from '@temporalio/client';

import { emptySummary, type MigrationSummary, type Outcome, SUMMARY_MEMO_KEY } from '../domain/summary';
import type { PendingActivity } from './pending';

/** What is known of an execution from a description or a list. */
type Execution = Pick<WorkflowExecutionInfo, 'workflowId' | 'status' | 'startTime' | 'closeTime' | 'memo'>;

/** Whether the workflow is open. */
export function isRunning(status: WorkflowExecutionStatusName): boolean {
  return status === 'RUNNING' || status === 'PAUSED' || status === 'CONTINUED_AS_NEW';
}

/** The summary in the memo, set right by what the server knows. */
export function summaryOf(execution: Execution, pending: readonly PendingActivity[]): MigrationSummary {
  return reconcile(memoSummary(execution), execution, pending);
}

/** The summary as the workflow left it; for one that was started by hand and has not run yet, an empty one. */
function memoSummary(description: Execution): MigrationSummary {
  const stored = description.memo?.[SUMMARY_MEMO_KEY] as MigrationSummary | undefined;
  if (stored !== undefined) return stored;
  return emptySummary({
    id: description.workflowId,
    executed: !description.workflowId.endsWith('.plan'),
    started: description.startTime.toISOString(),
  });
}

/** The server's word on whether it runs, ended well or failed stands above the memo's. */
function reconcile(summary: MigrationSummary, description: Execution, pending: readonly PendingActivity[]): MigrationSummary {
  const status = description.status.name;
  if (status === 'PAUSED') {
    const reason = `paused in Temporal itself: temporal workflow unpause --workflow-id ${description.workflowId}`;
    return { ...summary, outcome: 'waiting', waitingFor: { reason, gate: null } };
  }
  if (isRunning(status)) return reconcileRunning(summary, pending);
  const outcome = closedOutcome(summary, status);
  const updated = description.closeTime?.toISOString() ?? summary.updated;
  return { ...summary, outcome, waitingFor: null, inFlight: 0, updated: later(summary.updated, updated) };
}

function reconcileRunning(summary: MigrationSummary, pending: readonly PendingActivity[]): MigrationSummary {
  if (summary.outcome === 'waiting') return summary;
  const asks = pending.find((activity) => activity.waiting !== undefined)?.waiting;
  if (asks !== undefined) return { ...summary, outcome: 'waiting', waitingFor: { reason: asks, gate: null } };
  return summary.outcome === 'running' ? summary : { ...summary, outcome: 'running', waitingFor: null };
}

function closedOutcome(summary: MigrationSummary, status: WorkflowExecutionStatusName): Outcome {
  if (status !== 'COMPLETED') return 'failed';
  // An abort that came when all was done already aborted nothing: what the workflow itself said last stands.
  if (summary.outcome === 'aborted' || summary.outcome === 'completed') return summary.outcome;
  return summary.aborting ? 'aborted' : 'completed';
}

function later(left: string, right: string): string {
  return Date.parse(left) >= Date.parse(right) ? left : right;
}
