/** Replicated tables that somebody detached before the migration: no server lists them, and a move would leave their metadata behind. */
import assert from 'node:assert/strict';

import type { Finding } from '../../src/domain/summary';
import { codes, planned } from '../support/findings';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { Ground, hostAt, inPlace, run, someTables, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';
import { setAcl } from '../zookeeper/acl';

const WORLD = { scheme: 'world', auth: 'anyone' };

describe('a move strands no table that is detached', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('detached');
    await ground.seed(someTables(ground.database, 2).slice(0, 2));
  });

  after(async () => {
    await ground.end();
  });

  const name = (table: string, database = ground.database): string => `\`${database}\`.\`${table}\``;
  const names = (): string[] => ground.hosts.map((host) => host.name);
  const told = (findings: readonly Finding[]): string[] => findings.filter(({ code }) => code !== 'ROOT_TO_COME').map(({ code, host, table = '' }) => `${code} ${host} ${table}`);
  const onBoth = (what: string): string[] => names().map((host) => what.replace('HOST', host));

  async function create(table: string, path: string, database = ground.database): Promise<void> {
    await ground.onEach(`CREATE DATABASE IF NOT EXISTS \`${database}\``);
    for (const { url, replica } of ground.hosts) {
      await run(url, `CREATE TABLE ${name(table, database)} (x UInt64) ENGINE = ReplicatedMergeTree('${path}', '${replica}') ORDER BY x`);
    }
  }

  it('one that was detached on both hosts is refused with its path; not in place, and not once it is attached again', async () => {
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = 't1'`);
    const path = row?.path ?? assert.fail();
    assert.deepEqual(told((await planned(ground)).refusals), []);
    await ground.onEach(`DETACH TABLE ${name('t1')} PERMANENTLY SYNC`);

    const { refusals, warnings } = await planned(ground);
    assert.deepEqual([told(refusals), told(warnings)], [onBoth('STRANDED HOST t1'), []]);
    for (const [index, { host, message, fix, db }] of refusals.entries()) {
      const replica = ground.hosts[index]?.replica ?? '';
      assert.equal(db, ground.database);
      assert.ok(message.includes(host) && message.includes(`"${replica}" at ${ground.from}${path} `), message);
      assert.ok(fix.startsWith('ATTACH') && fix.includes(`SYSTEM DROP REPLICA '${replica}' FROM ZKPATH '${path}'`), fix);
    }
    assert.deepEqual(told((await planned(ground, inPlace)).refusals), []);

    // Given up by name; the server still says that something is detached.
    const allowed = await planned(ground, undefined, ...ground.hosts.flatMap(({ replica }) => ['--allow-missing-replica', replica]));
    assert.deepEqual([told(allowed.refusals), told(allowed.warnings)], [[], onBoth('DETACHED_TABLE HOST t1')]);

    await ground.onEach(`ATTACH TABLE ${name('t1')}`);
    const after = await planned(ground);
    assert.deepEqual([told(after.refusals), told(after.warnings)], [[], []]);
  });

  it('one on a server that cannot say what is detached is found in ZooKeeper; an error of the server is not taken for an answer', async () => {
    await ground.onEach(`DETACH TABLE ${name('t1')} PERMANENTLY SYNC`);
    let answer: readonly [code: number, text: string] = [48, 'Cannot get detached tables for DatabaseOverlay. (NOT_IMPLEMENTED)'];
    const proxy = await ProxyHost.before(ground.firstHost.url, ({ text, response }) => {
      if (!text.includes('FROM system.detached_tables')) return undefined;
      response.writeHead(500, { 'x-clickhouse-exception-code': String(answer[0]) });
      response.end(`Code: ${answer[0]}. DB::Exception: ${answer[1]}`);
      return TAKEN;
    });
    try {
      assert.deepEqual(told((await planned(ground, hostAt(0, proxy.url))).refusals), onBoth('STRANDED HOST t1'));
      answer = [60, 'Unknown table system.detached_tables. (UNKNOWN_TABLE)'];
      assert.deepEqual(told((await planned(ground, hostAt(0, proxy.url))).refusals), onBoth('STRANDED HOST t1'));
      answer = [241, 'Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)'];
      const failed = await ground.cli('plan', ground.spec(hostAt(0, proxy.url)), '--json');
      assert.equal(failed.code, 1, failed.stdout + failed.stderr);
      assert.match(failed.stdout, /code 241/u);
    } finally {
      await proxy.close();
      await ground.onEach(`ATTACH TABLE ${name('t1')}`);
    }
  });

  it('one that is alone in its database, near or far, and its refusal says how to give it up', async () => {
    const far = `far ${ground.id}`;
    await create('one', `/a-${ground.id}/${ground.database}/b/c/one`);
    await create('other', `/a-${ground.id}/${far}/b/c/other`, far);
    await create('near', `/clickhouse/tables/1/${far}/near`, far);
    await ground.onEach(`DETACH TABLE ${name('other', far)} PERMANENTLY SYNC`, `DETACH TABLE ${name('near', far)} PERMANENTLY SYNC`);
    const { refusals } = await planned(ground);
    assert.deepEqual(told(refusals), names().flatMap((host) => [`STRANDED ${host} near`, `STRANDED ${host} other`]));
    // What is said to do does it.
    for (const { fix } of refusals) await run(ground.firstHost.url, /SYSTEM DROP REPLICA .*$/u.exec(fix)?.[0] ?? assert.fail(fix));
    const given = await planned(ground);
    assert.deepEqual([told(given.refusals), told(given.warnings)], [[], names().flatMap((host) => [`DETACHED_TABLE ${host} near`, `DETACHED_TABLE ${host} other`])]);
    await ground.onEach(`DROP DATABASE \`${far}\` SYNC`, `DROP TABLE ${name('one')} SYNC`);
  });

  it('nothing for a plain table but its name, and nothing at all for a table that was dropped a moment ago', async () => {
    const disk = `files_${ground.id}`;
    await create('dropped', `/clickhouse/tables/1/${ground.database}/dropped`);
    // A database of this engine has no list of detached tables, and spoils that of all.
    await ground.onEach(`CREATE DATABASE ${disk} ENGINE = Filesystem('')`, `DROP TABLE ${name('dropped')}`, `CREATE TABLE ${name('plain')} (x UInt8) ENGINE = MergeTree ORDER BY x`, `DETACH TABLE ${name('plain')} PERMANENTLY SYNC`);
    const { refusals, warnings } = await planned(ground);
    assert.deepEqual([told(refusals), told(warnings)], [[], onBoth('DETACHED_TABLE HOST plain')]);
    assert.deepEqual(codes((await planned(ground, inPlace)).warnings), []);
    await ground.onEach(`ATTACH TABLE ${name('plain')}`, `DROP TABLE ${name('plain')} SYNC`, `DROP DATABASE ${disk}`);
  });

  it('a node beside its tables that may not be read: a warning names it', async () => {
    const node = `${ground.from}/clickhouse/tables/1/closed`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(node));
    await setAcl(ground.up.zookeeper.connect, node, [{ perm: 16, ...WORLD }]);
    const { refusals, warnings } = await planned(ground);
    await setAcl(ground.up.zookeeper.connect, node, [{ perm: 31, ...WORLD }]);
    await withZooKeeper(ground.up, (session) => session.deleteTree(node));
    assert.deepEqual([told(refusals), told(warnings)], [[], onBoth('NOT_SEARCHED HOST ')]);
    assert.ok(warnings.filter(({ code }) => code === 'NOT_SEARCHED').every(({ message }) => message.includes('/clickhouse/tables/1/closed')), JSON.stringify(warnings));
  });

  it('functions made in SQL: a warning, for they may be kept in ZooKeeper', async () => {
    const made = `f_${ground.id}`;
    await run(ground.firstHost.url, `CREATE FUNCTION ${made} AS (x) -> x + 1`);
    const { refusals, warnings } = await planned(ground).finally(() => run(ground.firstHost.url, `DROP FUNCTION ${made}`));
    assert.deepEqual([told(refusals), told(warnings)], [[], [`FUNCTIONS_STAY ${ground.firstHost.name} `]]);
    assert.ok(warnings.some(({ message }) => message.includes(made)));
  });
});

