import { Command } from 'commander';

import type { Plan } from '../domain/plan';
import { addTakeOverOptions, takeOverChoices, type TakeOverOptions } from './take-over-options';
import { collect, colors, EXIT, printJson, printResult, setExit, withExample } from './common';

interface PlanOptions extends TakeOverOptions {
  readonly allowMissingReplica?: readonly string[];
}

export function planCommand(): Command {
  const command = new Command('plan')
    .description('What would happen, host by host, statement by statement, and what stands against it. Sends nothing but SELECT and CHECK GRANT, runs no command of the spec but zeroCopy.blobs (which lists), and needs no Temporal.')
    .argument('<spec>', 'the migration, see docs/spec.md')
    .option('--allow-missing-replica <name>', 'go on although this replica is on no host of the spec; again for more', collect);
  addTakeOverOptions(command).action(async (file: string, options: PlanOptions) => {
    const { loadSpec } = await import('../config/load-spec.js');
    const { Connections } = await import('../activities/deps.js');
    const { inspect } = await import('../activities/preflight.js');
    const allowMissingReplicas = options.allowMissingReplica;
    const { spec } = await loadSpec(file, { ...takeOverChoices(options), ...(allowMissingReplicas === undefined ? {} : { allowMissingReplicas }) });
    const connections = new Connections(process.env);
    const plan = await inspect(connections, spec).finally(() => connections.close());
    await printPlan(plan, command.optsWithGlobals<{ json?: boolean }>().json === true);
  });
  return withExample(command, 'ch-zk-migrate plan orders.yaml', 'ch-zk-migrate plan orders.yaml --json | jq .refusals');
}

/** Prints a plan; exit 3 when it refuses. */
export async function printPlan(plan: Plan, json: boolean): Promise<void> {
  const { planText } = await import('../report/plan-text.js');
  if (json) printJson(plan);
  else printResult(planText(plan, colors(process.stdout)));
  if (plan.refusals.length > 0) setExit(EXIT.REFUSED);
}
