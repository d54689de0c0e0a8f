import { Command } from 'commander';

import type { MigrationSummary } from '../domain/summary';
import type { ReplicaRecord } from '../history/fold';
import { colors, EXIT, type ExitCode, printJson, printResult, setExit, withExample } from './common';
import type { Session } from './session';

export function statusCommand(): Command {
  const command = new Command('status')
    .description(
      'One look at a migration, also at an ended one; needs no worker. Exit 0: runs or completed, 1: failed, 4: waits for somebody.',
    )
    .argument('<id>', 'the migration')
    .option('--tables', 'every replica too, from the history')
    .action(async (id: string, options: { tables?: boolean }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => status(session, id, options.tables === true));
    });
  return withExample(command, 'ch-zk-migrate status orders-to-new-root', 'ch-zk-migrate status orders-to-new-root --tables --json');
}

/** The exit code of a look: an ended migration that did not fail is no failure of the look. */
export function outcomeExit(outcome: MigrationSummary['outcome']): ExitCode {
  if (outcome === 'failed') return EXIT.FAILED;
  return outcome === 'waiting' ? EXIT.WAITING : EXIT.DONE;
}

/** Whether its preflight refused it, so that nothing was changed. */
export function isRefused({ outcome, frozen, refusals }: MigrationSummary): boolean {
  return outcome === 'failed' && !frozen && refusals.length > 0;
}

async function status(session: Session, id: string, tables: boolean): Promise<void> {
  const { describeMigration } = await import('../client.js');
  const { linkTo } = await import('./control.js');
  const description = await describeMigration(session.client, id);
  const replicas = tables ? await readReplicas(session, id) : undefined;
  const ui = linkTo(session, description);
  if (session.json) {
    const { statusDocument } = await import('../report/status-document.js');
    printJson(statusDocument(description, ui, replicas));
  } else {
    const { statusText } = await import('../report/status-text.js');
    printResult(
      statusText(description, { paint: colors(process.stdout), now: Date.now(), ui, ...(replicas === undefined ? {} : { replicas }) }),
    );
  }
  setExit(outcomeExit(description.summary.outcome));
}

/** Every replica of a migration, from its history. */
export async function readReplicas({ client }: Pick<Session, 'client'>, id: string): Promise<readonly ReplicaRecord[]> {
  const { createHistoryReader } = await import('../history/read.js');
  return (await createHistoryReader(client).read(id)).replicas;
}
