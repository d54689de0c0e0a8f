/** What the commands that act on a running migration share. */
import type { MigrationDescription } from '../client';
import { describeMigration, isRunning, webUiLink } from '../client';
import { statusDocument } from '../report/status-document';
import { stateWords } from '../report/words';
import type { Note } from '../workflows/messages';
import { CliError, EXIT, printJson, printResult, whoami } from './common';
import type { Session } from './session';

/** How long a command waits to see that its message was taken in. */
const SETTLE_MS = 5000;
const LOOK_EVERY_MS = 200;

/** Who says it, and why. */
export function note(reason: string | undefined): Note {
  return { by: whoami(), ...(reason === undefined ? {} : { reason }) };
}

/**
 * The migration, when it runs.
 *
 * @throws {CliError} exit 1 when it has ended, with what to type instead; {@link ClientError} when there is none
 */
export async function requireRunning({ client }: Session, id: string, verb: string): Promise<MigrationDescription> {
  const description = await describeMigration(client, id);
  if (isRunning(description.status)) return description;
  const failed = description.summary.outcome === 'failed';
  throw new CliError(EXIT.FAILED, `${id} has ended (${stateWords(description)}): it cannot be ${verb}`, {
    code: 'NOT_RUNNING',
    next: failed ? `ch-zk-migrate retry ${id}` : `ch-zk-migrate status ${id}`,
  });
}

/** Looks until `reached`, or until it ends, or for a few seconds: a message is kept by the server also while no worker takes it in. */
export async function settle(
  { client }: Session,
  id: string,
  reached: (description: MigrationDescription) => boolean,
): Promise<{ readonly description: MigrationDescription; readonly settled: boolean }> {
  const end = Date.now() + SETTLE_MS;
  for (;;) {
    const description = await describeMigration(client, id);
    if (reached(description)) return { description, settled: true };
    if (!isRunning(description.status) || Date.now() >= end) return { description, settled: false };
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Prints what happened: a sentence, or the status document. */
export function answer(session: Session, description: MigrationDescription, sentence: string): void {
  if (session.json) printJson(statusDocument(description, linkTo(session, description)));
  else printResult(sentence);
}

/** For a message that was sent, but that nobody has taken in yet. */
export function notYet(description: MigrationDescription): string {
  return `recorded, and not taken in yet (${stateWords(description)}); see: ch-zk-migrate watch ${description.id}`;
}

export function linkTo(session: Session, { id, runId }: { readonly id: string; readonly runId?: string }): string {
  return webUiLink(session, id, runId);
}

/** How many activities still run, in words. */
export function stillRunning({ summary }: MigrationDescription): string {
  return summary.inFlight === 0 ? 'nothing runs' : `${String(summary.inFlight)} still run and finish`;
}
