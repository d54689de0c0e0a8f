/**
 * Tables of two shards whose zero-copy locks lie under one shared id, as those that were made ON CLUSTER: what is done to one of them while
 * the other is attached.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { quoteTable } from '../../src/clickhouse/sql';
import { blobOfPath } from '../../src/domain/zero-copy';
import { eventually, Ground, pause, run, type SpecDocument, sql } from '../support/stack';
import { type ProxiedStatement, ProxyHost } from '../support/proxy-host';
import { blobsOf, inPlace, LOCK_ROOT, locksUnder, seedClustered } from '../support/zero-copy';
import { withZooKeeper } from '../support/zookeeper';
import { setAcl } from '../zookeeper/acl';

const READ_AND_ADMIN = 17;
const ALL = 31;
const ANYBODY = { scheme: 'world', auth: 'anyone' };

describe('zero-copy tables with one shared id in two shards', function () {
  this.timeout(600_000);
  let ground: Ground;
  let name: string;
  let uuid: string;
  let before: Record<string, string>;
  let proxies: ProxyHost[];
  let written: Set<number>;

  beforeEach(async () => {
    proxies = [];
    uuid = randomUUID();
    written = new Set();
    ground = await Ground.on('zc_sharers', [1, 2]);
    name = await seedClustered(ground, uuid);
    before = await ground.oracle();
    ground.worker();
  });

  afterEach(async () => {
    for (const proxy of proxies) await proxy.close();
    await ground.end();
  });

  it('one that goes back to catch up is waited for, and no lock is deleted while it is attached', async () => {
    let held: string[] | undefined;
    let after: string[] | undefined;
    const spec = ground.spec(await behindProxies({
      // Both differ once, so that each goes back; the second is held up until the first is detached again and would be cleaned.
      1: writesOnce(1),
      2: async (statement) => {
        await writesOnce(2)(statement);
        if (!statement.text.startsWith('SYSTEM SYNC REPLICA') || held !== undefined) return undefined;
        held = [];
        await eventually(async () => ground.statements({}, /^DETACH TABLE .*clustered/u).filter(({ host }) => host === hostOf(1, 0).name).length === 2, 'the second DETACH');
        await eventually(async () => !(await isAttached(1, 0)) && !(await isAttached(1, 1)), 'the first shard is detached');
        held = await locks();
        await pause(3_000);
        after = await locks();
        return undefined;
      },
    }));
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 0, started.stdout + started.stderr);
    assert.ok(held !== undefined && held.length > 4, 'no lock was looked at');
    assert.deepEqual(held.filter((lock) => after?.includes(lock) !== true), []);
    const { decisions } = await ground.json<{ decisions: { what: string }[] }>('status', ground.id);
    const waited = new RegExp(`^${ground.database}\\.clustered of ch-1, ch-2 waits: ch-3 ${ground.database}\\.clustered, whose zero-copy locks lie under the same id, goes back$`, 'u');
    assert.equal(decisions.filter(({ what }) => waited.test(what)).length, 1, JSON.stringify(decisions));
    for (const [shard, rows] of [[1, 15], [2, 25]] as const) {
      for (const index of [0, 1]) assert.deepEqual(await sql(hostOf(shard, index).url, `SELECT toUInt32(count()) AS n FROM ${name}`), [{ n: rows }]);
    }
    assert.equal((await locks()).length, 8);
  });

  it('one that would go back waits until the locks of the other are deleted', async () => {
    let attached: boolean | undefined;
    let looked = false;
    const spec = ground.spec(await behindProxies({
      1: async ({ text }) => {
        // Of what is asked after the DETACH this is the first in the clean phase.
        if (attached !== undefined || !text.includes("kind IN ('claimed', 'sealed', 'released')") || (await isAttached(1, 0))) return undefined;
        attached = false;
        await eventually(async () => (await ground.described()).summary.decisions.some(({ what }) => what.includes('goes back:')), 'the second shard goes back');
        await pause(3_000);
        attached = (await isAttached(2, 0)) || (await isAttached(2, 1));
        looked = true;
        return undefined;
      },
      2: async (statement) => {
        if (statement.text.startsWith('SYSTEM SYNC REPLICA')) await eventually(() => looked, 'it was looked whether it is attached');
        return writesOnce(2)(statement);
      },
    }));
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 0, started.stdout + started.stderr);
    assert.equal(attached, false);
    for (const [shard, rows] of [[1, 10], [2, 25]] as const) {
      for (const index of [0, 1]) assert.deepEqual(await sql(hostOf(shard, index).url, `SELECT toUInt32(count()) AS n FROM ${name}`), [{ n: rows }]);
    }
  });

  it('of which one was deleted half way and the other attached again by an abort: the next abort finishes it, and every table is attached', async () => {
    const [files, held] = [blobsOf(ground), await locks()];
    assert.equal(held.length, 4);
    const started = await ground.cli('start', ground.spec((document) => {
      inPlace(document);
      Object.assign(document, { pauseBefore: ['clean'], onFailure: 'continue' });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    // Of the first shard the nodes go and the locks stay; of the second nothing is deleted.
    const guarded = await aboveLocksOf(1);
    for (const node of guarded) await setAcl(ground.up.zookeeper.connect, node, [{ perm: READ_AND_ADMIN, ...ANYBODY }]);
    const stranger = `${await pathOf(2)}/replicas/stranger`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(stranger));
    await ground.cli('approve', ground.id, 'clean');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    assert.deepEqual(failed.failures.map(({ host, code }) => `${host} ${code}`).sort(), ['ch-1 ACCESS_DENIED', 'ch-3 REPLICA_LIVE'], JSON.stringify(failed.failures));

    const first = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(first.code, 1, first.stdout + first.stderr);
    assert.deepEqual([await isAttached(1, 0), await isAttached(2, 0), await isAttached(2, 1)], [false, true, true]);
    assert.deepEqual(await locks(), held);

    for (const node of guarded) await setAcl(ground.up.zookeeper.connect, node, [{ perm: ALL, ...ANYBODY }]);
    await withZooKeeper(ground.up, (session) => session.delete(stranger));
    const marks = ground.marks();
    const second = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(second.code, 0, second.stdout + second.stderr);
    const { outcome, counts } = await ground.status();
    assert.deepEqual([outcome, counts.INIT, counts.RESTORED], ['aborted', 2, 2]);
    assert.deepEqual(ground.statements(marks, /^(?:DETACH|ATTACH) TABLE .*clustered/u).filter(({ host }) => host === hostOf(2, 0).name).map(({ text }) => text.split(' ')[0]), ['DETACH', 'ATTACH']);
    assert.match((await ground.cli('report', ground.id)).stdout, /for its deletion to be finished, ch-3 .* was detached once more/u);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await locks(), held);
    assert.deepEqual([...files].filter(([file, size]) => blobsOf(ground).get(file) !== size), []);
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, "SELECT table FROM system.replicas WHERE is_readonly AND database != '_ch_zk_migrate'"), []);
  });

  it('one that was left out before it was detached is attached, and no lock of the other is deleted', async () => {
    const held = await locks();
    const renamed = quoteTable({ database: ground.database, table: 'renamed' });
    const second = [hostOf(2, 0).url, hostOf(2, 1).url];
    for (const url of second) await run(url, `RENAME TABLE ${name} TO ${renamed}`);
    before = await ground.oracle();
    const started = await ground.cli('start', ground.spec((document) => {
      inPlace(document);
      Object.assign(document, { pauseBefore: ['detach'] });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    for (const url of second) await run(url, `RENAME TABLE ${renamed} TO ${name}`);
    await ground.cli('approve', ground.id, 'detach');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    assert.deepEqual([...new Set(failed.failures.map(({ table, code }) => `${table} ${code}`))], ['renamed MANIFEST_MISSING'], JSON.stringify(failed.failures));
    for (const url of second) await run(url, `RENAME TABLE ${name} TO ${renamed}`);
    assert.equal((await ground.cli('retry', ground.id, '--skip', '*.renamed', '--watch')).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ table, code }) => `${table} ${code}`), ['clustered REPLICA_LIVE'], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', /renamed is attached, and its zero-copy locks lie under the same id/u);
    assert.deepEqual(await locks(), held);
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  function hostOf(shard: number, index: number): Ground['hosts'][number] {
    return ground.hostsOfShard(shard)[index] ?? assert.fail('no such host');
  }

  async function isAttached(shard: number, index: number): Promise<boolean> {
    return (await sql(hostOf(shard, index).url, `SELECT 1 FROM system.tables WHERE database = '${ground.database}' AND name = 'clustered'`)).length > 0;
  }

  /** Changes a spec: in place, each shard's first host behind a script. */
  async function behindProxies(scripts: Record<1 | 2, (statement: ProxiedStatement) => Promise<undefined>>): Promise<(document: SpecDocument) => void> {
    const urls = new Map<string, string>();
    for (const shard of [1, 2] as const) {
      const proxy = await ProxyHost.before(hostOf(shard, 0).url, scripts[shard]);
      proxies.push(proxy);
      urls.set(hostOf(shard, 0).name, proxy.url);
    }
    return (document) => {
      inPlace(document);
      document.clickhouse.hosts = document.clickhouse.hosts.map((host) => ({ ...host, url: urls.get(host['name'] as string) ?? host['url'] }));
    };
  }

  /** A writer that gets to the shard's first replica when the second is detached and the first is not yet. */
  function writesOnce(shard: number): (statement: ProxiedStatement) => Promise<undefined> {
    return async ({ text }) => {
      if (written.has(shard) || !text.startsWith(`DETACH TABLE ${name}`)) return undefined;
      written.add(shard);
      await eventually(async () => !(await isAttached(shard, 1)), 'the second replica is detached');
      await run(hostOf(shard, 0).url, `INSERT INTO ${name} SELECT number + 1000 FROM numbers(5)`);
      return undefined;
    };
  }

  async function locks(): Promise<string[]> {
    return withZooKeeper(ground.up, async (session) => (await locksUnder(session, ground.from)).filter(({ top }) => top === uuid).map((lock) => JSON.stringify(lock)).sort());
  }

  /** The nodes above the locks of a shard's parts, each with the blob that its first host names. */
  async function aboveLocksOf(shard: number): Promise<string[]> {
    const files = await sql<{ path: string }>(hostOf(shard, 0).url, "SELECT remote_path AS path FROM system.remote_data_paths WHERE endsWith(local_path, '/checksums.txt')");
    const blobs = files.map(({ path }) => blobOfPath(path));
    const found = await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from));
    const nodes = found.filter(({ top, blob }) => top === uuid && blobs.includes(blob)).map(({ top, part, blob }) => `${ground.from}${LOCK_ROOT}/${top}/${part}/${blob}`);
    assert.ok(nodes.length > 0);
    return [...new Set(nodes)];
  }

  async function pathOf(shard: number): Promise<string> {
    const [row] = await sql<{ path: string }>(hostOf(shard, 0).url, `SELECT zookeeper_path AS path FROM _ch_zk_migrate.inventory WHERE migration = '${ground.id}'`);
    return `${ground.from}${row?.path ?? assert.fail('not in the inventory')}`;
  }
});
