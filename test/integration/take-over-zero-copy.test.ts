import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { quoteTable } from '../../src/clickhouse/sql';
import { seedTables } from '../../src/dev/seed';
import { restartHost } from '../../src/dev/stack';
import type { Plan } from '../../src/domain/plan';
import type { Finding } from '../../src/domain/summary';
import { CHANGES, ReferenceRun } from '../support/reference-run';
import { Ground, run, type SpecDocument, sql } from '../support/stack';
import { assertBlobsAndLocks, blobsOf, idOf, inPlace, LOCK_ROOT, locksUnder, onBlobs } from '../support/zero-copy';
import { wholeTree, withZooKeeper } from '../support/zookeeper';

describe('a half-finished run of the reference', function () {
  this.timeout(600_000);
  let ground: Ground;
  let reference: ReferenceRun;

  afterEach(async () => {
    await ground.end();
  });

  /** A dry run: it changes nothing, and says how the file differs from the world. */
  async function dryRun(spec: string, file: string): Promise<{ code: number; refusals: Finding[]; differing: string[] }> {
    const marks = ground.marks();
    const tree = await wholeTree(ground.up);
    const { code, stdout, stderr } = await ground.cli('start', spec, '--take-over', file, '--watch', '--with-worker', '--json');
    assert.deepEqual(ground.statements(marks, CHANGES), []);
    assert.deepEqual(await wholeTree(ground.up), tree);
    const { refusals, warnings } = await ground.json<{ refusals: Finding[]; warnings: Finding[] }>('status', `${ground.id}.plan`);
    assert.ok(Array.isArray(warnings), stdout + stderr);
    return { code, refusals, differing: warnings.filter((one) => one.code === 'TAKE_OVER_DIFFERS').map(({ host, table }) => `${host} ${table ?? ''}`).sort() };
  }

  it('over zero-copy tables, detached, without their path, or broken by its RESTORE, is carried with their locks; an abort leaves them as they were', async () => {
    ground = await Ground.on('zc_taken');
    const oddId = randomUUID();
    await seedTables([ground.firstHost], ['untouched', 'detached', 'cleaned', 'readonly', 'broken', 'restored'].map((name) => onBlobs(ground.database, name, 2)));
    // Made by a replica that is gone since: its uuid is the id of the locks.
    const [first, second] = ground.hosts;
    for (const [host, uuid] of [[second, oddId], [first, randomUUID()]] as const) {
      await run(
        host?.url ?? '',
        `CREATE DATABASE IF NOT EXISTS \`${ground.database}\``,
        `CREATE TABLE \`${ground.database}\`.\`odd id\` UUID '${uuid}' (p UInt16, x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/tables/${ground.id}/odd', '{replica}')
         PARTITION BY p ORDER BY x SETTINGS storage_policy = 'object_storage'`,
      );
    }
    await run(second?.url ?? '', `DROP DATABASE \`${ground.database}\` SYNC`);
    await run(ground.firstHost.url, `INSERT INTO \`${ground.database}\`.\`odd id\` SELECT number % 2, number FROM numbers(30)`);
    reference = new ReferenceRun(ground);
    await reference.list();
    const [before, files] = [await ground.oracle(), blobsOf(ground)];
    const restoredId = await idOf(ground, 'restored');

    await reference.detach('detached');
    for (const table of ['cleaned', 'readonly', 'broken', 'restored', 'odd id']) await reference.clean(table);
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${LOCK_ROOT}/${restoredId}`));
    for (const table of ['readonly', 'broken', 'restored', 'odd id']) await reference.attach(table);
    await assert.rejects(reference.restore('broken'), /Creating shared lock/u);
    await reference.restore('restored');
    const file = reference.file();
    const spec = (change: (document: SpecDocument) => void = () => undefined): string =>
      ground.spec((document) => {
        inPlace(document);
        document.clickhouse.hosts = document.clickhouse.hosts.slice(0, 1);
        change(document);
      });

    const plan = await ground.json<Plan>('plan', spec(), '--take-over', file);
    assert.deepEqual(plan.refusals, [], JSON.stringify(plan.refusals));
    const tables = plan.hosts[0]?.tables ?? [];
    assert.deepEqual(Object.fromEntries(tables.map(({ table, takenOver }) => [table, `${takenOver?.found ?? ''} ${String(takenOver?.attached)}`])), {
      untouched: 'INIT true', detached: 'DETACHED false', cleaned: 'ZK_CLEANED false', readonly: 'INIT true', broken: 'INIT true', restored: 'RESTORED true', 'odd id': 'INIT true',
    });
    assert.equal(tables.find(({ table }) => table === 'odd id')?.zero_copy?.shared_id, oddId);
    assert.equal(tables.find(({ table }) => table === 'broken')?.zero_copy?.attach.length, 2);
    const dry = await dryRun(spec(), file);
    assert.deepEqual([dry.code, dry.refusals, dry.differing], [0, [], ['ch-1 broken', 'ch-1 odd id', 'ch-1 readonly']]);

    ground.worker();
    const locks = async (): Promise<string[]> =>
      (await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from))).map(({ top, part, blob }) => `${top} ${part} ${blob}`).sort();
    const held = await locks();
    const marks = ground.marks();
    const started = await ground.cli('start', spec((document) => (document['pauseBefore'] = ['clean'])), '--take-over', file, '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    // Nothing is merged, moved or removed from the ATTACH on until its manifest is saved.
    const name = quoteTable({ database: ground.database, table: 'detached' });
    const told = ground.statements(marks, /^(?:ATTACH TABLE|SYSTEM (?:STOP|START) (?:MERGES|MOVES|CLEANUP)|DETACH TABLE) /u).filter(({ text }) => text.includes(name)).map(({ text }) => text.split(' `')[0]);
    const all = (what: string): string[] => ['MERGES', 'MOVES', 'CLEANUP'].map((one) => `SYSTEM ${what} ${one}`);
    assert.deepEqual(told, ['ATTACH TABLE', 'SYSTEM STOP MERGES', ...all('STOP'), ...all('STOP'), ...all('START'), ...all('STOP'), 'DETACH TABLE']);
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await locks(), held);
    const readonly = await sql<{ table: string }>(reference.url, 'SELECT table FROM system.replicas WHERE is_readonly ORDER BY table');
    assert.deepEqual(readonly.map(({ table }) => table), ['cleaned', 'odd id', 'readonly']);
    assert.deepEqual(Object.keys(await ground.oracle()), Object.keys(before));

    const done = await ground.cli('start', spec(), '--take-over', file, '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
    assert.deepEqual((await locks()).filter((lock) => lock.startsWith(oddId)), []);
    assert.deepEqual(await sql(reference.url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
  });

  it('that deleted part of the nodes of a path with replicas on two hosts is refused where an ATTACH would cost parts, and else goes the whole way on both', async () => {
    ground = await Ground.on('half');
    await ground.seed([onBlobs(ground.database, 'own node gone', 3), ...['half gone', 'elsewhere attached'].map((name) => ({ ...onBlobs(ground.database, name, 3), settings: {} }))], { replicate: true });
    const before = await ground.oracle();
    const files = blobsOf(ground);
    reference = new ReferenceRun(ground);
    await reference.list();
    await reference.detach('own node gone');
    await reference.detach('half gone');
    await reference.detach('elsewhere attached');
    await withZooKeeper(ground.up, async (session) => {
      await session.deleteTree(`${ground.from}${reference.replicaNode('own node gone')}`);
      for (const below of ['log', 'blocks']) await session.deleteTree(`${ground.from}${reference.pathOf('half gone')}/${below}`);
    });
    for (const entry of reference.entries) entry['host'] = ground.firstHost.name;
    const file = reference.file();

    const dry = await dryRun(ground.spec(inPlace), file);
    assert.deepEqual([dry.code, dry.refusals.map(({ code, host, table }) => `${code} ${host} ${table ?? ''}`)], [3, ['HALF_CLEANED ch-1 half gone']]);
    await withZooKeeper(ground.up, async (session) => {
      // Under a replica that is attached, as the script does.
      await session.delete(`${ground.from}${reference.pathOf('half gone')}/replicas/${ground.hosts[1]?.replica ?? ''}/is_active`);
      await session.deleteTree(`${ground.from}${reference.pathOf('half gone')}`);
    });
    const done = await ground.cli('start', ground.spec(inPlace), '--take-over', file, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly OR active_replicas != 2 OR queue_size > 0'), []);
  });

  it('whose locks cannot be told apart, or whose RESTORE met locks at the new root, is refused; in place there, each comes back', async () => {
    ground = await Ground.on('zc_unsure');
    await seedTables([ground.firstHost], ['unsure', 'broke there'].map((name) => onBlobs(ground.database, name, 2)));
    reference = new ReferenceRun(ground);
    await reference.list();
    const [before, unsure, brokeThere, strange] = [await ground.oracle(), await idOf(ground, 'unsure'), await idOf(ground, 'broke there'), [randomUUID(), randomUUID()]];
    await withZooKeeper(ground.up, async (session) => {
      for (const { top, part, blob, replica } of await locksUnder(session, ground.from)) {
        const places = top === unsure ? strange.map((id) => `${ground.from}${LOCK_ROOT}/${id}`) : top === brokeThere ? [`${ground.root}${LOCK_ROOT}/${top}`] : [];
        for (const place of places) await session.ensurePath(`${place}/${part}/${blob}/${replica}`);
      }
      await session.deleteTree(`${ground.from}${LOCK_ROOT}/${unsure}`);
    });
    await reference.clean('unsure');
    const oneHost = (change: (document: SpecDocument) => void): string =>
      ground.spec((document) => {
        document.clickhouse.hosts = document.clickhouse.hosts.slice(0, 1);
        change(document);
      });
    const marks = ground.marks();
    const refused = await ground.cli('start', oneHost(inPlace), '--take-over', reference.file(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(refused.code, 3, refused.stdout + refused.stderr);
    const name = quoteTable({ database: ground.database, table: 'unsure' });
    const told = ground.statements(marks, /^(?:ATTACH TABLE|SYSTEM (?:STOP|START) (?:MERGES|MOVES|CLEANUP)) /u).filter(({ text }) => text.includes(name)).map(({ text }) => text.split(' `')[0]);
    // Refused once it could be read: what was stopped for that goes on again.
    assert.deepEqual(told.slice(0, 2), ['ATTACH TABLE', 'SYSTEM STOP MERGES']);
    assert.deepEqual(told.slice(-3), ['SYSTEM START MERGES', 'SYSTEM START MOVES', 'SYSTEM START CLEANUP']);
    const untold = await ground.json<Plan>('plan', oneHost(inPlace));
    assert.deepEqual(untold.refusals.map(({ code, table }) => [code, table]), [['ZERO_COPY_ID', 'unsure']]);

    await reference.clean('broke there');
    await restartHost(ground.up.dir, ground.firstHost.name, { zkRoot: ground.root });
    await assert.rejects(reference.restore('broke there'), /Creating shared lock/u);
    const moved = await ground.json<Plan>('plan', oneHost(() => undefined), '--take-over', reference.file());
    assert.deepEqual(moved.refusals.filter(({ code }) => code === 'TAKE_OVER_ZERO_COPY').map(({ table }) => table), ['broke there']);

    const there = oneHost((document) => {
      inPlace(document);
      document.zookeeper['root'] = ground.root;
    });
    const done = await ground.cli('start', there, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await withZooKeeper(ground.up, async (session) => {
      for (const id of strange) await session.deleteTree(`${ground.from}${LOCK_ROOT}/${id}`);
    });
  });
});
