import { Argument, Command } from 'commander';

import type { Phase } from '../domain/spec';
import { PHASES } from '../domain/spec';
import { withExample } from './common';
import type { Session } from './session';

export function approveCommand(): Command {
  const command = new Command('approve')
    .description('Lets one gate through, now or when it is reached. Gates are set with `pauseBefore` or --pause-before.')
    .argument('<id>', 'the migration')
    .addArgument(new Argument('<phase>', 'the phase behind the gate').choices(PHASES))
    .option('--reason <text>', 'recorded in the history')
    .action(async (id: string, phase: Phase, options: { reason?: string }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => approve(session, id, phase, options.reason));
    });
  return withExample(command, 'ch-zk-migrate approve orders-to-new-root clean --reason "backups are there, ticket 4711"');
}

async function approve(session: Session, id: string, phase: Phase, reason: string | undefined): Promise<void> {
  const { answer, note, notYet, requireRunning, settle } = await import('./control.js');
  const { stateWords } = await import('../report/words.js');
  const { approveSignal } = await import('../workflows/messages.js');
  const before = await requireRunning(session, id, 'approved');
  if (before.summary.approved.includes(phase))
    return answer(session, before, `${phase} of ${id} is approved already: ${stateWords(before)}`);
  await session.client.workflow.getHandle(id).signal(approveSignal, { phase, ...note(reason) });
  const { description, settled } = await settle(
    session,
    id,
    ({ summary }) => summary.approved.includes(phase) && summary.waitingFor?.gate !== phase,
  );
  answer(
    session,
    description,
    settled ? `${phase} of ${id} is approved: ${stateWords(description)}` : `${phase} of ${id}: ${notYet(description)}`,
  );
}
