import { Command } from 'commander';

import { DEFAULT_TASK_QUEUE } from '../domain/spec';
import { CliError, EXIT, type GlobalOptions, printJson, printNote, withExample } from './common';

interface WorkerOptions extends GlobalOptions {
  readonly taskQueue?: string;
}

export function workerCommand(): Command {
  const command = new Command('worker')
    .description('Runs a worker: it does what migrations ask for, until SIGTERM lets it drain. --json: a document as soon as it polls. With a spec, on its task queues, after a look that every variable it names is set.')
    .argument('[spec]', 'the task queues and variables of this spec')
    .option('--task-queue <name>', `the task queue, where no spec says it (default: ${DEFAULT_TASK_QUEUE})`)
    .action(async (file: string | undefined) => {
      await runWorkers(command, file);
    });
  return withExample(command, 'ch-zk-migrate worker orders.yaml', 'ch-zk-migrate worker --task-queue ch-zk-migrate');
}

async function runWorkers(command: Command, file: string | undefined): Promise<void> {
  const options = command.optsWithGlobals<WorkerOptions>();
  const taskQueues = await taskQueuesOf(file, options.taskQueue);
  const { withTemporal } = await import('./session.js');
  await withTemporal(command, async ({ client, address, namespace, json }) => {
    const { temporalConfig } = await import('../client.js');
    const { startWorker } = await import('../worker.js');
    const temporal = temporalConfig(options);
    const workers = await Promise.all(taskQueues.map((taskQueue) => startWorker({ temporal, client, taskQueue, env: process.env, log: printNote })));
    printNote(`worker: polls ${taskQueues.join(', ')} on ${address}, namespace ${namespace}; SIGTERM drains it`);
    const [taskQueue] = taskQueues;
    const identity = workers[0]?.identity;
    if (json) printJson({ taskQueue, taskQueues, namespace, address, identity });
    await Promise.all(workers.map(({ ended }) => ended));
    printNote('worker: drained');
  });
}

/** The spec's task queues, after a look that every variable it names is set here. */
async function taskQueuesOf(file: string | undefined, named: string | undefined): Promise<readonly string[]> {
  if (file === undefined) return [named ?? DEFAULT_TASK_QUEUE];
  const { loadSpec } = await import('../config/load-spec.js');
  const { missingVariables } = await import('../config/secrets.js');
  const { spec } = await loadSpec(file);
  const missing = missingVariables(spec, process.env);
  if (missing.length > 0) {
    throw new CliError(EXIT.FAILED, `the spec names variables that are not set here: ${missing.join(', ')}`, {
      code: 'MISSING_VARIABLE',
      next: `${missing.map((name) => `${name}=…`).join(' ')} ch-zk-migrate worker ${file}`,
    });
  }
  return named === undefined ? [...new Set([spec.taskQueue, ...spec.hosts.map(({ taskQueue }) => taskQueue)])] : [named];
}
