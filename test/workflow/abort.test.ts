import assert from 'node:assert/strict';

import { ApplicationFailure } from '@temporalio/activity';
import type { WorkflowHandle } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, DefaultLogger, Worker, type WorkflowBundle } from '@temporalio/worker';

import type { Activities, ReplicaOutcome } from '../../src/activities/types';
import { migrationStartOptions } from '../../src/client';
import type { ReplicaEntry, ReplicaRef } from '../../src/domain/inventory';
import type { MigrationSpec } from '../../src/domain/spec';
import { NO_COUNTS, type ReplicaStatus } from '../../src/domain/status';
import type { MigrationSummary } from '../../src/domain/summary';
import { WORKFLOW_TYPE } from '../../src/workflows/messages';
import { localTemporal, spec, TASK_QUEUE } from '../cli/stage';
import { eventually } from '../support/stack';

/** A history is suggested to be continued as new from here on; reading the inventory once takes several times as much. */
const EVENTS = 60;
const TABLES = 60;
const KEYS = Array.from({ length: TABLES }, (_, i) => `t${String(i).padStart(2, '0')}`);
const A_PAGE = 2;
const HOSTS = ['ch-1', 'ch-2'];

type Place = Pick<ReplicaEntry, 'status' | 'step' | 'attached'>;
type Fakes = Omit<Activities, 'attachTakenOver' | 'judgeTakenOver' | 'chooseReturn' | 'returnTable'>;

/** Hosts that remember how far each replica is. */
class World {
  readonly replicas = new Map<string, Place>();
  readonly calls: string[] = [];

  place({ host, table }: Pick<ReplicaRef, 'host' | 'table'>): Place {
    return this.replicas.get(`${host} ${table}`) ?? { status: 'INIT', step: 'none', attached: true };
  }

  entry(host: string, table: string): ReplicaEntry {
    const uuid = '00000000-0000-0000-0000-000000000001';
    return { ...this.place({ host, table }), host, database: 'd', table, uuid, zookeeperName: 'default', zookeeperPath: `/t/${table}`, replicaName: host, rows: 1, bytes: 1, parts: 1, oldMetadata: 'kept' };
  }

  move(what: string, refs: readonly ReplicaRef[], status: ReplicaStatus, step: string, attached: boolean): Promise<ReplicaOutcome> {
    for (const { host, table } of refs) {
      this.calls.push(`${what} ${host} ${table}`);
      this.replicas.set(`${host} ${table}`, { status, step, attached });
    }
    return Promise.resolve({ updates: refs.map(({ host, database, table }) => ({ host, database, table, status, at: new Date().toISOString() })) });
  }

  activities(change: (activities: Fakes) => Partial<Fakes>): Fakes {
    const perHost = Object.fromEntries(HOSTS.map((host) => [host, TABLES]));
    const inventory = { replicas: HOSTS.length * TABLES, tables: TABLES, perHost };
    const plain: Fakes = {
      preflight: () => Promise.resolve({ ...inventory, rows: 0, bytes: 0, parts: 0, refusals: [], refusalsTotal: 0, warnings: [], warningsTotal: 0, known: false }),
      freezeInventory: () => Promise.resolve({ ...inventory, counts: { ...NO_COUNTS, INIT: inventory.replicas }, resumed: false }),
      loadPage: ({ hosts, after = '' }) => {
        const keys = KEYS.filter((key) => key > after);
        const tables = keys.slice(0, A_PAGE).map((key) => ({ key, zookeeperName: 'default', zookeeperPath: `/t/${key}`, replicas: hosts.map(({ name }) => this.entry(name, key)) }));
        const last = tables.at(-1)?.key;
        return Promise.resolve({ tables, ...(keys.length > A_PAGE && last !== undefined ? { next: last } : {}) });
      },
      detachReplica: ({ replica }) => this.move('detach', [replica], 'DETACHED', 'detached', false),
      cleanTable: ({ table }) => this.move('clean', table.replicas, 'ZK_CLEANED', 'cleaned', false),
      attachReplica: ({ replica }) => this.move('attach', [replica], 'ZK_CLEANED', 'attached', true),
      reattachReplica: ({ replica }) => this.move('reattach', [replica], 'INIT', 'returned', true),
      electFirst: ({ table }) => Promise.resolve({ first: table.replicas[0]?.host ?? '' }),
      restoreReplica: ({ replica }) => this.move('restore', [replica], 'RESTORED', 'restored', true),
      startMerges: () => Promise.resolve(),
      restartHost: () => Promise.resolve({ restarted: false, note: '', at: '' }),
      locateHost: () => Promise.resolve({ on: 'before' }),
      mirrorStatus: () => Promise.resolve({ written: true }),
      finishMigration: () => Promise.resolve({ counts: NO_COUNTS, loose: [], leftovers: [], leftoversTotal: 0 }),
    };
    return { ...plain, ...change(plain) };
  }
}

