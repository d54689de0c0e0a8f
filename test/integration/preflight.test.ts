import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import type { Finding } from '../../src/domain/summary';
import { codes, planned } from '../support/findings';
import { ProxyHost } from '../support/proxy-host';
import { client, Ground, hostAt, inPlace, run, someTables, type SpecDocument, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

/** A server that is none of ClickHouse's. */
async function listen(answer: Parameters<typeof createServer>[1]): Promise<{ url: string; server: Server }> {
  const server = createServer(answer as never);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
}

describe('preflight refuses', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('preflight');
    await ground.seed(someTables(ground.database, 2));
  });

  after(async () => {
    await ground.end();
  });

  async function refusals(change: (document: SpecDocument) => void): Promise<Finding[]> {
    const { refusals: found } = await planned(ground, change);
    assert.ok(found.length > 0);
    return found;
  }

  it('nothing where nothing is wrong; a new root that does not exist yet is a warning, and one that does is none', async () => {
    const warned = async (): Promise<string[]> => {
      const done = await ground.cli('plan', ground.spec(), '--json');
      assert.equal(done.code, 0, done.stdout);
      return (JSON.parse(done.stdout) as { warnings: Finding[] }).warnings.map(({ code, message }) => `${code} ${String(message.includes(ground.root))}`);
    };
    assert.deepEqual(await warned(), ['ROOT_TO_COME true']);
    await withZooKeeper(ground.up, (session) => session.ensurePath(ground.root));
    assert.deepEqual(await warned(), []);
  });

  it('a variable of the spec that is not set', async () => {
    const found = await refusals((document) => (document.clickhouse.passwordEnv = 'CH_ZK_MIGRATE_NOT_SET'));
    assert.deepEqual(found.map(({ code, host }) => [code, host]), ground.hosts.map(({ name }) => ['MISSING_VARIABLE', name]));
    assert.ok(found.every(({ message, fix }) => `${message} ${fix}`.includes('CH_ZK_MIGRATE_NOT_SET')));
  });

  it('a host that is down, by its name', async () => {
    const dead = await listen(() => undefined);
    await stop(dead.server);
    const found = await refusals(hostAt(1, dead.url));
    assert.ok(found.some(({ code, host }) => code === 'HOST_UNREACHABLE' && host === ground.hosts[1]?.name), JSON.stringify(found));
  });

  it('something else that answers on its port', async () => {
    const other = await listen((_request, response) => response.end('<html>It works!</html>'));
    const found = await refusals(hostAt(1, other.url)).finally(() => stop(other.server));
    assert.ok(found.some(({ code, host }) => code === 'HOST_UNREACHABLE' && host === ground.hosts[1]?.name), JSON.stringify(found));
  });

  it('something that answers in JSON, but not as ClickHouse does', async () => {
    const other = await listen((_request, response) => response.end('{"data":[{"version":"26.7.2.1"}],"rows":2}'));
    const found = await refusals(hostAt(1, other.url)).finally(() => stop(other.server));
    assert.ok(found.some(({ code, host }) => code === 'HOST_UNREACHABLE' && host === ground.hosts[1]?.name), JSON.stringify(found));
  });

  it('a host that answers half a response', async () => {
    const half = await listen((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"meta":[],"data":[{"version":"26.7.2.1"}],"ro');
      setTimeout(() => response.destroy(), 50);
    });
    const found = await refusals(hostAt(1, half.url)).finally(() => stop(half.server));
    assert.ok(found.some(({ code, host }) => code === 'HOST_UNREACHABLE' && host === ground.hosts[1]?.name), JSON.stringify(found));
  });

  it('a server that is older than RESTORE REPLICA', async () => {
    const old = await listen((_request, response) => response.end('{"meta":[],"data":[{"version":"18.16.1"}],"rows":1}'));
    const found = await refusals(hostAt(1, old.url)).finally(() => stop(old.server));
    assert.ok(found.some(({ code, message }) => code === 'TOO_OLD' && message.includes('18.16.1')), JSON.stringify(found));
  });

  it('a user that the server does not know', async () => {
    const found = await refusals((document) => (document.clickhouse.user = 'nobody_here'));
    assert.deepEqual(codes(found), ['AUTHENTICATION_FAILED']);
    assert.equal(found.length, 2);
  });

  it('a selection without any table', async () => {
    assert.deepEqual(codes(await refusals((document) => (document.tables = { include: ['nowhere.*'] }))).filter((code) => code !== 'STRANDED'), ['NO_TABLES']);
  });

  it('a root of today that does not exist', async () => {
    const found = await refusals((document) => (document.zookeeper['root'] = `/absent-${ground.id}`));
    assert.ok(codes(found).includes('ROOT_MISSING'), JSON.stringify(codes(found)));
  });

  it('a root that exists, but is not where the servers have their metadata', async () => {
    const elsewhere = `/elsewhere-${ground.id}`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(elsewhere));
    const found = await refusals((document) => (document.zookeeper['root'] = elsewhere));
    assert.deepEqual(codes(found), ['OTHER_ZOOKEEPER']);
  });

  it('a ZooKeeper that does not answer', async () => {
    const dead = await listen(() => undefined);
    await stop(dead.server);
    const found = await refusals((document) => (document.zookeeper['connect'] = dead.url.slice('http://'.length)));
    assert.ok(codes(found).includes('ZOOKEEPER_UNAVAILABLE'), JSON.stringify(codes(found)));
  });

  it('to strand a table: a host moves as a whole', async () => {
    const found = await refusals((document) => (document.tables = { exclude: [`${ground.database}.t1`] }));
    assert.deepEqual(codes(found), ['STRANDED']);
    assert.deepEqual(found.map(({ host, table }) => `${host} ${table ?? ''}`), ground.hosts.map(({ name }) => `${name} t1`));
  });

  it('to strand what else lives in ZooKeeper: a Replicated database, a Kafka table with its offsets; tables and access storage that the embedded engine cannot have (a scripted answer)', async () => {
    const kept = `kept ${ground.id}`;
    const offsets = `\`${ground.database}\`.\`offsets\``;
    await run(ground.firstHost.url, `CREATE DATABASE \`${kept}\` ENGINE = Replicated('/clickhouse/databases/${ground.id}', 's', 'r')`);
    const made = client(ground.firstHost.url);
    await made.command({
      query: `CREATE TABLE ${offsets} (x UInt64) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'JSONEachRow') SETTINGS kafka_keeper_path = '/clickhouse/${ground.id}/kafka', kafka_replica_name = 'r'`,
      clickhouse_settings: { allow_experimental_kafka_offsets_storage_in_keeper: 1 },
    });
    await made.close();
    const proxy = await ProxyHost.before(ground.hosts[1]?.url ?? '', ({ text }) => {
      if (text.includes('a table of the engine')) return Promise.resolve(JSON.stringify({ data: [{ what: 'a table of the engine KeeperMap', database: 'd', table: 'kv' }], rows: 1 }));
      if (text.includes('FROM system.user_directories')) return Promise.resolve(JSON.stringify({ data: [{ name: 'shared' }], rows: 1 }));
      return undefined;
    });
    try {
      const found = await refusals(hostAt(1, proxy.url));
      assert.deepEqual(codes(found), ['STRANDED']);
      assert.deepEqual(found.map(({ host, db = '', table = '', message }) => [host, db, table, /engine \w+|access storage "\w+"/u.exec(message)?.[0]]), [
        [ground.firstHost.name, ground.database, 'offsets', 'engine Kafka'],
        [ground.firstHost.name, kept, '', 'engine Replicated'],
        [ground.hosts[1]?.name, '', '', 'access storage "shared"'],
        [ground.hosts[1]?.name, 'd', 'kv', 'engine KeeperMap'],
      ]);
    } finally {
      await proxy.close();
      await run(ground.firstHost.url, `DROP DATABASE \`${kept}\` SYNC`, `DROP TABLE ${offsets} SYNC`);
    }
  });

  it('but does not strand what is left out of a migration in place', async () => {
    const done = await ground.cli('plan', ground.spec((document) => {
      inPlace(document);
      document.tables = { exclude: [`${ground.database}.t1`] };
    }), '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
  });

  it('a replica that lives on a host outside the spec', async () => {
    const found = await refusals((document) => document.clickhouse.hosts.pop());
    assert.deepEqual(codes(found), ['REPLICA_ACTIVE_ELSEWHERE']);
    assert.equal(found.length, 6);
    // Being told to go on without it does not help while it is active.
    const allowed = await ground.cli('plan', ground.spec((document) => document.clickhouse.hosts.pop()), '--json', '--allow-missing-replica', ground.hosts[1]?.replica ?? '');
    assert.equal(allowed.code, 3);
  });

  it('a part in detached/ with the name of an active one, and one that an ATTACH left behind', async () => {
    const table = { database: ground.database, table: 't0' };
    const [part] = await sql<{ name: string; path: string }>(ground.firstHost.url, `SELECT name, path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 't0' ORDER BY name LIMIT 1`);
    assert.ok(part !== undefined);
    const detached = join(part.path, '../detached');
    mkdirSync(detached, { recursive: true });
    cpSync(part.path, join(detached, part.name), { recursive: true });
    const found = await refusals(() => undefined);
    assert.deepEqual(codes(found), ['DETACHED_COLLISION']);
    assert.ok(found.every(({ host, db, table: name, message }) => host === ground.firstHost.name && db === table.database && name === 't0' && message.includes(part.name)));

    renameSync(join(detached, part.name), join(detached, `attaching_${part.name}`));
    assert.deepEqual(codes(await refusals(() => undefined)), ['DETACHED_ATTACHING']);

    // Under a name that no active part has it is nobody's business.
    renameSync(join(detached, `attaching_${part.name}`), join(detached, `broken_${part.name}`));
    assert.equal((await ground.cli('plan', ground.spec(), '--json')).code, 0);
    assert.deepEqual(readdirSync(detached), [`broken_${part.name}`]);
    await run(ground.firstHost.url, `ALTER TABLE ${quoteTable(table)} DROP DETACHED PART 'broken_${part.name}' SETTINGS allow_drop_detached = 1`);
  });

  it('a target that exists already', async () => {
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = 't0'`);
    const taken = `/taken-${ground.id}`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${taken}${row?.path ?? ''}`));
    const found = await refusals((document) => (document.zookeeper['after'] = { root: taken }));
    assert.deepEqual(codes(found), ['TARGET_EXISTS']);
    assert.ok(found.every(({ table }) => table === 't0'));
  });

  it('a path that holds something that no table has', async () => {
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = 't1'`);
    const strange = `${ground.from}${row?.path ?? ''}/of another`;
    await withZooKeeper(ground.up, async (session) => {
      for (const child of ['replicas', 'metadata', 'log']) await session.ensurePath(`${strange}/${child}`);
    });
    const found = await refusals(() => undefined).finally(() => withZooKeeper(ground.up, (session) => session.deleteTree(strange)));
    assert.deepEqual(codes(found), ['UNSAFE_PATH']);
    assert.ok(found.every(({ table }) => table === 't1'));
  });

  it('an unknown migration, whatever is asked of it', async () => {
    for (const command of ['status', 'watch', 'abort', 'retry', 'pause', 'export']) {
      const done = await ground.cli(command, 'never-heard-of', '--json');
      assert.equal(done.code, 1, `${command}: ${done.stdout}`);
      assert.match(done.stdout, /"code": "NOT_FOUND"/u, command);
    }
  });

  it('every fault of a spec at once, before anything is contacted', async () => {
    const marks = ground.marks();
    const done = await ground.cli('plan', ground.spec((document) => {
      document['paralel'] = { detach: 1 };
      document.zookeeper['root'] = 5;
      document.clickhouse.hosts[1] = { ...document.clickhouse.hosts[0] };
    }), '--json');
    assert.equal(done.code, 2, done.stdout);
    const { error } = JSON.parse(done.stdout) as { error: { faults: { path: string; message: string }[] } };
    assert.ok(error.faults.length >= 3, done.stdout);
    assert.ok(error.faults.some(({ path, message }) => path === 'paralel' && message.includes('parallel')), done.stdout);
    assert.deepEqual(ground.statements(marks, /./u), []);
  });
});

describe('two migrations never hold the same replica', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('held');
    await ground.seed(someTables(ground.database, 1));
  });

  after(async () => {
    await ground.end();
  });

  it("refuses the second with the first one's id, also when the first one's worker is dead, and lets it in after the first is aborted", async () => {
    const before = await ground.oracle();
    const other = `${ground.id}-other`;
    const worker = ground.worker();
    const gated = ground.spec((document) => (document['pauseBefore'] = ['detach']));
    const first = await ground.cli('start', gated, '--execute', '--watch', '--json');
    assert.equal(first.code, 4, first.stdout + first.stderr);

    const twice = await ground.cli('start', gated, '--execute', '--json');
    assert.equal(twice.code, 1);
    assert.match(twice.stdout, /ALREADY_RUNNING/u);

    const own = await ground.json<{ warnings: Finding[] }>('plan', gated);
    assert.deepEqual(own.warnings.map(({ code }) => code).filter((code) => code !== 'ROOT_TO_COME'), ['ALREADY_BEGUN']);

    const refused = async (): Promise<void> => {
      const { refusals } = await planned(ground, (document) => (document.id = other));
      assert.ok(refusals.length > 0 && refusals.every(({ code, message }) => code === 'HELD' && message.includes(ground.id)), JSON.stringify(refusals));
    };
    await refused();
    const started = await ground.cli('start', ground.spec((document) => (document.id = other)), '--execute', '--watch', '--json');
    assert.equal(started.code, 3, started.stdout + started.stderr);
    assert.match(started.stdout, /"HELD"/u);

    worker.kill('SIGKILL');
    await worker;
    await refused();

    ground.worker();
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual((await planned(ground, (document) => (document.id = other))).refusals, []);
    assert.deepEqual(await ground.oracle(), before);
  });
});
