import { Command } from 'commander';

import type { Check } from '../activities/doctor';
import { colors, EXIT, type GlobalOptions, printJson, printResult, setExit, withExample } from './common';

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('What is reachable from here, with which rights and versions, and what to fix: Temporal, ZooKeeper, every host. Changes nothing.')
    .argument('<spec>', 'the migration, see docs/spec.md')
    .action(async (file: string) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const { loadSpec } = await import('../config/load-spec.js');
      const { spec } = await loadSpec(file);
      const { Connections } = await import('../activities/deps.js');
      const { examine } = await import('../activities/doctor.js');
      const connections = new Connections(process.env);
      try {
        print([await temporalCheck(command), ...(await examine(connections, spec))], options.json === true);
      } finally {
        await connections.close();
      }
    });
  return withExample(command, 'ch-zk-migrate doctor orders.yaml');
}

async function temporalCheck(command: Command): Promise<Check> {
  const { withTemporal } = await import('./session.js');
  try {
    return await withTemporal(command, ({ address, namespace }) =>
      Promise.resolve({ what: `Temporal ${address}`, ok: true, found: `answers, namespace ${namespace}` }),
    );
  } catch (error) {
    const { asCliError } = await import('./common.js');
    const { message, next } = asCliError(error);
    return { what: 'Temporal', ok: false, found: message, ...(next === undefined ? {} : { fix: next }) };
  }
}

function print(checks: readonly Check[], json: boolean): void {
  const paint = colors(process.stdout);
  if (json) printJson({ ok: checks.every(({ ok }) => ok), checks });
  else {
    printResult(
      checks
        .map(({ what, ok, found, fix }) => `${ok ? paint.green('ok  ') : paint.red('FAIL')} ${what}: ${found}${fix === undefined ? '' : `\n       -> ${fix}`}`)
        .join('\n'),
    );
  }
  if (checks.some(({ ok }) => !ok)) setExit(EXIT.FAILED);
}