describe('of two shards whose hosts use the same replica names', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('shards', [1, 2]);
    await ground.onEach(`CREATE DATABASE \`${ground.database}\``);
    // As ON CLUSTER makes them: one uuid, a shard below it, and `r1`, `r2` in each.
    for (const table of ['t0', 't1']) {
      for (const { url, shard, name } of ground.hosts) {
        const replica = ground.hostsOfShard(shard)[0]?.name === name ? 'r1' : 'r2';
        await run(url, `CREATE TABLE \`${ground.database}\`.${table} (x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/${ground.id}/${table}/${shard}', '${replica}') ORDER BY x`);
      }
    }
  });

  after(async () => {
    await ground.end();
  });

  it('a detached replica is the one\'s that wrote its address, and nobody else\'s', async () => {
    const shard = ground.hostsOfShard(2);
    assert.deepEqual((await planned(ground)).refusals, []);
    for (const { url } of shard) await run(url, `DETACH TABLE \`${ground.database}\`.t1 PERMANENTLY SYNC`);
    const stranded = async (): Promise<string[]> => (await planned(ground)).refusals.map(({ code, host }) => `${code} ${host}`);
    assert.deepEqual(await stranded(), shard.map(({ name }) => `STRANDED ${name}`));

    // Never active, it has none: then the one is asked whose server says what is detached.
    await withZooKeeper(ground.up, async (session) => {
      for (const replica of ['r1', 'r2']) await session.set(`${ground.from}/clickhouse/${ground.id}/t1/2/replicas/${replica}/host`, '');
    });
    assert.deepEqual(await stranded(), shard.map(({ name }) => `STRANDED ${name}`));
    for (const { url } of shard) await run(url, `ATTACH TABLE \`${ground.database}\`.t1`);
    assert.deepEqual(await stranded(), []);
  });
});
