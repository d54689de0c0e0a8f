import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { killPart, stackStatus, startPart } from '../../src/dev/stack';
import type { MigrationSummary } from '../../src/domain/summary';
import { ProxyHost } from '../support/proxy-host';
import { type Child, eventually, Ground, hostAt, pause, run, someTables, type SpecDocument, sql } from '../support/stack';
import { nodesAt, wholeTree } from '../support/zookeeper';
import { codesOf, finish, reasons, statementSeen, stoppedInside, stoppedInsideRestore } from './support';

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
const VERY_MANY = 'very many';
/** A folder in `detached/` that nobody attached. */
const COPIED = 'all_900_900_0';
const ONE_AT_A_TIME = { parallel: { detach: 1, clean: 1, restore: 1 } };

describe('a part that is killed in the middle of a migration', function () {
  this.timeout(600_000);
  let ground: Ground;
  let before: Record<string, string>;
  let strays: Stray[];

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

  /**
   * Up to a RESTORE of a table with many parts, in whose middle a host stands still. Before, two folders came into its `detached/` on each host
   * that its manifest does not name: one with rows of its own, and a copy of one of its parts.
   */
  async function insideRestore(): Promise<{ host: string; marks: Record<string, number> }> {
    await ground.seed([
      {
        database: ground.database, name: VERY_MANY, columns: 'user UInt32, at UInt32', orderBy: 'user',
        data: Array.from({ length: 300 }, (_, i) => ({ select: `SELECT number, ${i} FROM numbers(10)` })),
      },
    ]);
    before = await ground.oracle();
    const table = `\`${ground.database}\`.\`${VERY_MANY}\``;
    const synced = async (): Promise<void> => {
      for (const { url } of ground.hosts) await run(url, `SYSTEM SYNC REPLICA ${table}`);
    };
    await run(ground.firstHost.url, `INSERT INTO ${table} SELECT number, 1000000 FROM numbers(7)`);
    await synced();
    const rows = `database = '${ground.database}' AND table = '${VERY_MANY}' AND active`;
    const [added] = await sql<{ name: string }>(ground.firstHost.url, `SELECT name FROM system.parts WHERE ${rows} AND rows = 7`);
    assert.ok(added !== undefined);
    await run(ground.firstHost.url, `ALTER TABLE ${table} DETACH PART '${added.name}'`);
    await synced();
    for (const { url } of ground.hosts) {
      const [part] = await sql<{ path: string }>(url, `SELECT path FROM system.parts WHERE ${rows} ORDER BY name LIMIT 1`);
      assert.ok(part !== undefined);
      cpSync(part.path, join(dirname(part.path.replace(/\/$/u, '')), 'detached', COPIED), { recursive: true });
    }
    strays = await detached();
    assert.deepEqual(strays.map(({ host, name }) => `${host} ${name}`), ground.hosts.flatMap(({ name }) => [`${name} ${added.name}`, `${name} ${COPIED}`]));
    await atGate('restore');
    const marks = ground.marks();
    const partsOf = new Map(
      await Promise.all(
        ground.hosts.map(async ({ name, url }) => {
          const [row] = await sql<{ path: string }>(url, `SELECT replica_path AS path FROM system.replicas WHERE table = '${VERY_MANY}'`);
          return [name, `${ground.root}${row?.path ?? assert.fail(name)}/parts`] as const;
        }),
      ),
    );
    const approve = ground.cli('approve', ground.id, 'restore');
    const host = await stoppedInsideRestore(ground, partsOf, 30);
    await approve;
    return { host, marks };
  }

  interface Stray {
    readonly host: string;
    readonly name: string;
    readonly files: readonly (readonly [name: string, content: string])[];
  }

  async function detached(): Promise<Stray[]> {
    const all = await Promise.all(
      ground.hosts.map(async ({ name: host, url }) => {
        const folders = await sql<{ name: string; path: string }>(url, `SELECT name, path FROM system.detached_parts WHERE database = '${ground.database}' AND table = '${VERY_MANY}' ORDER BY name`);
        return folders.map(({ name, path }) => ({ host, name, files: readdirSync(path).sort().map((file) => [file, readFileSync(join(path, file), 'base64')] as const) }));
      }),
    );
    return all.flat();
  }

  /**
   * Each of the two folders is there as it was, and named at the end. The server of a replica that follows takes any folder with the content that
   * the log names (ClickHouse's own search by checksum), so there the part itself may lie where its copy did.
   */
  async function leftAlone(mended: string): Promise<void> {
    const lying = await detached();
    const { warnings } = await ground.json<MigrationSummary>('status', ground.id);
    for (const { host, name, files } of strays) {
      const found = lying.find((one) => one.host === host && (host !== mended || one.name === name) && isDeepStrictEqual(one.files, files));
      assert.ok(found !== undefined, `${host} ${name} is not as it was; there are ${lying.map((one) => `${one.host} ${one.name}`).join(', ')}`);
      const named = warnings.some((one) => one.code === 'LEFT_IN_DETACHED' && one.host === host && one.table === VERY_MANY && one.message.includes(found.name));
      assert.ok(named, `${host} ${found.name}: ${JSON.stringify(warnings)}`);
    }
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
    const { host, marks } = await insideRestore();
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
    await leftAlone(host);
  });

  it('ZooKeeper inside RESTORE of a table with many parts: the session that it ends with is renewed, and what lacks is there again', async function () {
    this.timeout(900_000);
    const { host, marks } = await insideRestore();
    await killPart(ground.up.dir, 'zookeeper');
    const { hosts } = await stackStatus(ground.up.dir);
    process.kill(hosts.find(({ name }) => name === host)?.pid ?? assert.fail(host), 'SIGCONT');
    const restored = new RegExp(`^SYSTEM RESTORE REPLICA .*${VERY_MANY}`, 'u');
    // The server tries again for minutes by itself.
    await eventually(() => codesOf(ground, marks, restored, host).some((code) => code !== 0), 'a RESTORE that failed', { withinMs: 400_000 });
    await startPart(ground.up.dir, 'zookeeper');
    await completes();
    const mended = ground.statements(marks, /^(?:DETACH|ATTACH|ALTER) TABLE/u).flatMap((sent) => (sent.host === host && sent.text.includes(VERY_MANY) ? [sent.text] : []));
    const [detach, attach, ...parts] = mended;
    assert.match(detach ?? '', /^DETACH TABLE .*` SYNC$/u);
    assert.match(attach ?? '', /^ATTACH TABLE .*`$/u);
    assert.ok(parts.length > 0 && parts.every((text) => text.includes(' ATTACH PART ')), mended.join('; '));
    await leftAlone(host);
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
        ['cleanTable', () => ground.until(({ counts }) => counts.DETACHED > 12, 'the end of detach')],
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
