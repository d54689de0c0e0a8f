import { Command } from 'commander';

import { withExample } from './common';
import type { Session } from './session';

export function resumeCommand(): Command {
  const command = new Command('resume')
    .description('Lifts a pause. A migration that is not paused, but waits at a gate, is let through it.')
    .argument('<id>', 'the migration')
    .option('--reason <text>', 'recorded in the history')
    .action(async (id: string, options: { reason?: string }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => resume(session, id, options.reason));
    });
  return withExample(command, 'ch-zk-migrate resume orders-to-new-root');
}

async function resume(session: Session, id: string, reason: string | undefined): Promise<void> {
  const { answer, note, notYet, requireRunning, settle } = await import('./control.js');
  const { stateWords } = await import('../report/words.js');
  const { resumeSignal } = await import('../workflows/messages.js');
  const before = await requireRunning(session, id, 'resumed');
  const gate = before.summary.waitingFor?.gate ?? null;
  // What is opened is what was seen: where somebody else lifts the same pause, this one must not open the gate behind it.
  const opens = before.summary.paused ? null : gate;
  await session.client.workflow.getHandle(id).signal(resumeSignal, { ...note(reason), gate: opens });
  const waited = before.summary.outcome === 'waiting' || before.summary.paused;
  if (!waited) return answer(session, before, `${id} was not paused and waits at no gate: ${stateWords(before)}`);
  const { description, settled } = await settle(session, id, ({ summary }) => {
    const sameGate = summary.outcome === 'waiting' && (summary.waitingFor?.gate ?? null) === gate;
    return !summary.paused && (before.summary.paused || !sameGate);
  });
  const now = before.summary.paused && description.summary.outcome === 'waiting' ? 'is not paused any more' : 'goes on';
  answer(session, description, settled ? `${id} ${now}: ${stateWords(description)}` : `${id}: ${notYet(description)}`);
}
