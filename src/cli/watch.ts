import { Command } from 'commander';

import { setExit, withExample } from './common';

export function watchCommand(): Command {
  const command = new Command('watch')
    .description(
      'Follows a migration until it ends: phase, bars per phase and host, rate, ETA, the reason for waiting, last failures. Where stderr is no terminal, a line a change. ' +
        'Exit 0: completed, 1: failed, 3: refused by its preflight, 4: waits for somebody (on a terminal it stays), 130: interrupted, and the migration goes on.',
    )
    .argument('<id>', 'the migration')
    .action(async (id: string) => {
      const { withTemporal } = await import('./session.js');
      const { watchMigration } = await import('./watch-migration.js');
      await withTemporal(command, async (session) => setExit(await watchMigration(session, id, { json: session.json })));
    });
  return withExample(command, 'ch-zk-migrate watch orders-to-new-root');
}
