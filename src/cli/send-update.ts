import { WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, isGrpcDeadlineError } from '@temporalio/client';

import { describeMigration, errorText } from '../client';
import { stateWords } from '../report/words';
import { CliError, EXIT } from './common';
import type { Session } from './session';

/** A worker must take an update in: without one it is not accepted, and nothing changes. */
const ANSWER_MS = 15_000;

/**
 * Sends an update and waits for what the migration says to it: its result, or why it refuses.
 *
 * @throws {CliError} exit 1 when nobody answers
 */
export async function sendUpdate<Result, Request extends object>(
  session: Session,
  id: string,
  update: { readonly name: string },
  request: Request,
): Promise<{ readonly result: Result } | { readonly rejected: string }> {
  const handle = session.client.workflow.getHandle(id);
  try {
    const result = await session.connection.withDeadline(Date.now() + ANSWER_MS, () =>
      handle.executeUpdate<Result, [Request]>(update.name, { args: [request] }),
    );
    return { result };
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError) return { rejected: errorText(error.cause ?? error) };
    if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || isGrpcDeadlineError(error)) throw await noAnswer(session, id, error);
    throw error;
  }
}

async function noAnswer({ client }: Session, id: string, cause: unknown): Promise<CliError> {
  const description = await describeMigration(client, id);
  const words = `${id} gave no answer within ${String(ANSWER_MS / 1000)} s (${stateWords(description)}); it may still take it in`;
  return new CliError(EXIT.FAILED, words, { code: 'NO_ANSWER', next: 'ch-zk-migrate worker', cause });
}
