/** Every way to move, end to end: real engines, a real ZooKeeper, the command line. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { parse } from 'yaml';

import { quoteTable } from '../../src/clickhouse/sql';
import { CLI, Ground, run, type SpecDocument, someTables, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

interface Planned {
  readonly hosts: { readonly name: string; readonly from: string; readonly to: string; readonly tables: { table: string; zk_path: string; replica: string; statements: string[] }[] }[];
  readonly refusals: { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
  readonly warnings: { readonly code: string; readonly host: string; readonly table?: string }[];
}

/** What replicas are not as they should be: writable, all of a path active, nothing queued. */
async function faulty(ground: Ground, replicas = 2): Promise<unknown[]> {
  const all = await Promise.all(
    ground.hosts.map(({ name, url }) =>
      sql(url, `SELECT '${name}' AS host, table, is_readonly, active_replicas, queue_size, zookeeper_exception FROM system.replicas
        WHERE database != '_ch_zk_migrate' AND (is_readonly OR active_replicas != ${replicas} OR queue_size > 0)`),
    ),
  );
  return all.flat();
}

/** Where a table's metadata is on a host: `[zookeeper_name, path, replica]`. */
async function placeOf(url: string, table: string): Promise<{ name: string; path: string; replica: string } | undefined> {
  const [row] = await sql<{ name: string; path: string; replica: string }>(
    url, `SELECT zookeeper_name AS name, zookeeper_path AS path, replica_name AS replica FROM system.replicas WHERE table = '${table}'`,
  );
  return row;
}

/** Nodes below a full path, itself included; 0 where it is not. */
async function nodesAt(ground: Ground, path: string): Promise<number> {
  return withZooKeeper(ground.up, async (session) => ((await session.exists(path)) === undefined ? 0 : session.countTree(path)));
}

/** A command of the embedded stack as an argument vector for a spec. */
function dev(ground: Ground, ...args: string[]): string[] {
  return [process.execPath, CLI, 'dev', ...args, '--dir', ground.up.dir];
}

/** Puts another part's folder into `detached/` of a table, under the name of an active part: its RESTORE cannot be begun. */
async function spoil(ground: Ground, table: string): Promise<() => void> {
  const [real, other] = await sql<{ name: string; path: string }>(
    ground.firstHost.url, `SELECT name, path FROM system.parts WHERE active AND database = '${ground.database}' AND table = '${table}' ORDER BY name`,
  );
  assert.ok(real !== undefined && other !== undefined);
  const folder = join(real.path, '../detached', real.name);
  mkdirSync(join(real.path, '../detached'), { recursive: true });
  cpSync(other.path, folder, { recursive: true });
  return () => {
    rmSync(folder, { recursive: true });
  };
}

describe('in place, with metadata that is lost in part or altogether', function () {
  this.timeout(240_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('inplace');
    await ground.seed(someTables(ground.database, 5).filter(({ name }) => /^t\d$/u.test(name)));
  });

  after(async () => {
    await ground.end();
  });

  it('is named by the plan, and every table is proved at the same path again', async () => {
    const before = await ground.oracle();
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    const nameOf = (table: string): string => quoteTable({ database: ground.database, table });
    const places = Object.fromEntries(await Promise.all(['t0', 't1', 't2', 't3', 't4'].map(async (table) => [table, (await placeOf(first.url, table))?.path ?? ''] as const)));
    for (const host of [first, second]) await run(host.url, ...['t1', 't2', 't3'].map((table) => `DETACH TABLE ${nameOf(table)} SYNC`));
    await withZooKeeper(ground.up, async (session) => {
      const lose = async (table: string, below: string): Promise<void> => void (await session.deleteTree(`${ground.from}${places[table] ?? ''}${below}`));
      await lose('t1', '');
      await lose('t2', `/replicas/${first.replica}`);
      for (const below of ['/log', '/metadata', `/replicas/${second.replica}/parts`]) await lose('t3', below);
      // Under its attached replicas, which go on as if nothing had happened.
      for (const { replica } of ground.hosts) await session.delete(`${ground.from}${places['t4'] ?? ''}/replicas/${replica}/is_active`);
      await lose('t4', '');
    });
    for (const host of [first, second]) await run(host.url, ...['t1', 't2', 't3'].map((table) => `ATTACH TABLE ${nameOf(table)}`));

    const spec = ground.spec((document) => {
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: ground.from };
      document.clickhouse.restart = { none: true };
    });
    const plan = await ground.json<Planned>('plan', spec);
    assert.deepEqual(plan.refusals, []);
    const lost = new Set(plan.warnings.filter(({ code }) => code === 'METADATA_LOST').map(({ table }) => table));
    assert.deepEqual([...lost].sort(), ['t1', 't2', 't3', 't4']);

    const done = await ground.cli('start', spec, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await faulty(ground), []);
    for (const [table, path] of Object.entries(places)) assert.equal((await placeOf(first.url, table))?.path, path);
  });
});

