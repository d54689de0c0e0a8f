import type { Client, WorkflowExecutionDescription } from '@temporalio/client';
import { decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow';

import { errorText } from './errors';
import { describeFailure } from './pending';

/** Why a run closed, from its last event; `undefined` for one that completed. */
export async function closingWords(client: Client, description: WorkflowExecutionDescription): Promise<string | undefined> {
  if (description.status.name === 'COMPLETED') return undefined;
  const { workflowId, runId } = description;
  const page = await client.workflowService.getWorkflowExecutionHistoryReverse({
    namespace: client.options.namespace,
    execution: { workflowId, runId },
    maximumPageSize: 1,
  });
  const event = page.history?.events?.[0];
  const terminated = event?.workflowExecutionTerminatedEventAttributes;
  if (terminated !== null && terminated !== undefined) {
    const reason = terminated.reason === '' || terminated.reason === undefined ? 'no reason was given' : terminated.reason;
    return `terminated by ${terminated.identity || 'somebody'}: ${reason ?? ''}`;
  }
  if (event?.workflowExecutionTimedOutEventAttributes) return 'timed out';
  if (event?.workflowExecutionCanceledEventAttributes) return 'canceled';
  const failure = event?.workflowExecutionFailedEventAttributes?.failure;
  const error = await decodeOptionalFailureToOptionalError(client.options.loadedDataConverter, failure);
  return error === undefined ? description.status.name.toLowerCase() : failureWords(error);
}

function failureWords(error: Error): string {
  const { code, message } = describeFailure(error);
  return code === 'UNKNOWN' ? errorText(error) : `${code}: ${message}`;
}
