import { Command } from 'commander';

import type { ParallelSpec } from '../domain/spec';
import type { SetLimit } from '../workflows/messages';
import { CliError, EXIT, type Fault, withExample } from './common';
import type { Session } from './session';

const KEYS = ['parallel.detach', 'parallel.clean', 'parallel.restore'];

export function setCommand(): Command {
  const command = new Command('set')
    .description(`Changes a limit while the migration runs: ${KEYS.join(', ')}.`)
    .argument('<id>', 'the migration')
    .argument('<key=value...>', 'such as parallel.restore=2')
    .option('--reason <text>', 'recorded in the history')
    .action(async (id: string, assignments: string[], options: { reason?: string }) => {
      const limits = parseAssignments(assignments);
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => set(session, id, limits, options.reason));
    });
  return withExample(command, 'ch-zk-migrate set orders-to-new-root parallel.restore=2');
}

/** @throws {CliError} exit 2 with every fault */
export function parseAssignments(assignments: readonly string[]): readonly Pick<SetLimit, 'key' | 'value'>[] {
  const faults: Fault[] = [];
  const limits = assignments.map((assignment) => {
    const [, key = assignment, value = ''] = /^([^=]*)=(.*)$/s.exec(assignment) ?? [];
    if (!KEYS.includes(key)) faults.push({ path: key, message: `no such limit: one of ${KEYS.join(', ')}, as KEY=VALUE` });
    else if (!/^\d{1,4}$/.test(value) || Number(value) < 1 || Number(value) > 1_000)
      faults.push({ path: key, message: 'must be a whole number from 1 to 1000, as KEY=VALUE' });
    return { key, value: Number(value) };
  });
  if (faults.length > 0) throw new CliError(EXIT.USAGE, 'a limit cannot be set so', { faults });
  return limits;
}

async function set(
  session: Session,
  id: string,
  limits: readonly Pick<SetLimit, 'key' | 'value'>[],
  reason: string | undefined,
): Promise<void> {
  const { answer, note, requireRunning } = await import('./control.js');
  const { sendUpdate } = await import('./send-update.js');
  const { describeMigration } = await import('../client.js');
  const { setLimitUpdate } = await import('../workflows/messages.js');
  await requireRunning(session, id, 'set');
  let now: object = {};
  for (const limit of limits) {
    const sent = await sendUpdate<ParallelSpec, SetLimit>(session, id, setLimitUpdate, { ...limit, ...note(reason) });
    if ('rejected' in sent)
      throw new CliError(EXIT.USAGE, `${id} refuses ${limit.key}=${String(limit.value)}: ${sent.rejected}`, {
        code: 'REJECTED',
        faults: [{ path: limit.key, message: sent.rejected }],
      });
    now = sent.result;
  }
  const words = Object.entries(now).map(([key, value]) => `parallel.${key}=${String(value)}`);
  const description = await describeMigration(session.client, id);
  answer(
    session,
    { ...description, summary: { ...description.summary, limits: { ...description.summary.limits, ...now } } },
    `${id}: ${words.join(', ')}`,
  );
}
