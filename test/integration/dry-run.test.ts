import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';

import { MockActivityEnvironment } from '@temporalio/testing';

import { Connections } from '../../src/activities/deps';
import { inspect, preflight } from '../../src/activities/preflight';
import type { PreflightInput, PreflightOutcome } from '../../src/activities/types';
import { loadSpec } from '../../src/config/load-spec';
import { Ground, pause, someTables, sql } from '../support/stack';
import { wholeTree } from '../support/zookeeper';

interface World {
  readonly zookeeper: readonly string[];
  readonly hosts: readonly unknown[];
}

/** All that a migration could change: ZooKeeper to its last node, every host's databases, tables, parts and folders of detached parts. */
async function world(ground: Ground): Promise<World> {
  const hosts = await Promise.all(
    ground.up.hosts.map(async ({ name, url }) => ({
      name,
      databases: await sql(url, 'SELECT name, engine, uuid FROM system.databases ORDER BY name'),
      tables: await sql(url, "SELECT database, name, uuid, engine, create_table_query, metadata_modification_time FROM system.tables WHERE database != 'system' ORDER BY database, name"),
      parts: await sql(url, "SELECT database, table, name, active, rows, hash_of_all_files, modification_time FROM system.parts WHERE database != 'system' ORDER BY database, table, name"),
      detached: await sql(url, 'SELECT database, table, name FROM system.detached_parts ORDER BY database, table, name'),
      replicas: await sql(url, 'SELECT database, table, is_readonly, zookeeper_path, replica_name, log_pointer, total_replicas, active_replicas FROM system.replicas ORDER BY database, table'),
    })),
  );
  return { zookeeper: await wholeTree(ground.up), hosts };
}

function newLines(before: readonly string[], after: readonly string[]): string[] {
  const known = new Set(before);
  return after.filter((line) => !known.has(line));
}

/** Nothing but looks. */
const LOOKS = /^\s*(SELECT|WITH)\b/iu;

describe('a dry run', function () {
  this.timeout(600_000);
  let ground: Ground;
  /** Nodes that the servers change by themselves, seen while nobody asks them for anything. */
  let restless: Set<string>;

  before(async () => {
    ground = await Ground.on('dry', [1]);
    await ground.seed(someTables(ground.database, 3));
    await pause(2_000);
    const first = await wholeTree(ground.up);
    await pause(5_000);
    const second = await wholeTree(ground.up);
    restless = new Set(newLines(first, second).map((line) => line.slice(0, line.lastIndexOf(' {'))));
  });

  after(async () => {
    await ground.end();
  });

  async function changesNothing(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const before = await world(ground);
    const [marks, files] = [ground.marks(), readdirSync(ground.dir)];
    const done = await ground.cli(...args);
    const statements = ground.statements(marks, /./u).map(({ text }) => text);
    const after = await world(ground);
    const quiet = (lines: readonly string[]): string[] => lines.filter((line) => !restless.has(line.slice(0, line.lastIndexOf(' {'))));
    assert.deepEqual(quiet(after.zookeeper), quiet(before.zookeeper));
    assert.deepEqual(after.hosts, before.hosts);
    // No status file either, which would lie there.
    assert.deepEqual(readdirSync(ground.dir), files);
    assert.ok(statements.length > 10, `${statements.length} statements were seen: too few to show anything`);
    assert.deepEqual(statements.filter((text) => !LOOKS.test(text)), []);
    assert.ok(before.zookeeper.length > 100, `the tree has ${before.zookeeper.length} nodes`);
    return done;
  }

  it('leaves few nodes to their servers, so that the comparison says something', () => {
    assert.ok(restless.size < 10, [...restless].join('\n'));
  });

  it('by `plan` changes no node, no table, no part, and sends only SELECTs', async () => {
    const done = await changesNothing('plan', ground.spec(), '--json');
    assert.equal(done.code, 0, done.stderr + done.stdout);
    const plan = JSON.parse(done.stdout) as { hosts: { tables: { statements: string[]; znodes: number }[] }[]; refusals: unknown[] };
    assert.deepEqual(plan.refusals, []);
    assert.deepEqual(plan.hosts.map(({ tables }) => tables.length), [7, 7]);
    const tables = plan.hosts.flatMap((host) => host.tables);
    assert.ok(tables.every(({ znodes }) => znodes > 10));
    assert.ok(tables.every(({ statements }) => statements.some((text) => text.startsWith('DETACH TABLE')) && statements.some((text) => text.startsWith('SYSTEM RESTORE REPLICA'))));
  });

  it('by `start` without --execute changes no node, no table, no part, and sends only SELECTs', async () => {
    ground.worker();
    const done = await changesNothing('start', ground.spec(), '--json');
    assert.equal(done.code, 0, done.stderr + done.stdout);
    const plan = JSON.parse(done.stdout) as { executed: boolean; hosts: { tables: unknown[] }[] };
    assert.equal(plan.executed, false);
    assert.deepEqual(plan.hosts.map(({ tables }) => tables.length), [7, 7]);
    // The migration itself was never started: its id is free.
    const status = await ground.cli('status', ground.id, '--json');
    assert.equal(status.code, 1);
    assert.match(status.stdout, /"NOT_FOUND"/u);
  });

  it('in pages looks at the hosts once; what it found is let go of with its last page', async () => {
    const connections = new Connections(process.env);
    try {
      const { spec } = await loadSpec(ground.spec(), {});
      const page = async (environment: MockActivityEnvironment, offset: number, limit: number): Promise<{ outcome: PreflightOutcome; asked: number }> => {
        const marks = ground.marks();
        const outcome = await environment.run<[Connections, PreflightInput], PreflightOutcome, typeof preflight>(preflight, connections, { spec, page: { offset, limit } });
        return { outcome, asked: ground.statements(marks, /./u).length };
      };
      const run = new MockActivityEnvironment({ workflowExecution: { workflowId: `${ground.id}.plan`, runId: 'one' } });
      const tables: string[] = [];
      const asked: number[] = [];
      for (let offset: number | undefined = 0; offset !== undefined; ) {
        const piece = await page(run, offset, 6);
        tables.push(...(piece.outcome.plan?.hosts ?? []).flatMap((host) => host.tables.map(({ db, table }) => `${host.name} ${db}.${table}`)));
        asked.push(piece.asked);
        offset = piece.outcome.plan?.next;
      }
      const whole = await inspect(connections, spec);
      assert.deepEqual(tables, whole.hosts.flatMap((host) => host.tables.map(({ db, table }) => `${host.name} ${db}.${table}`)));
      assert.ok((asked[0] ?? 0) > 10, asked.join());
      assert.deepEqual(asked.slice(1), [0, 0]);
      // Another worker, or the same page after the end: looked at anew.
      assert.ok((await page(run, 6, 6)).asked > 10);
      assert.ok((await page(new MockActivityEnvironment({ workflowExecution: { workflowId: `${ground.id}.plan`, runId: 'two' } }), 6, 6)).asked > 10);
    } finally {
      await connections.close();
    }
  });

  it('that is refused changes nothing either, and neither does a start that is', async () => {
    const refused = ground.spec((spec) => (spec.tables = { exclude: [`${ground.database}.t0`] }));
    const planned = await changesNothing('plan', refused, '--json');
    assert.equal(planned.code, 3, planned.stdout);
    ground.worker();
    const started = await changesNothing('start', refused, '--execute', '--json');
    assert.equal(started.code, 3, started.stdout + started.stderr);
  });
});
