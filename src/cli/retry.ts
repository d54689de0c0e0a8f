import { Command } from 'commander';

import type { RetryRequest } from '../workflows/messages';
import type { MigrationDescription } from '../client';
import { CliError, collect, EXIT, type Fault, setExit, withExample } from './common';
import type { Session } from './session';

interface RetryOptions {
  readonly tables?: readonly string[];
  readonly skip?: readonly string[];
  readonly unskip?: readonly string[];
  readonly reason?: string;
  readonly watch?: boolean;
}

export function retryCommand(): Command {
  const command = new Command('retry')
    .description(
      'Resumes a failed migration from where it stands: what is proved is not repeated. One that holds after a failure goes on; one that has ended gets a new run under its id.',
    )
    .argument('<id>', 'the migration')
    .option('--tables <glob>', 'only these, as database.table; again for more', collect)
    .option('--skip <glob>', 'leave these out on purpose, in this retry and each one after it; again for more', collect)
    .option('--unskip <glob>', 'take back what an earlier --skip left out of these, * for all of it; again for more', collect)
    .option('--reason <text>', 'recorded in the history')
    .option('--watch', 'stay and show progress')
    .action(async (id: string, options: RetryOptions) => {
      await checkGlobs(options);
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => retry(session, id, options));
    });
  return withExample(
    command,
    'ch-zk-migrate retry orders-to-new-root --watch',
    "ch-zk-migrate retry orders-to-new-root --skip 'shop.tmp_*'",
    "ch-zk-migrate retry orders-to-new-root --unskip '*'",
  );
}

async function checkGlobs(options: RetryOptions): Promise<void> {
  const { tableGlobFault } = await import('../config/table-filter.js');
  const faults = (['tables', 'skip', 'unskip'] as const).flatMap((key) =>
    (options[key] ?? []).flatMap((glob): Fault[] => {
      const fault = tableGlobFault(glob);
      return fault === undefined ? [] : [{ path: `--${key}`, message: `${JSON.stringify(glob)} ${fault}` }];
    }),
  );
  if (faults.length > 0) throw new CliError(EXIT.USAGE, 'a pattern cannot be used', { faults });
}

async function retry(session: Session, id: string, options: RetryOptions): Promise<void> {
  const { describeMigration, isRunning } = await import('../client.js');
  const { answer } = await import('./control.js');
  const description = await describeMigration(session.client, id);
  const { outcome, executed } = description.summary;
  if (!executed) throw new CliError(EXIT.FAILED, `${id} is a dry run: there is nothing to resume`, { next: 'ch-zk-migrate start SPEC' });
  if (isRunning(description.status)) return retryHeld(session, description, options);
  if (outcome === 'aborted')
    throw new CliError(EXIT.FAILED, `${id} was aborted`, { code: 'ABORTED', next: 'ch-zk-migrate start SPEC --execute' });
  if (description.summary.aborting) {
    throw new CliError(EXIT.FAILED, `${id} failed while it was aborted: a retry would go the other way`, {
      code: 'ABORTING',
      next: `ch-zk-migrate abort ${id}`,
    });
  }
  if (outcome === 'completed') return answer(session, description, `${id} is completed: there is nothing to retry`);
  await retryClosed(session, description, options);
}

async function retryHeld(session: Session, before: MigrationDescription, options: RetryOptions): Promise<void> {
  const { note, settle } = await import('./control.js');
  const { stateWords } = await import('../report/words.js');
  const { retryUpdate } = await import('../workflows/messages.js');
  const nothing = (why: string) =>
    new CliError(EXIT.FAILED, `${before.id} runs, and there is nothing to retry: ${why}`, {
      code: 'NOTHING_TO_RETRY',
      next: `ch-zk-migrate watch ${before.id}`,
    });
  if (before.summary.failuresTotal === 0) throw nothing(stateWords(before));
  const { sendUpdate } = await import('./send-update.js');
  const sent = await sendUpdate<{ retried: number }, RetryRequest>(session, before.id, retryUpdate, {
    ...globs(options),
    ...note(options.reason),
  });
  if ('rejected' in sent) throw nothing(sent.rejected);
  // What it waited for is said until the workflow mirrors its state again: a watch would take it for a wait that has just begun.
  await settle(session, before.id, ({ summary }) => summary.outcome !== 'waiting' || summary.updated !== before.summary.updated);
  await finish(session, before.id, options, `${before.id} goes on: ${String(sent.result.retried)} tried again`);
}

async function retryClosed(session: Session, closed: MigrationDescription, options: RetryOptions): Promise<void> {
  const { startResumed } = await import('../client.js');
  const { note } = await import('./control.js');
  await startResumed(session.client, closed, { mode: 'retry', ...globs(options), ...note(options.reason) });
  await finish(session, closed.id, options, `${closed.id} goes on in a new run. Watch it: ch-zk-migrate watch ${closed.id}`);
}

async function finish(session: Session, id: string, options: RetryOptions, sentence: string): Promise<void> {
  if (options.watch === true) {
    const { watchMigration } = await import('./watch-migration.js');
    setExit(await watchMigration(session, id, { json: session.json }));
    return;
  }
  const { describeMigration } = await import('../client.js');
  const { answer } = await import('./control.js');
  answer(session, await describeMigration(session.client, id), sentence);
}

function globs({ tables, skip, unskip }: RetryOptions): RetryRequest {
  return { ...(tables === undefined ? {} : { tables }), ...(skip === undefined ? {} : { skip }), ...(unskip === undefined ? {} : { unskip }) };
}
