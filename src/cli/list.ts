import { Command } from 'commander';

import type { MigrationListing } from '../client';
import { colors, positiveInteger, printJson, printResult, withExample } from './common';
import type { Session } from './session';

export function listCommand(): Command {
  const command = new Command('list')
    .description(
      'Migrations known to the Temporal server, newest first, with phase and outcome; dry runs are those with .plan behind their id.',
    )
    .option('--limit <n>', 'at the most', positiveInteger, 50)
    .action(async (options: { limit: number }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => list(session, options.limit));
    });
  return withExample(command, 'ch-zk-migrate list');
}

async function list(session: Session, limit: number): Promise<void> {
  const { listMigrations } = await import('../client.js');
  const migrations = await listMigrations(session.client, limit);
  if (session.json) return printJson({ migrations });
  printResult(migrations.length === 0 ? 'no migrations here yet: ch-zk-migrate start SPEC --execute' : await listText(migrations));
}

async function listText(migrations: readonly MigrationListing[]): Promise<string> {
  const { plainTable } = await import('../report/plain-table.js');
  const { oneLine } = await import('../report/words.js');
  const paint = colors(process.stdout);
  const waits = migrations.some(({ waitingFor }) => waitingFor !== null);
  const table = plainTable(['id', 'outcome', 'phase', 'restored', 'failed', 'started', ...(waits ? ['waits for'] : [])]);
  for (const { id, outcome, waitingFor, phase, counts, replicas, failuresTotal, started } of migrations) {
    const color = { running: paint.cyan, waiting: paint.yellow, completed: paint.green, failed: paint.red, aborted: paint.yellow }[outcome];
    table.push([oneLine(id), color(outcome), phase, `${String(counts.RESTORED)}/${String(replicas)}`, failuresTotal, started, ...(waits ? [oneLine(waitingFor?.reason ?? '')] : [])]);
  }
  return table.toString();
}
