/** A real Temporal server with a worker of the fake workflow, and the built command line to run against it. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

import { ApplicationFailure, heartbeat } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';

import type { Activities, DetachInput, ReplicaOutcome } from '../../src/activities/types';
import { migrationStartOptions } from '../../src/client';
import { temporalBinary } from '../../src/dev/temporal-binary';
import type { InventoryPage, ReplicaRef } from '../../src/domain/inventory';
import type { MigrationSpec } from '../../src/domain/spec';
import { hasReached, STATUSES } from '../../src/domain/status';
import { WORKFLOW_TYPE } from '../../src/workflows/messages';

const CLI = join(__dirname, '..', '..', 'src', 'cli.js');

export interface Ran {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Stage {
  readonly client: Client;
  readonly address: string;
  readonly env: TestWorkflowEnvironment;
  /** Runs the command line to its end. */
  run(...args: string[]): Promise<Ran>;
  /** Starts it, for tests that interrupt it. */
  spawn(...args: string[]): ChildProcess;
  start(id: string, change?: Partial<MigrationSpec>): Promise<void>;
  /** A worker of the fake workflow, until the function it gives is called. */
  work(): Promise<() => Promise<void>>;
  stop(): Promise<void>;
}

/** A Temporal server of the test's own. */
export async function localTemporal(extraArgs: string[] = []): Promise<TestWorkflowEnvironment> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const path = await temporalBinary(() => undefined);
  return TestWorkflowEnvironment.createLocal({
    server: { executable: { type: 'existing-path', path }, log: { format: 'json', level: 'never' }, extraArgs },
  });
}

export async function openStage(): Promise<Stage> {
  const env = await localTemporal();
  const address = env.address;
  const variables = {
    ...process.env,
    TEMPORAL_ADDRESS: address,
    TEMPORAL_NAMESPACE: 'default',
    TEMPORAL_CONFIG_FILE: join(__dirname, 'no-such-file.toml'),
    NO_COLOR: '1',
  };
  const bundle = await bundleWorkflowCode({ workflowsPath: join(__dirname, 'fake-migrate.js'), logger: new DefaultLogger('ERROR') });
  return {
    client: env.client,
    address,
    env,
    run: (...args) => runCli(args, variables),
    spawn: (...args) => spawn(process.execPath, [CLI, ...args], { env: variables, stdio: ['ignore', 'pipe', 'pipe'] }),
    start: async (id, change) => {
      await env.client.workflow.start(WORKFLOW_TYPE, migrationStartOptions({ spec: spec(id, change), execute: true }));
    },
    work: () => work(env, bundle),
    stop: () => env.teardown(),
  };
}

async function work(env: TestWorkflowEnvironment, workflowBundle: WorkflowBundle): Promise<() => Promise<void>> {
  const worker = await Worker.create({
    connection: env.nativeConnection,
    namespace: 'default',
    taskQueue: TASK_QUEUE,
    workflowBundle,
    activities: fakeActivities(),
  });
  const running = worker.run();
  return async () => {
    worker.shutdown();
    await running;
  };
}

async function runCli(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ exit: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

export const TASK_QUEUE = 'fake-migrations';
export const HOSTILE = 'it\'s "a" <b>`table`</b>\n# x: ☃';

export function spec(id: string, change: Partial<MigrationSpec> = {}): MigrationSpec {
  const ensemble = { connect: 'zk:2181', root: '/old' };
  const host = (name: string) => ({
    name,
    url: `http://${name}:8123`,
    user: 'default',
    restart: { strategy: { kind: 'none' as const }, timeoutMs: 1000 },
    zookeeper: ensemble,
    after: { ...ensemble, root: '/new' },
    taskQueue: TASK_QUEUE,
  });
  return {
    id,
    hosts: [host('ch-1'), host('ch-2')],
    auxiliary: {},
    clean: 'before-restore',
    tables: { include: [], exclude: [] },
    wave: 1,
    pauseBefore: [],
    parallel: { detach: 8, clean: 8, restore: 8 },
    onFailure: 'stop',
    holdOnFailureMs: 0,
    preflight: { waitMs: 0 },
    verify: { writable: 'report', blobs: 'read' },
    taskQueue: TASK_QUEUE,
    statusFile: 'status.yaml',
    allowMissingReplicas: [],
    ...change,
  };
}

/** A world that remembers how far each replica is, and never goes back. */
function fakeActivities(): Pick<Activities, 'loadPage' | 'detachReplica' | 'cleanTable' | 'restoreReplica'> {
  const failedOnce = new Set<string>();
  const reached = new Map<string, Reached>();
  const reach = (migration: string, replicas: readonly ReplicaRef[], status: Reached): ReplicaOutcome => ({
    updates: replicas.map(({ host, database, table }) => {
      const key = JSON.stringify([migration, host]);
      const before = reached.get(key) ?? 'INIT';
      reached.set(key, STATUSES.indexOf(before) > STATUSES.indexOf(status) ? before : status);
      const now = reached.get(key) ?? status;
      return {
        host,
        database,
        table,
        status: now,
        at: new Date().toISOString(),
        ...(hasReached(now, 'ZK_CLEANED') ? { oldMetadata: 'deleted' as const } : {}),
      };
    }),
  });
  return {
    loadPage: ({ migration }) => Promise.resolve(page((host) => reached.get(JSON.stringify([migration, host])) ?? 'INIT')),
    detachReplica: (input: DetachInput) => {
      const { migration, replica } = input;
      if (migration.startsWith('stuck-')) {
        heartbeat({ waiting: 'the host is to come back' });
        throw ApplicationFailure.create({ type: 'HOST_UNREACHABLE', message: 'host ch-1 does not answer' });
      }
      if (/^(?:fail|hold)-/.test(migration) && replica.host === 'ch-1' && !failedOnce.has(migration)) {
        failedOnce.add(migration);
        throw ApplicationFailure.create({ type: 'UNKNOWN_TABLE', message: 'it is <gone>', nonRetryable: true });
      }
      return Promise.resolve(reach(migration, [replica], 'DETACHED'));
    },
    cleanTable: ({ migration, table }) => Promise.resolve(reach(migration, table.replicas, 'ZK_CLEANED')),
    restoreReplica: ({ migration, replica }) => Promise.resolve(reach(migration, [replica], 'RESTORED')),
  };
}

type Reached = (typeof STATUSES)[number];

function page(statusOf: (host: string) => Reached): InventoryPage {
  const replica = (host: string) => ({
    host,
    database: 'shop',
    table: HOSTILE,
    uuid: '00000000-0000-0000-0000-000000000001',
    zookeeperName: 'default',
    zookeeperPath: '/clickhouse/tables/1',
    replicaName: host,
    rows: 10,
    bytes: 100,
    parts: 2,
    status: statusOf(host),
    attached: true,
    step: 'none',
    oldMetadata: hasReached(statusOf(host), 'ZK_CLEANED') ? ('deleted' as const) : ('kept' as const),
  });
  return {
    tables: [{ key: 'k', zookeeperName: 'default', zookeeperPath: '/clickhouse/tables/1', replicas: [replica('ch-1'), replica('ch-2')] }],
  };
}
