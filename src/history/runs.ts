import type { Client } from '@temporalio/client';
import { isGrpcServiceError } from '@temporalio/client';
import { temporal } from '@temporalio/proto';

import { decodeEvent, eventIdOf, type HistoryEvent } from './decode';

/** A run's part in the chain. */
export interface ChainRun {
  readonly runId: string;
  /** Its events up to this one were copied by a reset from the run before it in the chain. */
  readonly copiedUpTo: number;
}

export interface Chain {
  /** Oldest first. */
  readonly runs: readonly ChainRun[];
  /** Whether the first of `runs` comes right after the run that was known. */
  readonly continues: boolean;
  /** The run that should come first, but whose history the server no longer keeps. */
  readonly gone?: string;
}

const GRPC_NOT_FOUND = 5;
const PAGE = 1000;

/**
 * Walks a migration's chain of runs backwards from `runId`: continued as new, retried or aborted after it closed, reset. It stops at
 * `known`, at the first run, or at one whose history is past the namespace's retention.
 */
export async function walkChain(client: Client, workflowId: string, runId: string, known?: string): Promise<Chain> {
  const runs: ChainRun[] = [];
  const seen = new Set<string>();
  let current: string | undefined = runId;
  while (current !== undefined && !seen.has(current)) {
    if (current === known) return { runs, continues: true };
    seen.add(current);
    const link: Link | undefined = await linkOf(client, workflowId, current);
    if (link === undefined) return { runs, continues: false, gone: current };
    runs.unshift({ runId: current, copiedUpTo: link.copiedUpTo });
    current = link.previous;
  }
  return { runs, continues: false };
}

interface Link {
  readonly previous?: string;
  readonly copiedUpTo: number;
}

async function linkOf(client: Client, workflowId: string, runId: string): Promise<Link | undefined> {
  const first = await firstEvent(client, workflowId, runId);
  if (first === undefined) return undefined;
  const started = first.workflowExecutionStartedEventAttributes;
  const isReset =
    started?.originalExecutionRunId !== undefined && started.originalExecutionRunId !== '' && started.originalExecutionRunId !== runId;
  if (isReset) {
    const base = await resetBase(client, workflowId, runId);
    if (base?.previous !== undefined && (await firstEvent(client, workflowId, base.previous)) !== undefined) return base;
  }
  const fact = await decodeEvent(client.options.loadedDataConverter, runId, first);
  const previous = fact?.kind === 'run started' ? fact.previous : undefined;
  return { copiedUpTo: 0, ...(previous === undefined ? {} : { previous }) };
}

/** A reset run's history begins as a copy of its base's, up to the workflow task that the reset failed. */
async function resetBase(client: Client, workflowId: string, runId: string): Promise<Link | undefined> {
  const { WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW: resetCause } = temporal.api.enums.v1.WorkflowTaskFailedCause;
  for await (const events of pagesForward(client, workflowId, runId)) {
    for (const event of events) {
      const failed = event.workflowTaskFailedEventAttributes;
      if (failed?.cause !== resetCause || failed.newRunId !== runId || !failed.baseRunId) continue;
      return { previous: failed.baseRunId, copiedUpTo: eventIdOf(event) };
    }
  }
  return undefined;
}

/** The first event of a run; `undefined` when the server does not keep the run. */
export async function firstEvent(client: Client, workflowId: string, runId: string): Promise<HistoryEvent | undefined> {
  try {
    const page = await client.workflowService.getWorkflowExecutionHistory({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: 1,
    });
    return page.history?.events?.[0];
  } catch (error) {
    if (isGrpcServiceError(error) && Number(error.code) === GRPC_NOT_FOUND) return undefined;
    throw error;
  }
}

/** A run's events from the first, a page at a time. */
export async function* pagesForward(client: Client, workflowId: string, runId: string): AsyncGenerator<readonly HistoryEvent[]> {
  let nextPageToken: Uint8Array | undefined;
  do {
    const page = await client.workflowService.getWorkflowExecutionHistory({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: PAGE,
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    });
    yield page.history?.events ?? [];
    nextPageToken = page.nextPageToken ?? undefined;
  } while (nextPageToken !== undefined && nextPageToken.length > 0);
}

/** A run's events after `eventId`, oldest first, read from the end: as few pages as there is news. */
export async function eventsAfter(client: Client, workflowId: string, runId: string, eventId: number): Promise<HistoryEvent[]> {
  const news: HistoryEvent[] = [];
  let nextPageToken: Uint8Array | undefined;
  do {
    const page = await client.workflowService.getWorkflowExecutionHistoryReverse({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: PAGE,
      ...(nextPageToken === undefined ? {} : { nextPageToken }),
    });
    const events = page.history?.events ?? [];
    news.push(...events.filter((event) => eventIdOf(event) > eventId));
    if (events.some((event) => eventIdOf(event) <= eventId)) break;
    nextPageToken = page.nextPageToken ?? undefined;
  } while (nextPageToken !== undefined && nextPageToken.length > 0);
  return news.reverse();
}