describe('to another root, with the old metadata kept', function () {
  this.timeout(300_000);
  let ground: Ground;
  const TABLES = ['t0', 't1', 'empty'];

  before(async () => {
    ground = await Ground.on('kept');
    await ground.seed(someTables(ground.database, 2).filter(({ name }) => TABLES.includes(name)));
    ground.worker();
  });

  after(async () => {
    await ground.end();
  });

  function spec(from: string, to: string, change: (document: SpecDocument) => void): string {
    return ground.spec((document) => {
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: from, after: { root: to }, clean: 'after-verify' };
      document.clickhouse.restart = {
        reconfigure: dev(ground, 'reconfigure-host', '{host}', '--zk-root', to),
        reconfigureBack: dev(ground, 'reconfigure-host', '{host}', '--zk-root', from),
        command: dev(ground, 'restart-host', '{host}'),
        wave: 2,
      };
      change(document);
    });
  }

  async function restartedOn(): Promise<string[]> {
    const { hosts } = JSON.parse((await ground.cli('dev', 'status', '--dir', ground.up.dir, '--json')).stdout) as { hosts: { name: string; zkRoot: string }[] };
    return hosts.filter(({ name }) => ground.hosts.some((mine) => mine.name === name)).map(({ zkRoot }) => zkRoot);
  }

  it('abort before the first RESTORE returns the hosts; the same migration then ends, and deletes what is old when all is proved', async () => {
    const before = await ground.oracle();
    const kept = await nodesAt(ground, `${ground.from}/clickhouse/tables`);
    const gated = spec(ground.from, ground.root, (document) => (document['pauseBefore'] = ['restore']));
    const plan = await ground.json<Planned & { hosts: { abort?: string }[] }>('plan', gated);
    assert.deepEqual(plan.refusals, []);
    for (const { abort, tables } of plan.hosts) {
      assert.match(abort ?? '', /back to the old metadata.*reconfigure-host/u);
      for (const { statements } of tables) assert.match(statements.at(-1) ?? '', /^-- delete .*after all is proved/u);
    }
    assert.equal((await ground.cli('start', gated, '--execute', '--watch')).code, 4);
    assert.deepEqual(await restartedOn(), [ground.root, ground.root]);
    assert.ok((await nodesAt(ground, `${ground.from}/clickhouse/tables`)) >= kept - 2 * TABLES.length, 'the old metadata was touched');

    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await restartedOn(), [ground.from, ground.from]);
    assert.deepEqual(await faulty(ground), []);
    assert.deepEqual(await ground.oracle(), before);
    // As before: a write to one replica reaches the other.
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    await run(first.url, `INSERT INTO \`${ground.database}\`.t0 SELECT toDate('2024-02-02'), number, 'later' FROM numbers(3)`);
    await run(second.url, `SYSTEM SYNC REPLICA \`${ground.database}\`.t0`);
    const later = await ground.oracle();

    const done = await ground.cli('start', spec(ground.from, ground.root, () => undefined), '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), later);
    assert.deepEqual(await faulty(ground), []);
    for (const table of TABLES) {
      const path: string = (await placeOf(first.url, table))?.path ?? '';
      assert.equal(await nodesAt(ground, ground.from + path), 0, `${table}: its old nodes are there`);
      assert.ok((await nodesAt(ground, ground.root + path)) > 0);
    }
    const mirrored = parse(readFileSync(ground.statusFile, 'utf8')) as Record<string, unknown>[];
    assert.deepEqual([...new Set(mirrored.map((entry) => `${String(entry['status'])} ${String(entry['old_metadata'])}`))], ['RESTORED deleted']);
  });

  it('abort after a RESTORE goes forward, and clean: never leaves what is old where it is', async () => {
    const before = await ground.oracle();
    const third = `${ground.root}-third`;
    const old = await nodesAt(ground, `${ground.root}/clickhouse/tables`);
    const file = spec(ground.root, third, (document) => {
      document.id = `${ground.id}-never`;
      document.zookeeper['clean'] = 'never';
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    });
    assert.equal((await ground.cli('start', file, '--execute', '--watch')).code, 4);
    const mend = await spoil(ground, 't1');
    await ground.cli('approve', `${ground.id}-never`, 'restore');
    assert.equal((await ground.cli('watch', `${ground.id}-never`)).code, 1);
    mend();
    const aborted = await ground.cli('abort', `${ground.id}-never`, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { decisions } = JSON.parse(aborted.stdout) as { decisions: { what: string }[] };
    assert.ok(decisions.some(({ what }) => /abort goes forward on ch-1, ch-2/u.test(what)), JSON.stringify(decisions));
    assert.deepEqual(await restartedOn(), [third, third]);
    assert.deepEqual(await faulty(ground), []);
    assert.deepEqual(await ground.oracle(), before);
    assert.ok((await nodesAt(ground, `${ground.root}/clickhouse/tables`)) >= old - 2 * TABLES.length);

    const codes = async (change: (document: SpecDocument) => void): Promise<string[]> => {
      const next = spec(third, `${third}-next`, (document) => {
        document.id = `${ground.id}-next`;
        change(document);
      });
      const { refusals } = await ground.json<Planned>('plan', next);
      return [...new Set(refusals.map(({ code, table }) => `${code} ${table ?? ''}`))].sort();
    };
    assert.deepEqual(await codes((document) => (document.tables['exclude'] = ['*.t1'])), ['STRANDED t1']);
    const canary = await codes((document) => {
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: third };
      delete document.clickhouse.restart['reconfigureBack'];
      document.clickhouse.hosts = document.clickhouse.hosts.map((host, index) => (index === 0 ? { ...host, zookeeper: { after: { root: `${third}-next` } } } : host));
    });
    assert.deepEqual(canary, TABLES.map((table) => `SHARD_SPLIT ${table}`).sort());
  });
});
