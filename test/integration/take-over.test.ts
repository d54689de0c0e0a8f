import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { execa } from 'execa';

import { quoteIdentifier, quoteString } from '../../src/clickhouse/sql';
import { restartHost, killPart, startPart } from '../../src/dev/stack';
import { seedTables } from '../../src/dev/seed';
import type { Plan } from '../../src/domain/plan';
import { CHANGES, ReferenceRun } from '../support/reference-run';
import { Ground, inPlace, run, someTables, type SpecDocument, sql, userTables } from '../support/stack';
import { wholeTree, withZooKeeper } from '../support/zookeeper';

const ODD = "it's `odd` \"here\"";
const UNICODE = 'таблица 表';

describe('a run of the reference that was killed half way', function () {
  this.timeout(600_000);
  let ground: Ground;
  let reference: ReferenceRun;
  let before: Record<string, string>;

  beforeEach(async () => {
    ground = await Ground.on('taken');
    await seedTables([ground.firstHost], someTables(ground.database, 4));
    before = await ground.oracle();
    reference = new ReferenceRun(ground);
    await reference.list();
  });

  afterEach(async () => {
    await ground.end();
  });

  function oneHost(change: (document: SpecDocument) => void = () => undefined): string {
    return ground.spec((document) => {
      document.clickhouse.hosts = document.clickhouse.hosts.slice(0, 1);
      change(document);
    });
  }

  /** A plan, and proof that it only read. */
  async function plan(code: number, ...args: string[]): Promise<Plan> {
    const marks = ground.marks();
    const tree = await wholeTree(ground.up);
    const done = await ground.cli('plan', ...args, '--json');
    assert.equal(done.code, code, done.stdout + done.stderr);
    assert.deepEqual(ground.statements(marks, CHANGES), []);
    assert.deepEqual(await wholeTree(ground.up), tree);
    return JSON.parse(done.stdout) as Plan;
  }

  async function allAttachedAndWritable(): Promise<void> {
    const rows = await sql<{ table: string }>(reference.url, 'SELECT table FROM system.replicas WHERE is_readonly = 0');
    assert.deepEqual(rows.map(({ table }) => table).sort(), reference.entries.map(({ table }) => table).sort());
  }

  function sent(marks: Record<string, number>, pattern: RegExp, table: string): number {
    return ground.statements(marks, pattern).filter(({ text }) => text.includes(reference.name(table))).length;
  }

  it('is resumed in place from its true status file: what is restored is left alone, a worker killed on the way and an abort cost nothing, and the same file serves again', async () => {
    // The reference restarts the server before its first RESTORE.
    await killPart(ground.up.dir, ground.firstHost.name);
    await startPart(ground.up.dir, ground.firstHost.name);
    await reference.detach('t1');
    for (const table of ['many parts', 't2', UNICODE, 't3', 'empty']) await reference.clean(table);
    for (const table of ['t2', 't3', 'empty']) await reference.attach(table);
    for (const table of ['t3', 'empty']) await reference.restore(table);
    const file = reference.file();

    const planned = await plan(0, oneHost(inPlace), '--take-over', file);
    const found = Object.fromEntries(planned.hosts[0]?.tables.map(({ table, takenOver }) => [table, `${takenOver?.found ?? ''} ${String(takenOver?.attached)}`]) ?? []);
    assert.deepEqual(found, {
      't0': 'INIT true', [ODD]: 'INIT true', 't1': 'DETACHED false', 't2': 'ZK_CLEANED true',
      'many parts': 'ZK_CLEANED false', [UNICODE]: 'ZK_CLEANED false', 't3': 'RESTORED true', 'empty': 'RESTORED true',
    });
    assert.deepEqual(planned.warnings.filter(({ code }) => code === 'TAKE_OVER_DIFFERS'), []);
    assert.deepEqual(planned.warnings.filter(({ code }) => code === 'TAKE_OVER_UNVOUCHED').map(({ table }) => table).sort(), ['empty', 't3']);

    const marks = ground.marks();
    const worker = ground.worker();
    const spec = oneHost((document) => {
      inPlace(document);
      document['pauseBefore'] = ['detach'];
      document['parallel'] = { detach: 1, clean: 1, restore: 1 };
    });
    const started = ground.cli('start', spec, '--take-over', file, '--execute', '--watch', '--json');
    const end = Date.now() + 240_000;
    while (ground.statements(marks, /^\s*ATTACH TABLE/u).length === 0) {
      assert.ok(Date.now() < end, 'nothing was attached');
      await new Promise((done) => setTimeout(done, 5));
    }
    worker.kill('SIGKILL');
    await worker;
    ground.worker();
    const waiting = await started;
    assert.equal(waiting.code, 4, waiting.stdout + waiting.stderr);
    const { counts } = JSON.parse(waiting.stdout) as { counts: Record<string, number> };
    assert.deepEqual(counts, { INIT: 3, DETACHED: 0, ZK_CLEANED: 3, RESTORED: 2, SKIPPED: 0 });
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    await allAttachedAndWritable();
    assert.deepEqual(await ground.oracle(), before);
    assert.equal(sent(marks, /^\s*(DETACH|SYSTEM RESTORE)/u, 't3'), 0);

    const again = await ground.cli('start', oneHost(inPlace), '--take-over', file, '--execute', '--watch', '--json');
    assert.equal(again.code, 0, again.stdout + again.stderr);
    assert.equal((JSON.parse(again.stdout) as { counts: Record<string, number> }).counts['RESTORED'], 8);
    assert.deepEqual(await ground.oracle(), before);
    await allAttachedAndWritable();
    // Neither run touched what the reference had restored; each of the others was restored once.
    for (const { table, status } of reference.entries) assert.equal(sent(marks, /^\s*SYSTEM RESTORE/u, table), status === 4 ? 0 : 1, table);
    const third = await ground.cli('start', oneHost(inPlace), '--take-over', file, '--execute', '--json');
    assert.equal(third.code, 1, third.stdout);
    assert.match(third.stdout, /ALREADY_COMPLETED/u);
  });

  it('that lies is listed and overruled by the world; what a RESTORE or a deletion left half done is refused until somebody has said what it is', async () => {
    const [metadata] = await sql<{ path: string }>(reference.url, `SELECT metadata_path AS path FROM system.tables WHERE database = ${quoteString(ground.database)} AND name = 't1'`);
    await reference.detach('t1');
    await reference.clean('t2');
    await reference.attach('t2');
    await reference.clean('empty');
    // A RESTORE that died: registered, some parts active, the others in detached/ under their plain names.
    await run(reference.url, ...['2024-01-03', '2024-01-04'].map((day) => `ALTER TABLE ${reference.name('many parts')} DETACH PARTITION '${day}'`));
    // A deletion that died: some of its parts' nodes are gone.
    await reference.detach(UNICODE);
    const parts = `${ground.from}${reference.replicaNode(UNICODE)}/parts`;
    await withZooKeeper(ground.up, async (session) => {
      for (const part of (await session.children(parts)) ?? []) await session.deleteTree(`${parts}/${part}`);
    });
    const lies: Record<string, number> = { 't0': 4, 't1': 1, 't2': 2, 't3': 3, 'empty': 1, 'many parts': 4, [UNICODE]: 2, [ODD]: 2 };
    for (const [table, status] of Object.entries(lies)) reference.says(table, status);
    const odd = reference.entries.find(({ table }) => table === ODD) ?? assert.fail();
    odd.zk_path = '/clickhouse/tables/elsewhere';
    const file = reference.file();

    const refused = await plan(3, oneHost(), '--take-over', file);
    assert.deepEqual(refused.refusals.map(({ code, table }) => `${code} ${table ?? ''}`).sort(), [`HALF_CLEANED ${UNICODE}`, 'HALF_RESTORED many parts']);
    assert.match(refused.refusals.map(({ message }) => message).join('\n'), /2 part\(s\): 20240103\S*, 20240104/u);
    const differing = refused.warnings.filter(({ code }) => code === 'TAKE_OVER_DIFFERS').map(({ table }) => table);
    assert.deepEqual([...new Set(differing)].sort(), [ODD, 'empty', 'many parts', 't0', 't1', 't2', 't3'].sort());
    // One of the parts is called as a server calls those that it puts aside: no SQL can name it, and the refusal has the command to run.
    const [aside] = await sql<{ path: string }>(reference.url, `SELECT path FROM system.detached_parts WHERE table = 'many parts' ORDER BY name LIMIT 1`);
    assert.ok(aside !== undefined);
    renameSync(aside.path, aside.path.replace(/[^/]+$/u, 'ignored_$&'));
    const words = ['--take-over', file, '--attach-detached', `${ground.database}.many*`];
    const { refusals } = await plan(3, oneHost(), ...words);
    const command = /on the host: (mv .*) ; then/u.exec(refusals.find(({ table }) => table === 'many parts')?.fix ?? '')?.[1];
    assert.ok(command !== undefined, JSON.stringify(refusals));
    await execa('sh', ['-c', command], { stdin: 'ignore' });

    const marks = ground.marks();
    ground.worker();
    const started = await ground.cli('start', oneHost(), '--take-over', file, '--execute', '--watch', '--json');
    assert.equal(started.code, 3, started.stdout + started.stderr);
    assert.deepEqual(ground.statements(marks, CHANGES), []);

    // A table that nobody has ever heard of is a lie too; and the spec has its word.
    reference.entries.push({ db: ground.database, table: 'never', status: 3, zk_path: '/clickhouse/tables/never' });
    const strange = (await plan(3, oneHost(({ tables }) => (tables['exclude'] = ['*.t0', '*.t1'])), '--take-over', reference.file('strange.yaml'))).refusals.map(({ code, table }) => `${code} ${table ?? ''}`);
    for (const one of ['TAKE_OVER_UNKNOWN never', 'TAKE_OVER_NOT_SELECTED t0', 'TAKE_OVER_NOT_SELECTED t1']) assert.ok(strange.includes(one), `${one}: ${strange.join('; ')}`);
    reference.entries.pop();

    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${reference.pathOf(UNICODE)}`));
    // A table whose definition the server cannot read cannot be attached: it is named, and nothing goes on before it is mended.
    const definition = join(ground.firstHost.dataDir, metadata?.path ?? assert.fail());
    const readable = readFileSync(definition, 'utf8');
    writeFileSync(definition, readable.replace('ENGINE = Replicated', 'ENGINE = Unheard'));
    const stuck = await ground.cli('start', oneHost(), ...words, '--execute', '--watch', '--json');
    assert.equal(stuck.code, 3, stuck.stdout + stuck.stderr);
    assert.match(stuck.stdout, /"TAKE_OVER_NOT_ATTACHED"[^]*"t1"/u);
    writeFileSync(definition, readable);
    const done = await ground.cli('start', oneHost(), ...words, '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.equal((JSON.parse(done.stdout) as { counts: Record<string, number> }).counts['RESTORED'], 8);
    assert.deepEqual(await ground.oracle(), before);
    await allAttachedAndWritable();
    await withZooKeeper(ground.up, async (session) => {
      for (const { table } of reference.entries) {
        assert.ok((await session.exists(`${ground.root}${reference.pathOf(table)}`)) !== undefined, `${table} is not on the new root`);
        assert.equal(await session.exists(`${ground.from}${reference.pathOf(table)}`), undefined, `${table} is still on the old root`);
      }
    });
  });

  it('that died after the restart on the new root: what is restored there is proved, the rest restored, and old nodes that it forgot are deleted', async () => {
    const kept = ['t2', ODD];
    const tables = (await userTables(reference.url)).map(({ table }) => table);
    for (const table of tables) {
      if (kept.includes(table)) await reference.detach(table);
      else await reference.clean(table);
    }
    await withZooKeeper(ground.up, (session) => session.ensurePath(ground.root));
    await restartHost(ground.up.dir, ground.firstHost.name, { zkRoot: ground.root });
    for (const table of ['t0', 't1', 'many parts']) await reference.restore(table);
    reference.says('t1', 2);
    reference.says('t3', 4);
    // A file of this program has the host and the words, and may be taken over as well.
    for (const entry of reference.entries) Object.assign(entry, { host: ground.firstHost.name, status: ['', 'INIT', 'DETACHED', 'ZK_CLEANED', 'RESTORED'][Number(entry.status)] });
    // Another replica of a path that is restored already, on a host that has not moved: only a hand can end that.
    const second = ground.hosts[1] ?? assert.fail();
    await run(
      second.url,
      `CREATE DATABASE ${quoteIdentifier(ground.database)}`,
      `CREATE TABLE ${reference.name('t1')} (x UInt8) ENGINE = ReplicatedMergeTree(${quoteString(reference.pathOf('t1'))}, 'second') ORDER BY x`,
    );
    const apart = await plan(3, ground.spec(), '--take-over', reference.file());
    assert.deepEqual(apart.refusals.filter(({ code }) => code === 'TAKE_OVER_REPLICATED').map(({ host, table }) => [host, table]), [[ground.firstHost.name, 't1']]);
    await run(second.url, `DROP DATABASE ${quoteIdentifier(ground.database)} SYNC`);

    const marks = ground.marks();
    const done = await ground.cli('start', oneHost(), '--take-over', reference.file(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await allAttachedAndWritable();
    for (const table of tables) assert.equal(sent(marks, /^\s*SYSTEM RESTORE/u, table), ['t0', 't1', 'many parts'].includes(table) ? 0 : 1, table);
    await withZooKeeper(ground.up, async (session) => {
      for (const table of kept) assert.equal(await session.exists(`${ground.from}${reference.pathOf(table)}`), undefined, table);
    });
  });
});
