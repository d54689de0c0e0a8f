import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import { killPart, startPart } from '../../src/dev/stack';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { eventually, Ground, hostAt, pause, run, sql } from '../support/stack';
import { assertBlobsAndLocks, blobsOf, idOf, inPlace, LOCK_ROOT, locksUnder, onBlobs } from '../support/zero-copy';
import { withZooKeeper } from '../support/zookeeper';
import { finish, statementSeen, stoppedInsideRestore } from './support';

const PARTS = 200;

describe('zero-copy tables, while parts of the migration are killed', function () {
  this.timeout(600_000);
  let ground: Ground;
  let before: Record<string, string>;
  let files: Map<string, number>;

  afterEach(async () => {
    await ground.end();
  });

  async function atGate(...gates: string[]): Promise<void> {
    [before, files] = [await ground.oracle(), blobsOf(ground)];
    const spec = ground.spec((document) => {
      inPlace(document);
      Object.assign(document, { pauseBefore: gates, parallel: { detach: 1, clean: 1, restore: 1 } });
    });
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
  }

  /** Rows, blobs and every lock: exactly those of the active parts, no other under the tables' ids. */
  async function proved(): Promise<void> {
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
    const parts = await Promise.all(
      ground.hosts.map(async ({ name, url }) =>
        (await sql<{ id: string; part: string }>(
          url,
          `SELECT toString(t.uuid) AS id, p.name AS part FROM system.parts AS p INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table
           WHERE p.active AND p.disk_name = 'object_storage'`,
        )).map(({ id, part }) => `${id} ${part} ${name}`),
      ),
    );
    const ids = new Set(parts.flat().map((one) => one.split(' ')[0]));
    const locks = await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from));
    assert.deepEqual(locks.filter(({ top }) => ids.has(top)).map(({ top, part, replica }) => `${top} ${part} ${replica}`).sort(), parts.flat().sort());
  }

  it('come back whole when the worker dies between nodes and locks in clean, and worker and host die inside RESTORE', async () => {
    ground = await Ground.on('zc_fire');
    await ground.seed([onBlobs(ground.database, 'many', PARTS)], { replicate: true });
    const id = await idOf(ground, 'many');
    const [replica] = await sql<{ path: string }>(ground.firstHost.url, 'SELECT zookeeper_path AS path FROM system.replicas');
    let worker = ground.worker();
    await atGate('clean', 'restore');
    const locks = async (): Promise<number> => (await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from))).filter(({ top }) => top === id).length;
    assert.equal(await locks(), 2 * PARTS);

    const path = `${ground.from}${replica?.path ?? ''}`;
    const approved = ground.cli('approve', ground.id, 'clean');
    await withZooKeeper(ground.up, async (session) => {
      assert.ok((await session.exists(path)) !== undefined);
      while ((await session.exists(path)) !== undefined) await pause(1);
      worker.kill('SIGKILL');
    });
    await Promise.all([approved, worker]);
    worker = ground.worker();
    await ground.until(({ waitingFor }) => waitingFor?.gate === 'restore', 'the gate before restore');
    assert.equal(await locks(), 0);

    const marks = ground.marks();
    const approve = ground.cli('approve', ground.id, 'restore');
    const host = await stoppedInsideRestore(ground, new Map(ground.hosts.map(({ name }) => [name, `${path}/replicas/${name}/parts`])), PARTS / 10);
    await approve;
    await killPart(ground.up.dir, host);
    worker.kill('SIGKILL');
    await startPart(ground.up.dir, host);
    const { url } = ground.hosts.find(({ name }) => name === host) ?? assert.fail(host);
    const [lying] = await sql<{ n: string }>(url, 'SELECT count() AS n FROM system.detached_parts');
    assert.ok(Number(lying?.n) > 0, 'RESTORE was over before the host was killed');
    await worker;
    ground.worker();
    const outcome = await finish(ground);
    assert.equal(outcome, 'completed', JSON.stringify((await ground.status()).failures));
    assert.ok(ground.statements(marks, /^\s*ALTER TABLE .* ATTACH PART/u).length > 0, 'nothing was left to be repaired');
    await proved();
  });

  it('are restored first by an abort at the gate before restore, when nodes and locks are gone already', async () => {
    ground = await Ground.on('zc_abort');
    await ground.seed([onBlobs(ground.database, 'shared', 3)], { replicate: true });
    await ground.seed([onBlobs(ground.database, 'own', 2)]);
    ground.worker();
    await atGate('restore');
    assert.deepEqual((await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from))).filter(({ replica }) => ground.hosts.some(({ name }) => name === replica)), []);
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    await proved();
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly OR queue_size > 0'), []);
  });

  it('keep their merges stopped when a lock goes after its replica was proved, and a retry proves it again and starts them', async () => {
    ground = await Ground.on('zc_vanish');
    await ground.seed([onBlobs(ground.database, 'many', PARTS)], { replicate: true });
    const [row] = await sql<{ path: string }>(ground.firstHost.url, 'SELECT zookeeper_path AS path FROM system.replicas');
    const id = await idOf(ground, 'many');
    ground.worker();
    await atGate('restore');
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    const first = await statementSeen(ground, marks, /^\s*SYSTEM RESTORE REPLICA/u);
    const second = ground.hosts.find(({ name }) => name !== first) ?? assert.fail();
    await statementSeen(ground, marks, /^\s*SYSTEM RESTORE REPLICA/u, second.name);
    const lost = await withZooKeeper(ground.up, async (session) => {
      const [part = ''] = (await session.children(`${ground.from}${row?.path ?? ''}/replicas/${first}/parts`)) ?? [];
      const [blob = ''] = (await session.children(`${ground.from}${LOCK_ROOT}/${id}/${part}`)) ?? [];
      const path = `${ground.from}${LOCK_ROOT}/${id}/${part}/${blob}/${first}`;
      assert.ok((await session.exists(path)) !== undefined, path);
      await session.delete(path);
      return path;
    });
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    assert.deepEqual((await ground.status()).failures.map(({ code }) => code), ['PROOF_FAILED']);
    assert.deepEqual(ground.statements(marks, /^\s*SYSTEM START MERGES/u), []);
    await withZooKeeper(ground.up, (session) => session.ensurePath(lost));
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    await proved();
    assert.equal(ground.statements(marks, /^\s*SYSTEM START MERGES/u).length, 2);
  });

  it('keep their merges stopped when the setting of a proved replica is changed while another is restored, until it is as it was', async () => {
    ground = await Ground.on('zc_setting');
    await ground.seed([onBlobs(ground.database, 'many', PARTS)], { replicate: true });
    ground.worker();
    await atGate('restore');
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    const first = await statementSeen(ground, marks, /^\s*SYSTEM RESTORE REPLICA/u);
    const second = ground.hosts.find(({ name }) => name !== first) ?? assert.fail();
    await statementSeen(ground, marks, /^\s*SYSTEM RESTORE REPLICA/u, second.name);
    const { url } = ground.hosts.find(({ name }) => name === first) ?? assert.fail();
    const set = (value: 0 | 1): Promise<void> =>
      run(url, `ALTER TABLE ${quoteTable({ database: ground.database, table: 'many' })} MODIFY SETTING allow_remote_fs_zero_copy_replication = ${value}`);
    await set(0);
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    assert.deepEqual((await ground.status()).failures.map(({ code }) => code), ['ZERO_COPY_CHANGED']);
    assert.deepEqual(ground.statements(marks, /^\s*SYSTEM START MERGES/u), []);
    await set(1);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    await proved();
    assert.equal(ground.statements(marks, /^\s*SYSTEM START MERGES/u).length, 2);
  });

  it('are told again to stop their merges when the server of the first starts again, while another is not restored yet', async () => {
    ground = await Ground.on('zc_forgets');
    await ground.seed([onBlobs(ground.database, 'many', 5)], { replicate: true });
    [before, files] = [await ground.oracle(), blobsOf(ground)];
    const [first = assert.fail(), second = assert.fail()] = ground.hosts;
    let away = false;
    const proxy = await ProxyHost.before(second.url, ({ text, response }) => {
      away ||= text.startsWith('SYSTEM RESTORE REPLICA');
      if (!away) return undefined;
      response.destroy();
      return TAKEN;
    });
    try {
      ground.worker();
      const marks = ground.marks();
      const started = await ground.cli('start', ground.spec((document) => {
        inPlace(document);
        hostAt(1, proxy.url)(document);
      }), '--execute');
      assert.equal(started.code, 0, started.stdout + started.stderr);
      await eventually(() => away, 'the second is to be restored');
      assert.deepEqual(ground.statements(marks, /^SYSTEM RESTORE REPLICA/u).map(({ host }) => host), [first.name]);
      await killPart(ground.up.dir, first.name);
      await startPart(ground.up.dir, first.name);
      const since = ground.marks();
      await statementSeen(ground, since, /^SYSTEM STOP MERGES .*`many`/u, first.name);
      proxy.script = () => undefined;
      assert.equal(await finish(ground), 'completed');
      await proved();
    } finally {
      await proxy.close();
    }
  });
});