describe('the workflow’s abort, on hosts that are only played', function () {
  this.timeout(120_000);
  let env: TestWorkflowEnvironment;
  let workflowBundle: WorkflowBundle;

  before(async () => {
    env = await localTemporal(['--dynamic-config-value', `limit.historyCount.suggestContinueAsNew=${EVENTS}`]);
    workflowBundle = await bundleWorkflowCode({ workflowsPath: require.resolve('../../src/workflows'), logger: new DefaultLogger('ERROR') });
  });

  after(async () => {
    await env.teardown();
  });

  async function on(world: World, change: (activities: Fakes) => Partial<Fakes>, work: () => Promise<void>): Promise<void> {
    const worker = await Worker.create({ connection: env.nativeConnection, taskQueue: TASK_QUEUE, workflowBundle, activities: world.activities(change) });
    await worker.runUntil(work);
  }

  async function started(id: string, change: Partial<MigrationSpec>): Promise<WorkflowHandle> {
    const base = spec(id);
    const inPlace = base.hosts.map((host) => ({ ...host, after: host.zookeeper }));
    return env.client.workflow.start(WORKFLOW_TYPE, migrationStartOptions({ spec: spec(id, { hosts: inPlace, ...change }), execute: true }));
  }

  const look = (handle: WorkflowHandle): Promise<MigrationSummary> => handle.query('status');
  const until = (handle: WorkflowHandle, wanted: (summary: MigrationSummary) => boolean): Promise<void> =>
    eventually(async () => wanted(await look(handle)), 'what the workflow is to come to', { everyMs: 50 });

  it('ends where reading the inventory once fills several histories, and gives back each table once', async () => {
    const world = new World();
    await on(world, () => ({}), async () => {
      const handle = await started('abort-large', { pauseBefore: ['clean'] });
      await until(handle, ({ waitingFor }) => waitingFor?.gate === 'clean');
      await handle.signal('abort');
      const result = (await handle.result()) as MigrationSummary;
      assert.equal(result.outcome, 'aborted');
    });
    const back = world.calls.filter((call) => call.startsWith('reattach'));
    assert.equal(back.length, HOSTS.length * TABLES);
    assert.equal(new Set(back).size, back.length);
  });

  it('does not begin again by itself after what is no table’s broke it off, although a failure is held', async () => {
    const world = new World();
    let pages = 0;
    let aborting = false;
    const change = ({ loadPage }: Fakes): Partial<Fakes> => ({
      loadPage: (input) => {
        if (!aborting) return loadPage(input);
        pages += 1;
        throw ApplicationFailure.nonRetryable('this user may not read it', 'ACCESS_DENIED');
      },
    });
    await on(world, change, async () => {
      const handle = await started('abort-held', { pauseBefore: ['clean'], holdOnFailureMs: 3_600_000 });
      await until(handle, ({ waitingFor }) => waitingFor?.gate === 'clean');
      aborting = true;
      await handle.signal('abort');
      await assert.rejects(handle.result());
      assert.equal((await look(handle)).outcome, 'failed');
    });
    assert.equal(pages, 1);
  });

  it('goes on without a host that dies while its tables are restored, whatever still comes to it then', async () => {
    const world = new World();
    let tries = 0;
    const down = (hosts: readonly string[]): void => {
      if (!hosts.includes('ch-1')) return;
      tries += 1;
      throw ApplicationFailure.create({ type: 'HOST_UNREACHABLE', message: 'ch-1 does not answer' });
    };
    let dead = false;
    const change = ({ restoreReplica, startMerges, electFirst }: Fakes): Partial<Fakes> => ({
      restoreReplica: (input) => {
        dead = dead || input.replica.table === 't03';
        if (dead) down([input.host.name]);
        return restoreReplica(input);
      },
      electFirst: (input) => {
        if (dead) down(input.hosts.map(({ name }) => name));
        return electFirst(input);
      },
      startMerges: (input) => {
        if (dead) down(input.hosts.map(({ name }) => name));
        return startMerges(input);
      },
    });
    await on(world, change, async () => {
      const handle = await started('abort-gone', {});
      await until(handle, () => tries > 3);
      await handle.signal('abort', { withoutHosts: ['ch-1'] });
      const result = (await handle.result()) as MigrationSummary;
      assert.equal(result.outcome, 'aborted');
      assert.deepEqual(result.withoutHosts, ['ch-1']);
    });
    const left = KEYS.map((table) => world.place({ host: 'ch-2', table }));
    assert.ok(left.every(({ status, attached }) => attached && (status === 'RESTORED' || status === 'INIT')), JSON.stringify(left));
  });
});
