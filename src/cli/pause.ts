import { Command } from 'commander';

import { withExample } from './common';
import type { Session } from './session';

export function pauseCommand(): Command {
  const command = new Command('pause')
    .description('Pauses a migration: nothing new starts, running statements finish. It stays paused until `resume`.')
    .argument('<id>', 'the migration')
    .option('--reason <text>', 'recorded in the history, and shown while it waits')
    .action(async (id: string, options: { reason?: string }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => pause(session, id, options.reason));
    });
  return withExample(command, 'ch-zk-migrate pause orders-to-new-root --reason "backup runs until 14:00"');
}

async function pause(session: Session, id: string, reason: string | undefined): Promise<void> {
  const { answer, note, notYet, requireRunning, settle, stillRunning } = await import('./control.js');
  const { pauseSignal } = await import('../workflows/messages.js');
  const before = await requireRunning(session, id, 'paused');
  if (before.summary.paused) return answer(session, before, `${id} is paused already`);
  await session.client.workflow.getHandle(id).signal(pauseSignal, note(reason));
  const { description, settled } = await settle(session, id, ({ summary }) => summary.paused);
  answer(
    session,
    description,
    settled ? `${id} is paused: ${stillRunning(description)}. Go on: ch-zk-migrate resume ${id}` : `${id}: ${notYet(description)}`,
  );
}
