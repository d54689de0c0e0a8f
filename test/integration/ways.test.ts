/** Every way to move, end to end: real engines, a real ZooKeeper, the command line. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { parse } from 'yaml';

import { quoteTable } from '../../src/clickhouse/sql';
import { reconfigureHost, restartHost } from '../../src/dev/stack';
import { ZooKeeperSession } from '../../src/zookeeper/session';
import { codes, words } from '../support/findings';
import { devCommand, eventually, Ground, run, type SpecDocument, someTables, sql } from '../support/stack';
import { nodesAt, withZooKeeper } from '../support/zookeeper';
import { ZooKeeperServer } from '../zookeeper/zookeeper-server';

interface Planned {
  readonly hosts: { readonly name: string; readonly from: string; readonly to: string; readonly tables: { table: string; zk_path: string; replica: string; zk_path_after?: string; statements: string[] }[] }[];
  readonly refusals: { readonly code: string; readonly host: string; readonly table?: string; readonly message: string; readonly fix: string }[];
  readonly warnings: { readonly code: string; readonly host: string; readonly table?: string }[];
}

interface Failure {
  readonly host: string;
  readonly table: string;
  readonly code: string;
  readonly message: string;
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
  this.timeout(600_000);
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
      const lose = (table: string, below: string): Promise<unknown> => session.deleteTree(`${ground.from}${places[table] ?? ''}${below}`);
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

describe('in place, with metadata that no server can read', function () {
  this.timeout(600_000);
  let ground: Ground;
  let first: Ground['firstHost'];
  /** Values to write below a table's path, and what to delete there. */
  type Damage = readonly [values: Readonly<Record<string, Buffer>>, gone?: readonly string[]];
  const GARBAGE = Buffer.from('\0garbage }{ 42\n');
  const EMPTY = Buffer.alloc(0);

  before(async () => {
    ground = await Ground.on('broken');
    first = ground.firstHost;
    ground.worker();
    await ground.onEach(`CREATE DATABASE IF NOT EXISTS \`${ground.database}\``);
  });

  after(async () => {
    await ground.end();
  });

  function place(table: string): string {
    return `/clickhouse/${ground.id}/${table}`;
  }

  /** Thirty rows in three parts on both hosts. */
  async function make(table: string): Promise<void> {
    const name = quoteTable({ database: ground.database, table });
    await ground.onEach(`CREATE TABLE ${name} (day Date, x UInt64) ENGINE = ReplicatedMergeTree('${place(table)}', '{replica}') PARTITION BY day ORDER BY x`);
    await run(first.url, `INSERT INTO ${name} SELECT toDate('2024-01-01') + number % 3, number FROM numbers(30)`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${name}`);
  }

  /** Writes values below a table's path; a node that is not there is made. */
  async function spoilNodes(table: string, ...[values, gone = []]: Damage): Promise<void> {
    await withZooKeeper(ground.up, async (session) => {
      for (const [below, value] of Object.entries(values)) {
        const node = `${ground.from}${place(table)}/${below}`;
        await ((await session.exists(node)) === undefined ? session.create(node, value) : session.set(node, value));
      }
      for (const below of gone) await session.deleteTree(`${ground.from}${place(table)}/${below}`);
    });
  }

  function spec(id: string, change: (document: SpecDocument) => void = () => undefined): string {
    return ground.spec((document) => {
      document.id = id;
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: ground.from };
      document.clickhouse.restart = { none: true };
      document['onFailure'] = 'continue';
      change(document);
    });
  }

  /** Of each table the replicas that are readonly. */
  async function readonlyTables(): Promise<Record<string, string[]>> {
    const found: Record<string, string[]> = {};
    for (const { name, url } of ground.hosts) {
      for (const { table } of await sql<{ table: string }>(url, `SELECT table FROM system.replicas WHERE is_readonly AND database = '${ground.database}' ORDER BY table`)) (found[table] ??= []).push(name);
    }
    return found;
  }

  const findings = (of: Planned['warnings'], code: string): string[] => [...new Set(of.filter((one) => one.code === code).map(({ table }) => table ?? ''))].sort();

  it('tables that a server has readonly since its start, and such as it works with still, are made anew with every row; an abort leaves them as they were', async () => {
    const own = `replicas/${first.replica}`;
    /** What the first host's next start makes readonly; the last three on both hosts. */
    const atStart: Readonly<Record<string, Damage>> = {
      'own columns': [{ [`${own}/columns`]: GARBAGE }],
      'own metadata': [{ [`${own}/metadata`]: GARBAGE }],
      'own version': [{ [`${own}/metadata_version`]: GARBAGE }],
      'own host': [{}, [`${own}/host`]],
      'own queue': [{ [`${own}/queue/queue-0000000900`]: GARBAGE }],
      log: [{ 'log/log-0000000900': GARBAGE }],
      mutations: [{ 'mutations/0000000900': GARBAGE }],
      pointer: [{ [`${own}/log_pointer`]: GARBAGE }],
    };
    /** What a server does not notice while it has the table. */
    const attached: typeof atStart = {
      'table columns': [{ columns: GARBAGE, metadata: EMPTY }, ['table_shared_id', 'block_numbers']],
      'part header': [{}],
      'part gone': [{}],
      'log name': [{ 'log/what is this': GARBAGE }],
      pointers: [{ [`${own}/log_pointer`]: GARBAGE, [`${own}/mutation_pointer`]: GARBAGE, [`${own}/is_lost`]: EMPTY }],
    };
    for (const table of [...Object.keys(atStart), ...Object.keys(attached), 'whole']) await make(table);
    const before = await ground.oracle();
    for (const [table, damage] of Object.entries(atStart)) await spoilNodes(table, ...damage);
    await Promise.all(ground.hosts.map(({ name }) => restartHost(ground.up.dir, name)));
    const both = ground.hosts.map(({ name }) => name);
    const broken = { log: both, mutations: both, 'own columns': ['ch-1'], 'own host': ['ch-1'], 'own metadata': ['ch-1'], 'own queue': ['ch-1'], 'own version': ['ch-1'], pointer: ['ch-1'] };
    await eventually(async () => isDeepStrictEqual(await readonlyTables(), broken), `what is readonly: ${JSON.stringify(broken)}`, { withinMs: 60_000 });
    for (const [table, damage] of Object.entries(attached)) await spoilNodes(table, ...damage);
    for (const table of ['part header', 'part gone']) {
      const parts = await withZooKeeper(ground.up, (session) => session.children(`${ground.from}${place(table)}/${own}/parts`));
      const part = `${own}/parts/${[...(parts ?? [])].sort()[0] ?? assert.fail(table)}`;
      await (table === 'part gone' ? spoilNodes(table, {}, [part]) : spoilNodes(table, { [part]: GARBAGE }));
    }
    // Whoever asks for what makes the server read ZooKeeper learns of no table.
    await assert.rejects(sql(first.url, 'SELECT table, total_replicas FROM system.replicas'), /Cannot parse/u);

    const gated = spec(`${ground.id}-back`, (document) => {
      document.tables['include'] = ['*.own columns', '*.log', '*.pointer', '*.table columns', '*.log name', '*.whole'];
      document['pauseBefore'] = ['clean'];
    });
    assert.equal((await ground.cli('start', gated, '--execute', '--watch')).code, 4);
    const aborted = await ground.cli('abort', `${ground.id}-back`, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await readonlyTables(), { ...broken, 'log name': both });
    assert.deepEqual(await ground.oracle(), before);

    const file = spec(ground.id);
    const plan = await ground.json<Planned>('plan', file);
    assert.deepEqual(plan.refusals, []);
    const noneReads = ['log', 'log name', 'mutations', 'own columns', 'own host', 'own metadata', 'own queue', 'own version', 'pointer', 'pointers', 'table columns'];
    assert.deepEqual([findings(plan.warnings, 'METADATA_BROKEN'), findings(plan.warnings, 'METADATA_LOST')], [noneReads, ['part gone']]);
    const done = await ground.cli('start', file, '--execute', '--watch', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    for (const table of Object.keys(before).map((key) => key.split('.').at(-1) ?? '')) assert.equal((await placeOf(first.url, table))?.path, place(table));
    // Nothing of what was broken is left, and each takes rows again.
    const again = await ground.json<Planned>('plan', spec(`${ground.id}-again`));
    assert.deepEqual([again.refusals, findings(again.warnings, 'METADATA_BROKEN')], [[], []]);
    await run(first.url, ...Object.keys(atStart).map((table) => `INSERT INTO ${quoteTable({ database: ground.database, table })} VALUES ('2024-03-03', 1)`));
    for (const table of Object.keys(atStart)) {
      await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${quoteTable({ database: ground.database, table })}`);
      const rows = await sql<{ n: string }>(ground.hosts[1]?.url ?? '', `SELECT count() AS n FROM ${quoteTable({ database: ground.database, table })}`);
      assert.equal(Number(rows[0]?.n), 31, table);
    }
  });

  it('a table that its server cannot attach any more is made anew as long as it has it; an abort says what to delete, and ends when that is done', async () => {
    await make('unloadable');
    const before = await ground.oracle();
    await spoilNodes('unloadable', { [`replicas/${first.replica}/metadata`]: EMPTY });
    const only = (document: SpecDocument): void => {
      document.tables['include'] = ['*.unloadable'];
    };
    const id = `${ground.id}-unloadable`;
    const gated = spec(id, (document) => {
      only(document);
      document['pauseBefore'] = ['clean'];
    });
    assert.equal((await ground.cli('start', gated, '--execute', '--watch')).code, 4);
    assert.equal((await ground.cli('abort', id, '--watch')).code, 1);
    const { failures } = await ground.json<{ failures: { host: string; code: string; message: string }[] }>('status', id);
    const node = `${ground.from}${place('unloadable')}/replicas/${first.replica}`;
    assert.deepEqual(failures.map(({ host, code }) => `${host} ${code}`), ['ch-1 NEEDS_HAND'], JSON.stringify(failures));
    assert.ok(failures[0]?.message.includes(`no server can read replicas/${first.replica}/metadata`) && failures[0].message.includes(`Delete ${node} and all below it`), failures[0]?.message);

    await withZooKeeper(ground.up, (session) => session.deleteTree(node));
    const aborted = await ground.cli('abort', id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual([await ground.oracle(), (await readonlyTables())['unloadable']], [before, ['ch-1']]);
    // Whole again, and broken once more under its server, which has it still: nothing has to be mended for a run to its end.
    const start = async (word: string): Promise<void> => {
      const done = await ground.cli('start', spec(`${id}-${word}`, only), '--execute', '--watch', '--json');
      assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
      assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    };
    await start('mended');
    await spoilNodes('unloadable', { [`replicas/${first.replica}/metadata`]: EMPTY });
    await start('broken');
  });

  it('what a readonly replica has still to do is refused, with the nodes to delete where nothing else helps; then it is made anew', async () => {
    const tables = ['undone', 'undone too'];
    for (const table of tables) await make(table);
    const before = await ground.oracle();
    const onEach = (statement: (name: string) => string): Promise<void> => ground.onEach(...tables.map((table) => statement(quoteTable({ database: ground.database, table }))));
    const reattach = async (): Promise<void> => {
      for (const what of ['DETACH', 'ATTACH']) await onEach((name) => `${what} TABLE ${name}${what === 'DETACH' ? ' SYNC' : ''}`);
    };
    await onEach((name) => `SYSTEM STOP MERGES ${name}`);
    for (const table of tables) await run(first.url, `ALTER TABLE ${quoteTable({ database: ground.database, table })} DELETE WHERE x < 10 SETTINGS mutations_sync = 0`);
    await spoilNodes('undone', Object.fromEntries(ground.hosts.map(({ replica }) => [`replicas/${replica}/columns`, GARBAGE])));
    await spoilNodes('undone too', { 'log/log-0000000900': GARBAGE });
    await reattach();
    await eventually(async () => isDeepStrictEqual(await readonlyTables(), { undone: ['ch-1', 'ch-2'], 'undone too': ['ch-1', 'ch-2'] }), 'both are readonly');
    const file = spec(`${ground.id}-undone`, (document) => {
      document.tables['include'] = ['*.undone*'];
      document['preflight'] = { wait: '1s' };
    });
    const { refusals } = await ground.json<Planned>('plan', file);
    assert.deepEqual(words(refusals), ['IN_FLIGHT undone too', 'QUEUE undone too', 'REPLICA_LAGS undone', 'REPLICA_LAGS undone too']);
    const node = (table: string): string => `${place(table)}/mutations/0000000000`;
    const refused = refusals.find(({ code }) => code === 'IN_FLIGHT');
    assert.match(refused?.message ?? '', /1 unfinished mutation.*it is readonly/u);
    assert.ok(refused?.fix.includes(`delete from ZooKeeper ${node('undone too')}, DETACH the table and ATTACH it`), refused?.fix);
    const queue = (table: string, replica: string): string => `${place(table)}/replicas/${replica}/queue`;
    for (const { code, host, fix } of refusals) if (code === 'QUEUE') assert.ok(fix.includes(`what is below ${queue('undone too', host)}`), fix);
    for (const { code, table, fix } of refusals) if (code === 'REPLICA_LAGS') assert.ok(fix.includes(`what is not done below ${place(table ?? '')}/mutations`), fix);

    await withZooKeeper(ground.up, async (session) => {
      for (const table of tables) {
        const queues = ground.hosts.map(({ replica }) => ground.from + queue(table, replica));
        const entries = await Promise.all(queues.map(async (at) => ((await session.children(at)) ?? []).map((entry) => `${at}/${entry}`)));
        // What one of them had not taken into its queue yet when it was detached is in the log.
        const log = ((await session.children(`${ground.from}${place(table)}/log`)) ?? []).map((entry) => `${ground.from}${place(table)}/log/${entry}`);
        const asked = await Promise.all(log.map(async (at) => ((await session.get(at))?.data.includes('\nmutate\n') === true ? [at] : [])));
        for (const path of [ground.from + node(table), ...entries.flat(), ...asked.flat()]) await session.delete(path);
      }
    });
    await reattach();
    const done = await ground.cli('start', file, '--execute', '--watch', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
  });
});

