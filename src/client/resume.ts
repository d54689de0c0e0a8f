import type { Client, WorkflowHandle } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';

import { type SkipRule, withRequest } from '../config/skips';
import { eventsAfter, firstEvent } from '../history/runs';
import { decodeEvent } from '../history/decode';
import type { AbortNote, MigrationInput, RetryRequest } from '../workflows/messages';
import { WORKFLOW_TYPE } from '../workflows/messages';
import type { MigrationDescription } from './describe';
import { ClientError } from './errors';
import { migrationStartOptions } from './start-options';

export type ResumeChoices = RetryRequest & AbortNote & { readonly mode: 'retry' | 'abort' };

/**
 * Starts a new run under the id of a closed migration, that goes on from what the closed one knew; proved work is found proved.
 *
 * @throws {ClientError} ALREADY_RUNNING when somebody else was quicker, NOT_FOUND when the closed run's history is gone
 */
export async function startResumed(client: Client, closed: MigrationDescription, choices: ResumeChoices): Promise<WorkflowHandle> {
  const input = await resumeInput(client, closed, choices);
  try {
    return await client.workflow.start(WORKFLOW_TYPE, migrationStartOptions(input, { previous: closed.summary }));
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    throw new ClientError('ALREADY_RUNNING', `${closed.id} runs again already: somebody else was quicker`, {
      next: `ch-zk-migrate watch ${closed.id}`,
      cause: error,
    });
  }
}

/** The new run's input: the closed run's spec, and what it knew (see {@link MigrationInput.resume}). */
export async function resumeInput(client: Client, closed: MigrationDescription, choices: ResumeChoices): Promise<MigrationInput> {
  const before = await lastInput(client, closed);
  const { approved, decisions, limits, started, phases } = closed.summary;
  const withoutHosts = choices.mode === 'abort' ? [...new Set([...(closed.summary.withoutHosts ?? []), ...(choices.withoutHosts ?? [])])] : [];
  const skip = withRequest(before.skipped, choices);
  return {
    spec: before.input.spec,
    execute: true,
    resume: {
      runId: closed.runId,
      mode: choices.mode,
      approved,
      decisions,
      limits,
      started,
      phases,
      ...(choices.tables === undefined || choices.tables.length === 0 ? {} : { tables: choices.tables }),
      ...(skip.length === 0 ? {} : { skip }),
      ...(withoutHosts.length === 0 ? {} : { withoutHosts }),
      ...(choices.by === undefined ? {} : { by: choices.by }),
      ...(choices.reason === undefined ? {} : { reason: choices.reason }),
    },
  };
}

interface LastInput {
  readonly input: MigrationInput;
  /** What the closed run left out, by its input and by what it was told since. */
  readonly skipped: readonly SkipRule[];
}

async function lastInput(client: Client, { id, runId }: MigrationDescription): Promise<LastInput> {
  const converter = client.options.loadedDataConverter;
  const first = await firstEvent(client, id, runId);
  const started = first === undefined ? undefined : await decodeEvent(converter, runId, first);
  const input = started?.kind === 'run started' ? started.input : undefined;
  if (input === undefined) {
    throw new ClientError('NOT_FOUND', `the history of ${id} is gone: its input cannot be read`, {
      next: 'ch-zk-migrate start SPEC --execute (what the hosts have proved is not repeated)',
    });
  }
  const updates = (await eventsAfter(client, id, runId, 0)).filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
  const facts = await Promise.all(updates.map((event) => decodeEvent(converter, runId, event)));
  const told = facts.flatMap((fact) => (fact?.kind === 'message' && fact.name === 'retry' ? [(fact.payload as RetryRequest | undefined) ?? {}] : []));
  return { input, skipped: told.reduce<readonly SkipRule[]>(withRequest, input.carried?.skip ?? input.resume?.skip ?? []) };
}
