import { existsSync } from 'node:fs';

import type { Client } from '@temporalio/client';
import { makeTelemetryFilterString, NativeConnection, Runtime, Worker } from '@temporalio/worker';

import { createActivities } from './activities';
import { Connections } from './activities/deps';
import { WORKFLOW_BUNDLE } from './bundle';
import type { TemporalConfig } from './client';
import type { Control } from './domain/control';
import { createHistoryReader } from './history/read';
import { workerLogger } from './worker-log';
import { controlQuery } from './workflows/messages';

export interface WorkerChoices {
  /** Where Temporal is. */
  readonly temporal: TemporalConfig;
  /** A client on the same server and namespace: the mirror reads histories with it. */
  readonly client: Client;
  readonly taskQueue: string;
  /** Where the variables that a spec names are read. */
  readonly env: NodeJS.ProcessEnv;
  /** Whether the process's SIGTERM and SIGINT drain the worker. @default true */
  readonly handleSignals?: boolean;
  /** Takes a line for what goes wrong, such as a failing activity. The first worker's of a process is everybody's. @default nothing is told */
  readonly log?: (line: string) => void;
}

/** A worker that runs until it is told to drain. */
export interface MigrationWorker {
  /** Who polls, as Temporal names it. */
  readonly identity: string;
  /** Resolves when the worker has drained and its connections are closed. */
  readonly ended: Promise<void>;
  /** Takes nothing new, and gives back what waits for its turn; what runs may finish for {@link DRAIN_MS}, then is left to another worker. */
  drain(): void;
}

/** How long running activities may go on after SIGTERM; a statement that goes on longer is found by the next worker by its id. */
export const DRAIN_MS = 30_000;
const FORCE_AFTER_DRAIN_MS = 5_000;

let runtimeInstalled = false;

/** Once a process: signals are ours to handle, and all that is logged goes through our own logger, the SDK's native part included. */
function installRuntime(log: (line: string) => void): void {
  if (runtimeInstalled) return;
  runtimeInstalled = true;
  Runtime.install({
    shutdownSignals: [],
    logger: workerLogger(log),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }), forward: {} } },
  });
}

/**
 * Builds the real dependencies and starts a worker. The activities hold connections to hosts and ensembles, which are closed with it.
 *
 * @throws when Temporal does not answer
 */
export async function startWorker(choices: WorkerChoices): Promise<MigrationWorker> {
  installRuntime(choices.log ?? (() => undefined));
  const { address, tls, apiKey, metadata } = choices.temporal.connectionOptions;
  const connection = await NativeConnection.connect({
    ...(address === undefined ? {} : { address }),
    ...(tls === undefined || tls === null ? {} : { tls }),
    ...(typeof apiKey === 'string' ? { apiKey } : {}),
    ...(metadata === undefined ? {} : { metadata }),
  });
  const connections = new Connections(choices.env, (migration) => askControl(choices.client, migration));
  const worker = await Worker.create({
    connection,
    namespace: choices.temporal.namespace,
    taskQueue: choices.taskQueue,
    ...(existsSync(WORKFLOW_BUNDLE) ? { workflowBundle: { codePath: WORKFLOW_BUNDLE } } : { workflowsPath: require.resolve('./workflows') }),
    activities: createActivities({ connections, history: createHistoryReader(choices.client) }),
    maxConcurrentActivityTaskExecutions: 500,
    maxConcurrentActivityTaskPolls: 10,
    maxEagerActivityReservationsPerWorkflowTask: 32,
    maxHeartbeatThrottleInterval: '3s',
    maxCachedWorkflows: 50,
    shutdownGraceTime: DRAIN_MS,
    shutdownForceTime: DRAIN_MS + FORCE_AFTER_DRAIN_MS,
  });
  const drain = (): void => {
    connections.turns.drain();
    if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const ended = run(worker, connection, connections, choices.handleSignals === false ? undefined : drain);
  return { identity: worker.options.identity, ended, drain };
}

const CONTROL_WITHIN_MS = 5_000;

/** What the migration lets begin now, as its workflow says. @throws where it does not answer */
async function askControl(client: Client, migration: string): Promise<Control> {
  return client.connection.withDeadline(Date.now() + CONTROL_WITHIN_MS, () => client.workflow.getHandle(migration).query(controlQuery));
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

async function run(worker: Worker, connection: NativeConnection, connections: Connections, onSignal: (() => void) | undefined): Promise<void> {
  if (onSignal !== undefined) for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    await worker.run();
  } finally {
    if (onSignal !== undefined) for (const signal of SIGNALS) process.off(signal, onSignal);
    await connections.close();
    await connection.close();
  }
}