describe('to another root and to another ensemble, with the old metadata kept', function () {
  this.timeout(600_000);
  let ground: Ground;
  let other: ZooKeeperServer;
  const TABLES = ['t0', 't1', 'empty'];

  before(async () => {
    ground = await Ground.on('kept');
    other = await ZooKeeperServer.start();
    await ground.seed(someTables(ground.database, 2).filter(({ name }) => TABLES.includes(name)));
    ground.worker();
  });

  after(async () => {
    await ground.end();
    for (const { name } of ground.hosts) await reconfigureHost(ground.up.dir, name, { zkRoot: ground.from, zkPort: portOf(ground.up.zookeeper.connect) });
    await Promise.all(ground.hosts.map(({ name }) => restartHost(ground.up.dir, name)));
    await other.remove();
  });

  interface Place {
    readonly connect: string;
    readonly root: string;
  }

  function portOf(connect: string): number {
    return Number(connect.split(':').at(-1));
  }

  function on(root: string): Place {
    return { connect: ground.up.zookeeper.connect, root };
  }

  function reconfigure({ connect, root }: Place): string[] {
    return devCommand(ground, 'reconfigure-host', '{host}', '--zk-root', root, '--zk-port', String(portOf(connect)));
  }

  function spec(from: Place, to: Place, change: (document: SpecDocument) => void): string {
    return ground.spec((document) => {
      document.zookeeper = { ...from, after: { ...to }, clean: 'after-verify' };
      document.clickhouse.restart = { reconfigure: reconfigure(to), reconfigureBack: reconfigure(from), command: devCommand(ground, 'restart-host', '{host}'), wave: 2 };
      change(document);
    });
  }

  /** Where the hosts are: each test leaves them where the next one finds them. */
  let here: Place;

  before(() => {
    here = on(ground.from);
  });

  /** On which of these places the replicas of a table are active, by the nodes that only their servers make. */
  async function activeAt(table: string, places: readonly Place[]): Promise<string[][]> {
    const path = (await placeOf(ground.firstHost.url, table))?.path ?? assert.fail(table);
    return Promise.all(
      places.map(async ({ connect, root }) => {
        const session = await ZooKeeperSession.open({ connect, root: '' });
        try {
          const seen = await Promise.all(ground.hosts.map(async ({ replica }) => ((await session.exists(`${root}${path}/replicas/${replica}/is_active`)) === undefined ? [] : [replica])));
          return seen.flat();
        } finally {
          await session.close();
        }
      }),
    );
  }

  /** Who else may not have the tables now, by what the plan of another migration in place is refused with. */
  async function heldAt(place: Place): Promise<string[]> {
    const file = spec(place, place, (document) => {
      document.id = `${ground.id}-another`;
      document.zookeeper = { ...place };
      document.clickhouse.restart = { none: true };
    });
    return words((await ground.json<Planned>('plan', file)).refusals);
  }

  async function restartedOn(): Promise<string[]> {
    const { hosts } = JSON.parse((await ground.cli('dev', 'status', '--dir', ground.up.dir, '--json')).stdout) as { hosts: { name: string; zkRoot: string }[] };
    return hosts.filter(({ name }) => ground.hosts.some((mine) => mine.name === name)).map(({ zkRoot }) => zkRoot);
  }

  it('abort before the first RESTORE returns the hosts from another ensemble to their own, as they were, and holds nothing', async () => {
    const before = await ground.oracle();
    const there: Place = { connect: other.connect, root: `${ground.root}-there` };
    const replicas = ground.hosts.map(({ replica }) => replica);
    const id = `${ground.id}-there`;
    const file = spec(here, there, (document) => Object.assign(document, { id, pauseBefore: ['restore'] }));
    const old = await nodesAt(ground.up, `${here.root}/clickhouse/tables`);
    assert.equal((await ground.cli('start', file, '--execute', '--watch')).code, 4);
    for (const table of TABLES) assert.deepEqual(await activeAt(table, [here, there]), [[], []]);
    assert.deepEqual(await restartedOn(), [there.root, there.root]);
    assert.deepEqual(await heldAt(there), TABLES.map((table) => `HELD ${table}`).sort());

    const aborted = await ground.cli('abort', id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    for (const table of TABLES) assert.deepEqual(await activeAt(table, [here, there]), [replicas, []], table);
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    assert.ok((await nodesAt(ground.up, `${here.root}/clickhouse/tables`)) >= old, 'of the old metadata something is gone');
    assert.deepEqual(await heldAt(here), []);
    const { counts, outcome } = await ground.json<{ counts: Record<string, number>; outcome: string }>('status', id);
    assert.deepEqual([outcome, counts['INIT']], ['aborted', 2 * TABLES.length]);
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    await run(first.url, `INSERT INTO \`${ground.database}\`.t1 SELECT toDate('2024-02-02'), number, 'since' FROM numbers(3)`);
    await run(second.url, `SYSTEM SYNC REPLICA \`${ground.database}\`.t1`);
    const rows = await sql<{ n: string }>(second.url, `SELECT count() AS n FROM \`${ground.database}\`.t1 WHERE note = 'since'`);
    assert.equal(Number(rows[0]?.n), 3);
  });

  it('what an abort made anew at the old place keeps its host there, whatever goes forward, and until an abort ends; where one replica alone had lost its nodes, it stays as it was', async () => {
    const there: Place = { ...here, root: `${ground.root}-anew` };
    const replicas = ground.hosts.map(({ replica }) => replica);
    const id = `${ground.id}-anew`;
    const nameOf = (table: string): string => quoteTable({ database: ground.database, table });
    const path = async (table: string): Promise<string> => here.root + ((await placeOf(ground.firstHost.url, table))?.path ?? assert.fail(table));
    const gone = [await path('t0'), await path('t1'), `${await path('empty')}/replicas/${ground.firstHost.replica}`];
    const before = await ground.oracle();
    await ground.onEach(...['t0', 't1'].map((table) => `DETACH TABLE ${nameOf(table)} SYNC`));
    await run(ground.firstHost.url, `DETACH TABLE ${nameOf('empty')} SYNC`);
    await withZooKeeper(ground.up, async (session) => {
      for (const node of gone) await session.deleteTree(node);
    });
    await ground.onEach(...['t0', 't1'].map((table) => `ATTACH TABLE ${nameOf(table)}`));
    await run(ground.firstHost.url, `ATTACH TABLE ${nameOf('empty')}`);
    const file = spec(here, there, (document) => Object.assign(document, { id, pauseBefore: ['restore'] }));
    const started = await ground.cli('start', file, '--execute', '--watch');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    assert.deepEqual(await restartedOn(), [there.root, there.root]);

    const mend = await spoil(ground, 't1');
    const refused = await ground.cli('abort', id, '--watch', '--json');
    assert.equal(refused.code, 1, refused.stdout + refused.stderr);
    const failed = (await ground.json<{ failures: Failure[] }>('status', id)).failures;
    assert.deepEqual(failed.map(({ table, code }) => `${table} ${code}`), ['t1 DETACHED_COLLISION'], JSON.stringify(failed));
    const states = parse((await ground.cli('export', id)).stdout) as Record<string, unknown>[];
    assert.deepEqual([...new Set(states.map(({ table, status }) => `${String(table)} ${String(status)}`))].sort(), ['empty INIT', 't0 RESTORED', 't1 ZK_CLEANED']);
    assert.deepEqual(await activeAt('t0', [here, there]), [replicas, []]);
    mend();

    // Temporal's database is lost: whoever starts goes forward from what the hosts say.
    await ground.temporal('workflow', 'delete', '--workflow-id', id);
    await eventually(async () => (await ground.cli('status', id, '--json')).stdout.includes('NOT_FOUND'), 'the migration is forgotten', { everyMs: 1_000, withinMs: 60_000 });
    const again = await ground.cli('start', file, '--execute', '--watch', '--json');
    assert.equal(again.code, 1, again.stdout + again.stderr);
    const { failures: stranded } = await ground.json<{ failures: Failure[] }>('status', id);
    assert.deepEqual(stranded.map(({ host, code }) => `${host} ${code}`).sort(), ['ch-1 STRANDED', 'ch-2 STRANDED'], JSON.stringify(stranded));
    for (const { message } of stranded) assert.match(message, /an abort made the metadata of \S* ?\S*\.t0 anew at the old place/u);
    assert.deepEqual(await restartedOn(), [here.root, here.root]);

    const aborted = await ground.cli('abort', id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await restartedOn(), [here.root, here.root]);
    const { warnings } = JSON.parse(aborted.stdout) as { warnings: Planned['warnings'] };
    assert.deepEqual(warnings.filter(({ code }) => code === 'LEFT_READONLY').map(({ host, table }) => `${host} ${table ?? ''}`), ['ch-1 empty'], aborted.stdout);
    await run(ground.firstHost.url, `SYSTEM RESTORE REPLICA ${nameOf('empty')}`);
    await eventually(async () => (await faulty(ground)).length === 0, 'all are writable');
    for (const table of TABLES) assert.deepEqual(await activeAt(table, [here, there]), [replicas, []], table);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('a host that was reconfigured and not restarted: abort changes its configuration back, or names it', async () => {
    const before = await ground.oracle();
    const there: Place = { ...here, root: `${ground.root}-configured` };
    const abortedAfter = async (word: string, change: (document: SpecDocument) => void): Promise<string[]> => {
      const id = `${ground.id}-${word}`;
      const file = spec(here, there, (document) => {
        Object.assign(document, { id });
        document.clickhouse.restart['command'] = [process.execPath, '-e', 'process.exit(1)'];
        change(document);
      });
      assert.equal((await ground.cli('start', file, '--execute', '--watch')).code, 1);
      const { failures } = await ground.json<{ failures: Failure[] }>('status', id);
      assert.deepEqual(failures.map(({ host, code }) => `${host} ${code}`).sort(), ['ch-1 RESTART_FAILED', 'ch-2 RESTART_FAILED'], JSON.stringify(failures));
      const aborted = await ground.cli('abort', id, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      const { warnings } = JSON.parse(aborted.stdout) as { warnings: Planned['warnings'] };
      return warnings.filter(({ code }) => code === 'HOST_RECONFIGURED').map(({ host }) => host).sort();
    };
    const startedAgain = async (): Promise<void> => {
      await Promise.all(ground.hosts.map(({ name }) => restartHost(ground.up.dir, name)));
      await eventually(async () => (await faulty(ground)).length === 0, 'all are writable');
      assert.deepEqual([await restartedOn(), await ground.oracle()], [[here.root, here.root], before]);
    };
    assert.deepEqual(await abortedAfter('configured', () => undefined), []);
    await startedAgain();

    const named = await abortedAfter('unconfigured', (document) => {
      delete document.zookeeper['clean'];
      delete document.clickhouse.restart['reconfigureBack'];
    });
    assert.deepEqual(named, ['ch-1', 'ch-2']);
    for (const { name } of ground.hosts) await reconfigureHost(ground.up.dir, name, { zkRoot: here.root });
    await startedAgain();
  });

  it('abort before the first RESTORE returns the hosts; the same migration then ends, and deletes what is old when all is proved', async () => {
    const before = await ground.oracle();
    const kept = await nodesAt(ground.up, `${ground.from}/clickhouse/tables`);
    const gated = spec(on(ground.from), on(ground.root), (document) => (document['pauseBefore'] = ['restore']));
    const plan = await ground.json<Planned & { hosts: { abort?: string }[] }>('plan', gated);
    assert.deepEqual(plan.refusals, []);
    for (const { abort, tables } of plan.hosts) {
      assert.match(abort ?? '', /back to the old metadata.*reconfigure-host/u);
      for (const { statements } of tables) assert.match(statements.at(-1) ?? '', /^-- delete .*after all is proved/u);
    }
    assert.equal((await ground.cli('start', gated, '--execute', '--watch')).code, 4);
    assert.deepEqual(await restartedOn(), [ground.root, ground.root]);
    assert.ok((await nodesAt(ground.up, `${ground.from}/clickhouse/tables`)) >= kept - 2 * TABLES.length, 'the old metadata was touched');

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

    const done = await ground.cli('start', spec(on(ground.from), on(ground.root), () => undefined), '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), later);
    assert.deepEqual(await faulty(ground), []);
    for (const table of TABLES) {
      const path: string = (await placeOf(first.url, table))?.path ?? '';
      assert.equal(await nodesAt(ground.up, ground.from + path), 0, `${table}: its old nodes are there`);
      assert.ok((await nodesAt(ground.up, ground.root + path)) > 0);
    }
    const mirrored = parse(readFileSync(ground.statusFile, 'utf8')) as Record<string, unknown>[];
    assert.deepEqual([...new Set(mirrored.map((entry) => `${String(entry['status'])} ${String(entry['old_metadata'])}`))], ['RESTORED deleted']);
    here = on(ground.root);
  });

  it('abort after a RESTORE goes forward, and clean: never leaves what is old where it is; what was proved and is readonly by then is named', async () => {
    const before = await ground.oracle();
    const third: Place = { connect: other.connect, root: `${ground.root}-third` };
    const next: Place = { ...third, root: `${ground.root}-next` };
    const old = await nodesAt(ground.up, `${here.root}/clickhouse/tables`);
    const file = spec(here, third, (document) => {
      document.id = `${ground.id}-never`;
      document.zookeeper['clean'] = 'never';
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    });
    assert.equal((await ground.cli('start', file, '--execute', '--watch')).code, 4);
    const mend = await spoil(ground, 't1');
    await ground.cli('approve', `${ground.id}-never`, 'restore');
    assert.equal((await ground.cli('watch', `${ground.id}-never`)).code, 1);
    mend();
    // One that was proved loses its node.
    const proved = quoteTable({ database: ground.database, table: 'empty' });
    const node = `${third.root}${(await placeOf(ground.firstHost.url, 'empty'))?.path ?? assert.fail('empty')}/replicas/${ground.firstHost.replica}`;
    const session = await ZooKeeperSession.open({ connect: third.connect, root: '' });
    await run(ground.firstHost.url, `DETACH TABLE ${proved} SYNC`);
    await session.deleteTree(node);
    await session.close();
    await run(ground.firstHost.url, `ATTACH TABLE ${proved}`);
    const aborted = await ground.cli('abort', `${ground.id}-never`, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { decisions, warnings } = JSON.parse(aborted.stdout) as { decisions: { what: string }[]; warnings: (Planned['warnings'][number] & { message: string })[] };
    const readonly = warnings.filter(({ code }) => code === 'LEFT_READONLY');
    assert.deepEqual(readonly.map(({ host, table }) => `${host} ${table ?? ''}`), ['ch-1 empty'], aborted.stdout);
    assert.match(readonly[0]?.message ?? '', /restored and proved, and is readonly/u);
    await run(ground.firstHost.url, `SYSTEM RESTORE REPLICA ${proved}`);
    await eventually(async () => (await faulty(ground)).length === 0, 'all are writable');
    assert.ok(decisions.some(({ what }) => what.includes('abort goes forward on ch-1, ch-2')), JSON.stringify(decisions));
    assert.deepEqual(await restartedOn(), [third.root, third.root]);
    assert.deepEqual(await faulty(ground), []);
    assert.deepEqual(await ground.oracle(), before);
    assert.ok((await nodesAt(ground.up, `${here.root}/clickhouse/tables`)) >= old - 2 * TABLES.length);

    const refusedWith = async (change: (document: SpecDocument) => void): Promise<string[]> => {
      const file = spec(third, next, (document) => {
        document.id = `${ground.id}-next`;
        change(document);
      });
      const { refusals } = await ground.json<Planned>('plan', file);
      return words(refusals);
    };
    assert.deepEqual(await refusedWith((document) => (document.tables['exclude'] = ['*.t1'])), ['STRANDED t1']);
    const canary = await refusedWith((document) => {
      document.zookeeper = { ...third };
      delete document.clickhouse.restart['reconfigureBack'];
      document.clickhouse.hosts = document.clickhouse.hosts.map((host, index) => (index === 0 ? { ...host, zookeeper: { after: { root: next.root } } } : host));
    });
    assert.deepEqual(canary, TABLES.map((table) => `SHARD_SPLIT ${table}`).sort());
    here = third;
  });

  it('abort after the first RESTORE in another ensemble ends what was begun, deletes what is old, and holds nothing', async () => {
    const before = await ground.oracle();
    const there: Place = { connect: here.connect === other.connect ? ground.up.zookeeper.connect : other.connect, root: `${ground.root}-last` };
    const replicas = ground.hosts.map(({ replica }) => replica);
    const id = `${ground.id}-last`;
    const file = spec(here, there, (document) => Object.assign(document, { id, pauseBefore: ['restore'], onFailure: 'continue' }));
    assert.equal((await ground.cli('start', file, '--execute', '--watch')).code, 4);
    const mend = await spoil(ground, 't1');
    await ground.cli('approve', id, 'restore');
    assert.equal((await ground.cli('watch', id)).code, 1);
    const begun = parse((await ground.cli('export', id)).stdout) as Record<string, unknown>[];
    assert.deepEqual([...new Set(begun.map((entry) => `${String(entry['table'])} ${String(entry['status'])} ${String(entry['old_metadata'])}`))].sort(), [
      'empty RESTORED kept', 't0 RESTORED kept', 't1 ZK_CLEANED kept',
    ]);
    mend();
    const aborted = await ground.cli('abort', id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { decisions, replicas: ended } = JSON.parse(aborted.stdout) as { decisions: { what: string }[]; replicas: { status: string; old_metadata: string }[] };
    assert.ok(decisions.some(({ what }) => what.includes('abort goes forward on ch-1, ch-2')), JSON.stringify(decisions));
    assert.deepEqual([...new Set(ended.map(({ status, old_metadata: old }) => `${status} ${old}`))], ['RESTORED deleted']);
    for (const table of TABLES) assert.deepEqual(await activeAt(table, [here, there]), [[], replicas], table);
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    const session = await ZooKeeperSession.open({ connect: here.connect, root: '' });
    for (const table of TABLES) assert.equal(await session.exists(`${here.root}${(await placeOf(ground.firstHost.url, table))?.path ?? ''}`), undefined, `${table}: its old nodes are there`);
    await session.close();
    assert.deepEqual(await heldAt(there), []);
  });
});

describe('hosts and tables that differ, in one spec', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('mixed', [1, 2]);
    ground.hosts.splice(3);
  });

  after(async () => {
    await ground.end();
  });

  it('several roots, other macros and names, {uuid}, a path without a pattern, an auxiliary ensemble: each is proved where it belongs', async () => {
    const [first, alone, third] = ground.hosts;
    assert.ok(first !== undefined && alone !== undefined && third !== undefined);
    const { name: zk2, root: auxiliary } = ground.up.zookeeper.auxiliary;
    const elsewhere = `${ground.root}-old`;
    await restartHost(ground.up.dir, alone.name, { zkRoot: elsewhere });
    const odd = `/odd ${ground.id}/1/Ünd so`;
    const make = async (host: { url: string }, table: string, uuid: string, path: string, replica: string): Promise<void> => {
      const name = quoteTable({ database: ground.database, table });
      await run(host.url, `CREATE DATABASE IF NOT EXISTS \`${ground.database}\``,
        `CREATE TABLE ${name} UUID '${uuid}' (day Date, x UInt64) ENGINE = ReplicatedMergeTree('${path}', '${replica}') PARTITION BY day ORDER BY x`);
    };
    const uuids = Array.from({ length: 6 }, () => randomUUID());
    // One path on hosts whose shard macros differ, under another table name and a replica name that follows nothing.
    await make(first, 'one', uuids[0] ?? '', `/odd ${ground.id}/{shard}/Ünd so`, '{replica}');
    await make(third, 'one, by another name', uuids[1] ?? '', odd, 'drei');
    await make(first, 'by uuid', uuids[2] ?? '', '/by/{uuid}/x', '{replica}');
    await make(third, 'by uuid', uuids[2] ?? '', '/by/{uuid}/x', '{replica}');
    await make(alone, 'one', uuids[3] ?? '', odd, '{replica}');
    await make(first, 'aux', uuids[4] ?? '', `${zk2}:/clickhouse/${ground.id}/{uuid}`, '{replica}');
    await make(third, 'aux', uuids[4] ?? '', `${zk2}:/clickhouse/${ground.id}/{uuid}`, '{replica}');
    await make(alone, 'aux', uuids[5] ?? '', `${zk2}:/clickhouse/${ground.id}/alone`, '{replica}');
    for (const [host, table] of [[first, 'one'], [third, 'by uuid'], [alone, 'one'], [first, 'aux'], [alone, 'aux']] as const) {
      await run(host.url, `INSERT INTO ${quoteTable({ database: ground.database, table })} SELECT toDate('2024-01-01') + number % 3, number FROM numbers(30)`);
    }
    for (const [host, table] of [[third, 'one, by another name'], [first, 'by uuid'], [third, 'aux']] as const) {
      await run(host.url, `SYSTEM SYNC REPLICA ${quoteTable({ database: ground.database, table })}`);
    }
    const before = await ground.oracle();
    const places = async (): Promise<unknown[]> =>
      Promise.all(ground.hosts.map(({ url }) => sql(url, 'SELECT table, zookeeper_name, zookeeper_path, replica_name FROM system.replicas ORDER BY ALL')));
    const placed = await places();

    const spec = (change: (document: SpecDocument) => void): string =>
      ground.spec((document) => {
        document.zookeeper['auxiliary'] = { [zk2]: { connect: ground.up.zookeeper.connect, root: auxiliary } };
        const [, other] = document.clickhouse.hosts;
        Object.assign(other ?? {}, {
          zookeeper: { root: elsewhere, after: { root: `${ground.root}-b` } },
          restart: { command: devCommand(ground, 'restart-host', '{host}', '--zk-root', `${ground.root}-b`) },
        });
        change(document);
      });
    const refused = await ground.json<Planned>('plan', spec((document) => (document.zookeeper['clean'] = 'never')));
    assert.deepEqual([...new Set(refused.refusals.map(({ code, table }) => `${code} ${table ?? ''}`))], ['AUXILIARY_STAYS aux']);
    const file = spec(() => undefined);
    const plan = await ground.json<Planned>('plan', file);
    assert.deepEqual(plan.refusals, []);
    assert.deepEqual(plan.warnings.filter(({ code }) => code === 'AUXILIARY_IN_PLACE').map(({ table }) => table), ['aux', 'aux', 'aux']);
    const aux = plan.hosts.flatMap(({ tables }) => tables).filter(({ table }) => table === 'aux');
    assert.deepEqual(aux.map(({ zk_path: path }) => path), [`${zk2}:/clickhouse/${ground.id}/${uuids[4] ?? ''}`, `${zk2}:/clickhouse/${ground.id}/alone`, `${zk2}:/clickhouse/${ground.id}/${uuids[4] ?? ''}`]);
    for (const { statements } of aux) assert.ok(statements.some((line) => line.startsWith(`-- delete ${auxiliary}/clickhouse/`)), statements.join());

    const done = await ground.cli('start', file, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await places(), placed);
    for (const { url } of ground.hosts) {
      assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly OR active_replicas != total_replicas OR queue_size > 0'), []);
    }
    const at = async (path: string): Promise<boolean> => (await nodesAt(ground.up, path)) > 0;
    assert.deepEqual(await Promise.all([ground.from + odd, elsewhere + odd].map(at)), [false, false]);
    assert.deepEqual(await Promise.all([ground.root + odd, `${ground.root}-b${odd}`, `${auxiliary}/clickhouse/${ground.id}/alone`].map(at)), [true, true, true]);
    assert.deepEqual(/INVARIANT|UNKNOWN/u.exec(done.stderr), null);
  });
});

describe('in an auxiliary ensemble that is another server', function () {
  this.timeout(600_000);
  let ground: Ground;
  let other: ZooKeeperServer;
  let session: ZooKeeperSession;

  before(async () => {
    ground = await Ground.on('auxiliary');
    other = await ZooKeeperServer.start();
    session = await ZooKeeperSession.open({ connect: other.connect, root: '' });
    await session.ensurePath(ground.up.zookeeper.auxiliary.root);
    await knownAt(other.connect);
  });

  after(async () => {
    await ground.end();
    await knownAt(ground.up.zookeeper.connect);
    await session.close();
    await other.remove();
  });

  /** Starts the hosts again with their auxiliary ensemble on this server. */
  async function knownAt(connect: string): Promise<void> {
    for (const { name } of ground.hosts) await reconfigureHost(ground.up.dir, name, { auxiliaryPort: Number(connect.split(':').at(-1)) });
    await Promise.all(ground.hosts.map(({ name }) => restartHost(ground.up.dir, name)));
  }

  it('a table is made anew there, in place, and the same path on the main server is left as it is', async () => {
    const { name: zk2, root } = ground.up.zookeeper.auxiliary;
    const path = `/clickhouse/${ground.id}/aux`;
    const table = quoteTable({ database: ground.database, table: 'aux' });
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    await ground.onEach(`CREATE TABLE ${table} (day Date, x UInt64) ENGINE = ReplicatedMergeTree('${zk2}:${path}', '{replica}') PARTITION BY day ORDER BY x`);
    await run(ground.firstHost.url, `INSERT INTO ${table} SELECT toDate('2024-01-01') + number % 3, number FROM numbers(30)`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${table}`);
    assert.deepEqual(await Promise.all(ground.hosts.map(({ url }) => placeOf(url, 'aux'))), ground.hosts.map(({ replica }) => ({ name: zk2, path, replica })));

    const before = await ground.oracle();
    const old = await session.listTree(root + path);
    assert.ok(old.length > 30 && ground.hosts.every(({ replica }) => old.some((node) => node.path === `${root}${path}/replicas/${replica}/is_active`)));
    // The same tree on the main server, but for the marks of active replicas: whoever takes that one for the auxiliary ensemble finds what to delete.
    const decoy = (): Promise<unknown[]> =>
      withZooKeeper(ground.up, async (main) => (await main.listTree(root + path)).map((node) => [node.path, node.stat.czxid, node.stat.pzxid, node.stat.mzxid]));
    await withZooKeeper(ground.up, async (main) => {
      await main.ensurePath(root + path);
      for (const node of old.filter(({ path: at, stat }) => at !== root + path && stat.ephemeralOwner === '0')) await main.create(node.path, (await session.get(node.path))?.data);
    });
    const decoyBefore = await decoy();
    assert.ok(decoyBefore.length > 30);

    const spec = (connect: string): string =>
      ground.spec((document) => {
        document.zookeeper = { connect: ground.up.zookeeper.connect, root: ground.from, auxiliary: { [zk2]: { connect, root } } };
        document.clickhouse.restart = { none: true };
      });
    const mistaken = await ground.json<Planned>('plan', spec(ground.up.zookeeper.connect));
    assert.deepEqual(words(mistaken.refusals), ['OTHER_ZOOKEEPER aux']);
    for (const { fix } of mistaken.refusals) {
      assert.ok(fix.includes(`zookeeper.auxiliary.${zk2}.connect`) && fix.includes(`zookeeper.auxiliary.${zk2}.root`), fix);
      assert.doesNotMatch(fix, /zookeeper\.(?:connect|root)/u);
    }
    const file = spec(other.connect);
    assert.deepEqual((await ground.json<Planned>('plan', file)).refusals, []);
    const done = await ground.cli('start', file, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);

    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await faulty(ground), []);
    assert.deepEqual(await Promise.all(ground.hosts.map(({ url }) => placeOf(url, 'aux'))), ground.hosts.map(({ replica }) => ({ name: zk2, path, replica })));
    assert.deepEqual(await decoy(), decoyBefore);
    // Every node there is younger than any of before: the old ones were deleted on that server, and new ones made.
    const youngest = Math.max(...old.map(({ stat: { czxid } }) => Number(czxid)));
    const made = await session.listTree(root + path);
    assert.deepEqual(made.filter(({ stat: { czxid } }) => Number(czxid) <= youngest).map((node) => node.path), []);
    for (const { replica } of ground.hosts) assert.equal((await session.children(`${root}${path}/replicas/${replica}/parts`))?.length, 3);
    // The table beside it went the same way on the main server, and left nothing on the other one.
    assert.ok((await nodesAt(ground.up, `${ground.from}/clickhouse/tables`)) > 30);
    assert.equal(await session.exists(`${ground.from}/clickhouse/tables`), undefined);
  });
});

describe('to another path in the same ensemble, in SQL alone', function () {
  this.timeout(600_000);
  let ground: Ground;
  const DEFAULT = '/clickhouse/tables/{shard}/{database}/{table}';

  before(async () => {
    ground = await Ground.on('path');
    await ground.seed(someTables(ground.database, 2));
    ground.worker();
  });

  after(async () => {
    await defaultPath(DEFAULT);
    await ground.end();
  });

  async function defaultPath(replicaPath: string): Promise<void> {
    for (const { name } of ground.hosts) await reconfigureHost(ground.up.dir, name, { replicaPath });
    await Promise.all(ground.hosts.map(({ name }) => restartHost(ground.up.dir, name)));
  }

  function spec(path: string, clean: string, pauseBefore: string[], id = ground.id): string {
    return ground.spec((document) => {
      document.id = id;
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: ground.from, after: { path }, clean };
      document.clickhouse.restart = { none: true };
      Object.assign(document, { pauseBefore });
    });
  }

  async function paths(): Promise<string[]> {
    const all = await Promise.all(ground.hosts.map(({ url }) => sql<{ path: string }>(url, 'SELECT zookeeper_path AS path FROM system.replicas ORDER BY table')));
    return all.flat().map(({ path }) => path);
  }

  it("is refused where the server's default is another; abort goes back before the first conversion, forward after it; one cut short goes on", async () => {
    const asked = `/moved ${ground.id}/{shard}/{uuid}`;
    const refusedWith = async (path: string): Promise<string[]> => {
      const { refusals } = await ground.json<Planned>('plan', spec(path, 'after-verify', []));
      return codes(refusals);
    };
    const differs = await ground.json<Planned>('plan', spec(asked, 'after-verify', []));
    assert.equal(differs.refusals.length, 2 * 6);
    for (const { code, message } of differs.refusals) {
      assert.equal(code, 'PATH_DIFFERS');
      assert.match(message, /its path would become \/clickhouse\/tables\/1\/.*default_replica_path.*\/moved .* is asked for/u);
    }
    assert.deepEqual(await refusedWith(DEFAULT), ['PATH_DIFFERS']);
    // The tables of a host would all come to one path, and the replicas of a table to two.
    await defaultPath(`/moved ${ground.id}/{replica}`);
    assert.deepEqual(await refusedWith(`/moved ${ground.id}/{replica}`), ['PATH_SPLIT', 'PATH_TAKEN']);

    await defaultPath(asked);
    const before = await ground.oracle();
    const old = await paths();
    const gated = spec(asked, 'after-verify', ['restart']);
    const plan = await ground.json<Planned>('plan', gated);
    assert.deepEqual(plan.refusals, []);
    for (const { statements, zk_path_after: to } of plan.hosts.flatMap(({ tables }) => tables)) {
      assert.match(to ?? '', /^\/moved .*\/1\/[0-9a-f-]{36}$/u);
      assert.ok(statements.some((line) => line.endsWith(" AS NOT REPLICATED")) && statements.some((line) => line.endsWith(" AS REPLICATED")));
    }
    assert.equal((await ground.cli('start', gated, '--execute', '--watch')).code, 4);
    const back = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(back.code, 0, back.stdout + back.stderr);
    assert.deepEqual([await paths(), await faulty(ground), await ground.oracle()], [old, [], before]);

    assert.equal((await ground.cli('start', spec(asked, 'after-verify', ['restore']), '--execute', '--watch')).code, 4);
    const forward = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(forward.code, 0, forward.stdout + forward.stderr);
    const moved = plan.hosts.flatMap(({ tables }) => tables.map(({ table, zk_path_after: to }) => ({ table, to })));
    for (const { table, to } of moved) {
      for (const { url } of ground.hosts) assert.equal((await placeOf(url, table.replaceAll("'", "\\'")))?.path, to);
    }
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    for (const path of new Set(old)) assert.equal(await nodesAt(ground.up, ground.from + path), 0, path);

    // And back again, with a conversion that somebody else, or a worker that died, has left half done.
    await defaultPath(DEFAULT);
    const id = `${ground.id}-again`;
    assert.equal((await ground.cli('start', spec(DEFAULT, 'before-restore', ['restart'], id), '--execute', '--watch')).code, 4);
    const [t0, t1] = ['t0', 't1'].map((table) => quoteTable({ database: ground.database, table }));
    await run(ground.firstHost.url, `ATTACH TABLE ${t0 ?? ''} AS NOT REPLICATED`, `ATTACH TABLE ${t1 ?? ''} AS NOT REPLICATED`, `DETACH TABLE ${t1 ?? ''} PERMANENTLY SYNC`);
    await ground.cli('approve', id, 'restart');
    const done = await ground.cli('watch', id, '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual([await paths(), await faulty(ground), await ground.oracle()], [old, [], before]);
    const mirrored = parse(readFileSync(ground.statusFile, 'utf8')) as Record<string, unknown>[];
    assert.deepEqual([...new Set(mirrored.map((entry) => String(entry['zk_path'])))].sort(), [...new Set(old)].sort());
  });

  it("no table is converted once the server's default is another than planned; set back, retry completes", async () => {
    const [id, asked] = [`${ground.id}-changed`, `/elsewhere ${ground.id}/{shard}/{uuid}`];
    const before = await ground.oracle();
    await defaultPath(asked);
    assert.equal((await ground.cli('start', spec(asked, 'after-verify', ['restart'], id), '--execute', '--watch')).code, 4);
    await defaultPath(DEFAULT);
    const marks = ground.marks();
    await ground.cli('approve', id, 'restart');
    const stopped = await ground.cli('watch', id, '--json');
    assert.equal(stopped.code, 1, stopped.stdout + stopped.stderr);
    const { failures } = JSON.parse(stopped.stdout) as { failures: { code: string; message: string }[] };
    assert.deepEqual(codes(failures), ['WRONG_PATH']);
    for (const { message } of failures) assert.match(message, /is left as it is: its path would become \/clickhouse\/tables\/1\/.*default_replica_path.*\/elsewhere .* is asked for/u);
    assert.deepEqual(ground.statements(marks, /^(?:ATTACH|DETACH)/u), []);

    await defaultPath(asked);
    const done = await ground.cli('retry', id, '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual([await faulty(ground), await ground.oracle()], [[], before]);
    for (const path of await paths()) assert.match(path, /^\/elsewhere .*\/1\/[0-9a-f-]{36}$/u);
  });
});
