import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { killPart, startPart } from '../../src/dev/stack';
import { ProxyHost } from '../support/proxy-host';
import { type Child, eventually, Ground, hostAt, pause, someTables, type SpecDocument, sql } from '../support/stack';
import { nodesAt, wholeTree } from '../support/zookeeper';
import { finish, reasons, statementSeen, stoppedInside, stoppedInsideRestore } from './support';

const RESTORE = /^\s*SYSTEM RESTORE REPLICA/u;
/** Notes for how many seconds a server has been up, then runs the command that restarts it. */
const AGED_RESTART = [
  process.execPath,
  '-e',
  `const [url, file, command, ...args] = process.argv.slice(1);
  fetch(url + '/?query=SELECT+uptime()').then((answer) => answer.text()).then((up) => {
    require('node:fs').appendFileSync(file, up);
    require('node:child_process').execFileSync(command, args);
  });`,
];
const ONE_AT_A_TIME = { parallel: { detach: 1, clean: 1, restore: 1 } };

describe('a part that is killed in the middle of a migration', function () {
  this.timeout(600_000);
  let ground: Ground;
  let before: Record<string, string>;

  beforeEach(async () => {
    ground = await Ground.on('kill');
    await ground.seed(someTables(ground.database, 4));
    before = await ground.oracle();
  });

  afterEach(async () => {
    await ground.end();
  });

  async function atGate(gate: string, change: (document: SpecDocument) => void = () => undefined): Promise<void> {
    ground.worker();
    const spec = ground.spec((document) => {
      Object.assign(document, { pauseBefore: [gate], ...ONE_AT_A_TIME });
      change(document);
    });
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
  }

  async function completes(): Promise<void> {
    const outcome = await finish(ground);
    assert.equal(outcome, 'completed', JSON.stringify((await ground.status()).failures));
    assert.deepEqual(await ground.oracle(), before);
  }

  it('Temporal in restore: the command line says that it does not answer, and on its file the migration completes', async () => {
    await atGate('restore');
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    await statementSeen(ground, marks, RESTORE);
    await killPart(ground.up.dir, 'temporal');
    const status = await ground.cli('status', ground.id, '--json');
    assert.equal(status.code, 1);
    assert.match(status.stdout, /TEMPORAL_UNREACHABLE/u);
    await startPart(ground.up.dir, 'temporal');
    await completes();
    const sent = ground.statements(marks, RESTORE).map(({ host, text }) => `${host} ${text}`);
    assert.equal(new Set(sent).size, sent.length, `sent again: ${sent.join('\n')}`);
  });

  it('ZooKeeper in restore: the reason is shown until it is back, then the migration completes', async () => {
    await atGate('restore');
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    await statementSeen(ground, marks, RESTORE);
    await killPart(ground.up.dir, 'zookeeper');
    await reasons(ground, /ZOOKEEPER_UNAVAILABLE|ZooKeeper/u);
    await startPart(ground.up.dir, 'zookeeper');
    await completes();
  });

  it('a host between detach and clean: nothing is deleted while it is unreachable, and the reason is shown until it is back', async () => {
    await atGate('clean');
    const host = ground.hosts[1];
    assert.ok(host !== undefined);
    const nodes = async (): Promise<number> => nodesAt(ground.up, `${ground.from}/clickhouse/tables`);
    await killPart(ground.up.dir, host.name);
    const [was, marks] = [await nodes(), ground.marks()];
    await ground.cli('approve', ground.id, 'clean');
    await reasons(ground, new RegExp(`HOST_UNREACHABLE: ${host.name}`, 'u'));
    await pause(1_000);
    assert.equal(await nodes(), was);
    await startPart(ground.up.dir, host.name);
    await completes();
    // DETACH … PERMANENTLY: the start of the server brought none of its tables back.
    assert.deepEqual(ground.statements(marks, /^\s*DETACH TABLE/u), []);
  });

  it('a host in the restart phase, while its tables are attached: the reason is shown until it is back', async () => {
    await atGate('restart');
    const host = ground.hosts[1];
    assert.ok(host !== undefined);
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restart');
    await statementSeen(ground, marks, /^\s*ATTACH TABLE/u, host.name);
    await killPart(ground.up.dir, host.name);
    await reasons(ground, new RegExp(`HOST_UNREACHABLE: ${host.name}`, 'u'));
    await startPart(ground.up.dir, host.name);
    await completes();
  });

  it('a host right before it is restarted: it is let grow old enough first for its next start to be told from this one', async () => {
    const ages = join(ground.dir, 'ages');
    await atGate('restart', (document) => {
      for (const [index, { name, url }] of ground.hosts.entries()) {
        const restart = document.clickhouse.restart['command'] as string[];
        const command = [...AGED_RESTART, url, ages, ...restart.map((word) => word.replace('{host}', name))];
        document.clickhouse.hosts[index] = { name, url, restart: { command } };
      }
    });
    await Promise.all(ground.hosts.map(({ name }) => killPart(ground.up.dir, name)));
    await Promise.all(ground.hosts.map(({ name }) => startPart(ground.up.dir, name)));
    await ground.cli('approve', ground.id, 'restart');
    await completes();
    const seen = readFileSync(ages, 'utf8').trim().split('\n').map(Number);
    assert.equal(seen.length, ground.hosts.length);
    assert.ok(seen.every((age) => age >= 5), `restarted at the age of ${seen.join(', ')} s`);
  });

  it('a host inside RESTORE of a table with many parts: what it left half done is mended by the saved manifest, and proved', async () => {
    await ground.seed([
      {
        database: ground.database, name: 'very many', columns: 'user UInt32, at UInt32', orderBy: 'user',
        data: Array.from({ length: 300 }, (_, i) => ({ select: `SELECT number, ${i} FROM numbers(10)` })),
      },
    ]);
    before = await ground.oracle();
    await atGate('restore');
    const marks = ground.marks();
    const partsOf = new Map(
      await Promise.all(
        ground.hosts.map(async ({ name, url }) => {
          const [row] = await sql<{ path: string }>(url, "SELECT replica_path AS path FROM system.replicas WHERE table = 'very many'");
          return [name, `${ground.root}${row?.path ?? assert.fail(name)}/parts`] as const;
        }),
      ),
    );
    const approve = ground.cli('approve', ground.id, 'restore');
    const host = await stoppedInsideRestore(ground, partsOf, 30);
    await approve;
    await eventually(async () => {
      const { pendingActivities } = await ground.described();
      const told = pendingActivities.map(({ heartbeat }) => heartbeat as { doing: string; done: number; total: number } | undefined);
      return told.some((beat) => beat?.doing === 'RESTORE REPLICA' && beat.done >= 30 && beat.done < 300 && beat.total === 300);
    }, 'a heartbeat with the parts that are registered');
    await killPart(ground.up.dir, host);
    await reasons(ground, new RegExp(`HOST_UNREACHABLE: ${host}`, 'u'));
    await startPart(ground.up.dir, host);
    await completes();
    // The order of blocks is the order of writing, by which some engines choose the row that stays.
    const blocks = ground.statements(marks, /ATTACH PART/u).map(({ text }) => Number(/ATTACH PART 'all_(\d+)_/u.exec(text)?.[1]));
    assert.ok(blocks.length > 0, 'nothing was repaired');
    assert.deepEqual(blocks, [...blocks].sort((a, b) => a - b));
  });
});

describe('a worker that stands still until another has done its work', function () {
  this.timeout(600_000);

  it('does nothing more when it wakes up: no table is detached, no node deleted, whatever it was about to do', async () => {
    const ground = await Ground.on('zombie');
    try {
      await ground.seed(Array.from({ length: 8 }, (_, i) => ({
        database: ground.database, name: `t${i}`, columns: 'day Date, x UInt32', partitionBy: 'day', orderBy: 'x',
        data: [{ select: "SELECT toDate('2024-01-01') + number % 20, number FROM numbers(600)" }],
      })));
      const before = await ground.oracle();
      const asleep: Child[] = [];
      const awake: Child[] = [ground.worker()];
      const inPlace = ground.spec((document) => {
        delete document.zookeeper['after'];
        Object.assign(document, { onFailure: 'continue', ...ONE_AT_A_TIME });
      });
      const marks = ground.marks();
      assert.equal((await ground.cli('start', inPlace, '--execute', '--json')).code, 0);
      // In the middle of detach, and of clean: what each had in hand was looked at before it fell asleep.
      for (const [activity, seen] of [
        ['detachReplica', () => statementSeen(ground, marks, /^DETACH TABLE/u)],
        ['cleanTable', () => ground.until(({ counts }) => counts.ZK_CLEANED > 0, 'clean')],
      ] as const) {
        await seen();
        const worker = awake.pop() ?? assert.fail('no worker');
        await stoppedInside(ground, worker, activity);
        asleep.push(worker);
        awake.push(ground.worker());
      }
      const outcome = await finish(ground);
      assert.equal(outcome, 'completed', JSON.stringify((await ground.status()).failures));
      const [done, nodes] = [ground.marks(), await wholeTree(ground.up)];
      for (const worker of asleep) worker.kill('SIGCONT');
      await pause(5_000);
      // A DETACH that had left the process when it fell asleep comes late, and is undone: see the next test.
      const late = ground.statements(done, /^(?:DETACH|ATTACH|ALTER)|^SYSTEM RESTORE/u).map(({ text }) => text.replace(' PERMANENTLY SYNC', ''));
      assert.deepEqual(late.filter((_, i) => i % 2 === 1), late.filter((_, i) => i % 2 === 0).map((text) => text.replace(/^DETACH/u, 'ATTACH')), late.join('; '));
      assert.ok(late.length <= 2, late.join('; '));
      const left = new Set((await wholeTree(ground.up)).map((line) => line.slice(0, line.lastIndexOf(' {'))));
      const gone = nodes.map((line) => line.slice(0, line.lastIndexOf(' {'))).filter((path) => !left.has(path) && !TRANSIENT.test(path));
      assert.deepEqual(gone, []);
      assert.deepEqual(await ground.oracle(), before);
      for (const { url } of ground.hosts) {
        assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
      }
    } finally {
      await ground.end();
    }
  });

  it('puts a table back that its last statement took away after all was done', async () => {
    const ground = await Ground.on('late');
    let forward: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (forward = resolve));
    let first: Child | undefined;
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text }) => {
      if (!text.startsWith('DETACH TABLE') || first === undefined) return undefined;
      first.kill('SIGSTOP');
      first = undefined;
      await held;
      return undefined;
    });
    try {
      await ground.seed([{ database: ground.database, name: 'late', columns: 'p UInt8, x UInt32', partitionBy: 'p', orderBy: 'x', data: [{ select: 'SELECT number % 4, number FROM numbers(400)' }] }]);
      const before = await ground.oracle();
      const asleep = (first = ground.worker());
      const spec = ground.spec(hostAt(0, proxy.url));
      assert.equal((await ground.cli('start', spec, '--execute', '--json')).code, 0);
      await eventually(() => first === undefined, 'the DETACH');
      ground.worker();
      assert.equal(await finish(ground), 'completed', JSON.stringify((await ground.status()).failures));
      const marks = ground.marks();
      forward();
      const taken = (): string[] => ground.statements(marks, /^(?:DETACH|ATTACH) TABLE/u).map(({ text }) => text.slice(0, 6));
      await eventually(() => taken().length > 0, 'the late DETACH', { withinMs: 60_000 });
      assert.deepEqual(taken(), ['DETACH']);
      asleep.kill('SIGCONT');
      await eventually(() => taken().length > 1, 'that it is put back', { withinMs: 60_000 });
      assert.deepEqual(taken(), ['DETACH', 'ATTACH']);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      forward();
      await ground.end();
      await proxy.close();
    }
  });
});

/** What servers delete by themselves. */
const TRANSIENT = /\/(?:log|queue|blocks|deduplication_hashes|block_numbers|leader_election|temp|mutations)\/|\/is_active$/u;
