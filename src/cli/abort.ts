import { Command } from 'commander';

import type { MigrationDescription } from '../client';
import { CliError, collect, EXIT, setExit, withExample } from './common';
import type { Session } from './session';

interface AbortOptions {
  readonly reason?: string;
  readonly watch?: boolean;
  readonly withoutHost?: readonly string[];
}

export function abortCommand(): Command {
  const command = new Command('abort')
    .description(
      'Stops a migration, and leaves no table detached: what is detached is attached again, what lost its nodes is restored. Works on one that failed or was terminated too.',
    )
    .argument('<id>', 'the migration')
    .option('--reason <text>', 'recorded in the history')
    .option('--without-host <name>', 'this host is gone for good: leave its tables out, and wait for it no longer; recorded; again for more', collect)
    .option('--watch', 'stay until no table is detached any more')
    .action(async (id: string, options: AbortOptions) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => abort(session, id, options));
    });
  return withExample(
    command,
    'ch-zk-migrate abort orders-to-new-root --reason "not tonight" --watch',
    'ch-zk-migrate abort orders-to-new-root --without-host ch-2 --reason "its disk burnt" --watch',
  );
}

async function abort(session: Session, id: string, options: AbortOptions): Promise<void> {
  const { describeMigration, isRunning } = await import('../client.js');
  const { answer } = await import('./control.js');
  const description = await describeMigration(session.client, id);
  const { outcome, executed } = description.summary;
  checkHosts(description, options.withoutHost ?? []);
  if (isRunning(description.status)) return abortRunning(session, description, options);
  if (outcome === 'completed' || outcome === 'aborted')
    return answer(session, description, `${id} is ${outcome}: there is nothing to abort`);
  if (!executed) throw new CliError(EXIT.FAILED, `${id} is a dry run: it changed nothing, there is nothing to abort`);
  await abortClosed(session, description, options);
}

/** Only hosts of the migration can be left out, and not all of them. */
function checkHosts({ summary }: MigrationDescription, without: readonly string[]): void {
  const known = summary.hosts.map(({ host }) => host);
  const unknown = without.filter((name) => !known.includes(name));
  const faults = unknown.map((name) => ({ path: '--without-host', message: `${JSON.stringify(name)} is no host of the migration; they are ${known.join(', ')}` }));
  const left = known.filter((name) => !without.includes(name) && summary.withoutHosts?.includes(name) !== true);
  if (faults.length === 0 && without.length > 0 && left.length === 0) faults.push({ path: '--without-host', message: 'no host would be left to bring back' });
  if (faults.length > 0) throw new CliError(EXIT.USAGE, 'a host cannot be left out', { faults });
}

async function abortRunning(session: Session, before: MigrationDescription, options: AbortOptions): Promise<void> {
  const { note, notYet, settle } = await import('./control.js');
  const { stateWords } = await import('../report/words.js');
  const { abortSignal } = await import('../workflows/messages.js');
  const { id } = before;
  const withoutHosts = options.withoutHost ?? [];
  if (!before.summary.aborting || withoutHosts.length > 0) {
    await session.client.workflow.getHandle(id).signal(abortSignal, { ...note(options.reason), ...(withoutHosts.length === 0 ? {} : { withoutHosts }) });
  }
  if (options.watch === true) return watchEnd(session, id);
  const { description, settled } = await settle(session, id, ({ summary }) => summary.aborting || summary.outcome === 'aborted');
  const { answer } = await import('./control.js');
  answer(session, description, settled ? abortWords(description, stateWords(description)) : `${id}: ${notYet(description)}`);
}

function abortWords({ id, summary }: MigrationDescription, state: string): string {
  return summary.outcome === 'aborted' ? `${id} is aborted` : `${id}: ${state}. Watch it: ch-zk-migrate watch ${id}`;
}

async function abortClosed(session: Session, closed: MigrationDescription, options: AbortOptions): Promise<void> {
  const { describeMigration, startResumed } = await import('../client.js');
  const { answer, note } = await import('./control.js');
  await startResumed(session.client, closed, { mode: 'abort', ...note(options.reason), ...(options.withoutHost === undefined ? {} : { withoutHosts: options.withoutHost }) });
  if (options.watch === true) return watchEnd(session, closed.id);
  const description = await describeMigration(session.client, closed.id);
  answer(session, description, `${closed.id} is being aborted in a new run. Watch it: ch-zk-migrate watch ${closed.id}`);
}

async function watchEnd(session: Session, id: string): Promise<void> {
  const { watchMigration } = await import('./watch-migration.js');
  setExit(await watchMigration(session, id, { json: session.json, wanted: 'aborted' }));
}
