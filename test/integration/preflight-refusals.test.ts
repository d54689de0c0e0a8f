import assert from 'node:assert/strict';
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';

import { codes, planned, words } from '../support/findings';
import { editRows, ProxyHost, type ProxyScript, TAKEN } from '../support/proxy-host';
import { Ground, hostAt, inPlace, pause, run, type SpecDocument, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

/** Each test has tables of its own in the ground's database, and selects only them; nothing moves, so nothing is stranded. */
describe('preflight refuses what the engine shows', function () {
  this.timeout(600_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('refusals');
    await ground.onEach(`CREATE DATABASE \`${ground.database}\``);
  });

  after(async () => {
    await ground.end();
  });

  const only = (...tables: string[]) => (document: SpecDocument): void => {
    inPlace(document);
    document['preflight'] = { wait: '500ms' };
    document.tables = { include: tables.map((table) => (table.includes('.') ? table : `${ground.database}.${table}`)) };
  };

  /** Two replicas of one table, two rows in two parts on each. */
  async function replicated(table: string, path = `/clickhouse/${ground.id}/${table}`, settings = ''): Promise<void> {
    for (const { url, replica } of ground.hosts) {
      await run(url, `CREATE TABLE \`${ground.database}\`.\`${table}\` (p UInt8, x UInt64) ENGINE = ReplicatedMergeTree('${path}', '${replica}') PARTITION BY p ORDER BY x${settings}`);
    }
    await run(ground.firstHost.url, `INSERT INTO \`${ground.database}\`.\`${table}\` VALUES (1, 1), (2, 2)`);
    await ground.onEach(`SYSTEM SYNC REPLICA \`${ground.database}\`.\`${table}\``);
  }

  const secondUrl = (): string => ground.hosts[1]?.url ?? '';

  it('a replica that lags and a queue; a run waits for them, and goes on', async () => {
    await replicated('lag');
    const name = `\`${ground.database}\`.\`lag\``;
    assert.deepEqual((await planned(ground, only('lag'))).refusals, []);
    await run(secondUrl(), `SYSTEM STOP PULLING REPLICATION LOG ${name}`);
    await run(ground.firstHost.url, `INSERT INTO ${name} VALUES (3, 3)`);
    const lagging = await planned(ground, only('lag'));
    assert.deepEqual(words(lagging.refusals), ['REPLICAS_DIFFER lag', 'REPLICA_LAGS lag']);
    assert.match(lagging.refusals.find(({ code }) => code === 'REPLICAS_DIFFER')?.message ?? '', /2 parts, 2 rows/u);

    await run(secondUrl(), `SYSTEM STOP FETCHES ${name}`, `SYSTEM START PULLING REPLICATION LOG ${name}`);
    await pause(1_000);
    const queued = await planned(ground, only('lag'));
    assert.ok(queued.refusals.some(({ code, host, table, message }) => code === 'QUEUE' && host === ground.hosts[1]?.name && table === 'lag' && message.startsWith('1 ')), JSON.stringify(queued.refusals));

    ground.worker();
    const spec = ground.spec((document) => {
      only('lag')(document);
      document['pauseBefore'] = ['detach'];
      document['preflight'] = { wait: '90s' };
    });
    const started = ground.cli('start', spec, '--execute', '--watch', '--json');
    await ground.until(({ phase }) => phase === 'preflight', 'the preflight');
    await pause(2_000);
    assert.equal((await ground.status()).phase, 'preflight');
    await run(secondUrl(), `SYSTEM START FETCHES ${name}`);
    assert.equal((await started).code, 4, (await started).stdout);
    assert.equal((await ground.cli('abort', ground.id, '--watch', '--json')).code, 0);
  });

  it('a mutation that is not finished', async () => {
    await replicated('mutating');
    const name = `\`${ground.database}\`.\`mutating\``;
    await ground.onEach(`SYSTEM STOP MERGES ${name}`);
    await run(ground.firstHost.url, `ALTER TABLE ${name} UPDATE p = p WHERE 1 SETTINGS mutations_sync = 0`).catch(() => undefined);
    await run(ground.firstHost.url, `ALTER TABLE ${name} DELETE WHERE x = 1 SETTINGS mutations_sync = 0`);
    const { refusals } = await planned(ground, only('mutating'));
    const seen = refusals.filter(({ code, message }) => code === 'IN_FLIGHT' && message.includes('unfinished mutation'));
    assert.deepEqual(seen.map(({ host, table }) => [host, table]), ground.hosts.map(({ name: host }) => [host, 'mutating']), JSON.stringify(refusals));
    await ground.onEach(`SYSTEM START MERGES ${name}`);
  });

  it('parts that only one replica has', async () => {
    await replicated('differing');
    const name = `\`${ground.database}\`.\`differing\``;
    const [part] = await sql<{ name: string; path: string }>(secondUrl(), `SELECT name, path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 'differing' ORDER BY name LIMIT 1`);
    assert.ok(part !== undefined);
    // As after a disk that lost a part, and a server that was told to forget it.
    await run(secondUrl(), `DETACH TABLE ${name} SYNC`);
    const away = join(ground.dir, 'away');
    mkdirSync(away);
    renameSync(part.path.replace(/\/$/u, ''), join(away, part.name));
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}/clickhouse/${ground.id}/differing/replicas/${ground.hosts[1]?.replica ?? ''}/parts/${part.name}`));
    await run(secondUrl(), `ATTACH TABLE ${name}`);
    const { refusals } = await planned(ground, only('differing'));
    assert.deepEqual(words(refusals), ['REPLICAS_DIFFER differing', 'REPLICA_LAGS differing']);
    const message = refusals.find(({ code }) => code === 'REPLICAS_DIFFER')?.message ?? '';
    assert.ok(message.includes(`${ground.firstHost.name} has 2 parts, 2 rows`) && message.includes(`${ground.hosts[1]?.name ?? ''} has 1 parts, 1 rows`), message);
  });

  it('a ZooKeeper that holds the same tree, and is not the one that the server works with', async () => {
    await replicated('copied');
    const path = `/clickhouse/${ground.id}/copied`;
    const elsewhere = `/copy-${ground.id}`;
    const nodes = await withZooKeeper(ground.up, async (session) => {
      const entries = await session.listTree(`${ground.from}${path}`);
      for (const { path: node } of entries) {
        const copy = `${elsewhere}${node.slice(ground.from.length)}`;
        // What is ephemeral dies with its session: no copy has it.
        if (node.endsWith('/is_active')) continue;
        await session.ensurePath(copy);
        await session.set(copy, (await session.get(node))?.data ?? '');
      }
      return entries.length;
    });
    assert.ok(nodes > 20, String(nodes));
    const there = (document: SpecDocument): void => {
      only('copied')(document);
      document.zookeeper['root'] = elsewhere;
    };
    const dead = await planned(ground, there);
    assert.deepEqual(words(dead.refusals), ['OTHER_ZOOKEEPER copied']);
    assert.ok(dead.refusals.every(({ message, fix }) => message.includes('is_active') && fix.endsWith('zookeeper.connect and zookeeper.root')), JSON.stringify(dead.refusals));
    // Another cluster's, alive.
    await withZooKeeper(ground.up, async (session) => {
      for (const { replica } of ground.hosts) {
        const node = `${elsewhere}${path}/replicas/${replica}/is_active`;
        await session.ensurePath(node);
        await session.set(node, "UUID_'11111111-2222-3333-4444-555555555555'");
      }
    });
    const other = await planned(ground, there);
    assert.deepEqual(words(other.refusals), ['OTHER_ZOOKEEPER copied']);
    assert.ok(other.refusals.every(({ message }) => message.includes('11111111-2222-3333-4444-555555555555')), JSON.stringify(other.refusals));
  });

  it('a replica that its server would restore by itself', async () => {
    await replicated('forced');
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${ground.from}/clickhouse/${ground.id}/forced/replicas/${ground.firstHost.replica}/flags/force_restore_data`));
    const { refusals } = await planned(ground, only('forced'));
    assert.deepEqual(refusals.map(({ code, host, table }) => [code, host, table]), [['FORCE_RESTORE', ground.firstHost.name, 'forced']]);
  });

  it('paths and names that two tables share, a shallow path, and one that holds another table', async () => {
    const { url } = ground.firstHost;
    const create = (database: string, table: string, path: string, replica: string): string =>
      `CREATE TABLE \`${database}\`.\`${table}\` (x UInt8) ENGINE = ReplicatedMergeTree('${path}', '${replica}') ORDER BY x`;
    const base = `/clickhouse/${ground.id}`;
    await run(url, create(ground.database, 'twin 1', `${base}/twins`, 'a'), create(ground.database, 'twin 2', `${base}/twins`, 'b'));
    await run(url, create(ground.database, 'outer', `${base}/outer`, 'a'), create(ground.database, 'below', `${base}/outer/inner`, 'a'));
    await run(url, create(ground.database, 'shallow', `/shallow-${ground.id}`, 'a'));
    await run(url, `CREATE DATABASE \`${ground.database}.x\``, create(`${ground.database}.x`, 'y', `${base}/y1`, 'a'), create(ground.database, 'x.y', `${base}/y2`, 'a'));
    const { refusals } = await planned(ground, only('twin*', 'below', 'outer', 'shallow', `${ground.database}.x.y`));
    for (const one of ['PATH_SHARED twin 1', 'PATH_SHARED twin 2', 'PATH_CONTAINS_OTHER outer', 'UNSAFE_PATH outer', 'UNSAFE_PATH shallow']) {
      assert.ok(words(refusals).includes(one), `${one}: ${words(refusals).join('; ')}`);
    }
    const shared = refusals.filter(({ code }) => code === 'NAME_SHARED');
    assert.equal(shared.length, 1);
    assert.ok(shared[0]?.message.includes(`table "y" in database "${ground.database}.x"`));

    // A path that the selection takes only half of.
    const half = await planned(ground, only('twin 1'));
    assert.ok(half.refusals.some(({ code, message }) => code === 'REPLICA_NOT_SELECTED' && message.includes(`${ground.database}.twin 2`)), JSON.stringify(half.refusals));

    // Somebody took away a part of it: that is said, and what is left may be deleted, as long as nothing else is there.
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${base}/y2/columns`));
    assert.ok(words((await planned(ground, only('*y'))).warnings).includes('METADATA_LOST x.y'));
    await withZooKeeper(ground.up, (session) => session.create(`${ground.from}${base}/y2/somebody else's`, ''));
    assert.ok(words((await planned(ground, only('*y'))).refusals).includes('UNSAFE_PATH x.y'));
  });

  it('zero-copy locks that cannot be followed, carried or trusted', async () => {
    const settings = (more = ''): string => ` SETTINGS storage_policy = 'object_storage'${more}`;
    await replicated('macro', undefined, settings(", remote_fs_zero_copy_zookeeper_path = '/clickhouse/{shard}/zero_copy'"));
    assert.deepEqual(words((await planned(ground, only('macro'))).refusals), ['ZERO_COPY_LOCK_ROOT macro']);

    await replicated('locked', undefined, settings());
    assert.deepEqual(await planned(ground, only('locked')).then(({ refusals, warnings }) => [refusals, warnings]), [[], []]);
    const elsewhere = await planned(ground, (document) => {
      only('locked')(document);
      document.zookeeper['after'] = { path: '/elsewhere/{database}/{table}' };
    });
    assert.deepEqual(elsewhere.refusals.filter(({ code }) => code === 'ZERO_COPY_PATH').map(({ host, table }) => [host, table]), ground.hosts.map(({ name }) => [name, 'locked']));

    const [row] = await sql<{ id: string }>(ground.firstHost.url, `SELECT toString(uuid) AS id FROM system.tables WHERE database = '${ground.database}' AND name = 'locked'`);
    const locks = `/clickhouse/zero_copy/zero_copy_local_blob_storage/${row?.id ?? ''}`;
    const taken = `/taken-${ground.id}`;
    await withZooKeeper(ground.up, async (session) => {
      const own = (await session.listTree(`${ground.from}${locks}`)).map(({ path }) => path).filter((path) => path.endsWith(`/${ground.firstHost.replica}`));
      assert.equal(own.length, 2);
      await session.ensurePath(`${taken}${own[0]?.slice(ground.from.length) ?? ''}`);
      await session.delete(own[1] ?? '');
    });
    const moving = await planned(ground, (document) => {
      only('locked')(document);
      document.zookeeper['after'] = { root: taken };
    });
    // The one that has lost its lock could not meet it there.
    assert.deepEqual(moving.refusals.filter(({ code }) => code === 'ZERO_COPY_TARGET').map(({ host, table }) => [host, table]), [[ground.firstHost.name, 'locked']]);
    const unlocked = await planned(ground, only('locked'));
    assert.deepEqual([words(unlocked.refusals), unlocked.warnings.map(({ code, host }) => [code, host])], [[], [['ZERO_COPY_UNLOCKED', ground.firstHost.name]]]);

    await ground.onEach(`ALTER TABLE \`${ground.database}\`.\`locked\` MODIFY SETTING allow_remote_fs_zero_copy_replication = 0`);
    const off = await planned(ground, only('locked'));
    assert.deepEqual(off.refusals.map(({ code, host }) => [code, host]), ground.hosts.map(({ name }) => ['ZERO_COPY_OFF', name]));
  });

  it('a temporary table: the server makes no replicated one', async () => {
    await assert.rejects(run(ground.firstHost.url, "CREATE TEMPORARY TABLE t (x UInt8) ENGINE = ReplicatedMergeTree('/clickhouse/temporary/t', 'a') ORDER BY x"), /Temporary tables cannot be created/u);
  });

  it('nothing for what reads from or writes into a table: that is a warning with its name', async () => {
    await replicated("used ' here", `/clickhouse/${ground.id}/used`);
    const { url, name: host } = ground.firstHost;
    const db = `\`${ground.database}\``;
    const used = `${db}.\`used ' here\``;
    await run(
      url,
      `CREATE MATERIALIZED VIEW ${db}.reading ENGINE = Memory AS SELECT x FROM ${used}`,
      `CREATE MATERIALIZED VIEW ${db}.writing TO ${used} AS SELECT toUInt8(x) AS p, x FROM ${db}.reading`,
      `CREATE TABLE ${db}.buffered AS ${used} ENGINE = Buffer('${ground.database}', 'used \\' here', 1, 1, 1, 1, 1, 1, 1)`,
      `CREATE TABLE ${db}.kafka (p UInt8, x UInt64) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'JSONEachRow')`,
      `CREATE MATERIALIZED VIEW ${db}.feeding TO ${used} AS SELECT p, x FROM ${db}.kafka`,
      `CREATE DICTIONARY ${db}.words (x UInt64, p UInt8) PRIMARY KEY x SOURCE(CLICKHOUSE(DB '${ground.database}' TABLE 'used \\' here')) LAYOUT(FLAT()) LIFETIME(0)`,
      `CREATE MATERIALIZED VIEW ${db}.keeping ENGINE = ReplicatedMergeTree('/clickhouse/${ground.id}/inner', 'a') ORDER BY x AS SELECT x FROM ${used}`,
    );
    const { refusals, warnings } = await planned(ground, only("used ' here"));
    assert.deepEqual(refusals, []);
    const namedBy = (found: typeof warnings): (string | undefined)[] =>
      found.filter((warning) => warning.code === 'DEPENDENT' && warning.host === host).map(({ message }) => / \S+?\.(\w+ (?:reads|feeds))/u.exec(message.replace(ground.database, 'db'))?.[1]).sort();
    assert.deepEqual(namedBy(warnings), ['buffered reads', 'feeding reads', 'kafka feeds', 'keeping reads', 'reading reads', 'words reads', 'writing reads']);
    // Its own rows are in a table that its query does not name.
    const [inner] = await sql<{ name: string }>(url, `SELECT name FROM system.tables WHERE database = '${ground.database}' AND startsWith(name, '.inner') AND engine = 'ReplicatedMergeTree'`);
    assert.deepEqual(namedBy((await planned(ground, only(`${ground.database}.${inner?.name ?? ''}`))).warnings), ['keeping reads']);
    await run(url, `DROP TABLE ${db}.keeping SYNC`, `DROP TABLE ${db}.feeding SYNC`, `DROP TABLE ${db}.kafka SYNC`);
  });

  it('a variable with the digest for ZooKeeper that the worker lacks', async () => {
    const { refusals } = await planned(ground, (document) => {
      inPlace(document);
      document.zookeeper['digestEnv'] = 'CH_ZK_MIGRATE_NOT_SET';
    });
    assert.ok(refusals.some(({ code, message }) => code === 'MISSING_VARIABLE' && message.includes('CH_ZK_MIGRATE_NOT_SET')), JSON.stringify(refusals));
    assert.ok(!refusals.some(({ code }) => code === 'ZOOKEEPER_UNAVAILABLE'), JSON.stringify(refusals));
  });

  it('a path in an ensemble that the spec does not name', async () => {
    const { name: zk2, root } = ground.up.zookeeper.auxiliary;
    await withZooKeeper(ground.up, (session) => session.ensurePath(root));
    await replicated('elsewhere', `${zk2}:/clickhouse/${ground.id}/elsewhere`);
    const { refusals } = await planned(ground, only('elsewhere'));
    assert.deepEqual([...new Set(words(refusals))], ['AUXILIARY_UNKNOWN elsewhere']);
    assert.ok(refusals.every(({ fix }) => fix.includes(`zookeeper.auxiliary.${zk2}`)), JSON.stringify(refusals));
    const named = await planned(ground, (document) => {
      only('elsewhere')(document);
      document.zookeeper['auxiliary'] = { [zk2]: { connect: ground.up.zookeeper.connect, root } };
    });
    assert.deepEqual(words(named.refusals), []);
    // Nobody listens there: found with everything else, and not when its tables' turn has come.
    const silent = await planned(ground, (document) => {
      only('elsewhere')(document);
      document.zookeeper['auxiliary'] = { [zk2]: { connect: '127.0.0.1:1', root } };
    });
    assert.deepEqual(words(silent.refusals), ['ZOOKEEPER_UNAVAILABLE']);
    assert.ok(silent.refusals.every(({ fix }) => fix.includes('127.0.0.1:1')), JSON.stringify(silent.refusals));
    const wrong = await planned(ground, (document) => {
      only('elsewhere')(document);
      document.zookeeper['auxiliary'] = { [zk2]: { connect: ground.up.zookeeper.connect, root: `${root}/nowhere` } };
    });
    assert.deepEqual(words(wrong.refusals), ['ROOT_MISSING']);
    assert.ok(wrong.refusals.every(({ fix }) => fix.includes(`zookeeper.auxiliary.${zk2}.root`)), JSON.stringify(wrong.refusals));
  });

  it('replicas that differ where the metadata is lost: a warning, for nobody can make them equal any more', async () => {
    await replicated('lost');
    const name = `\`${ground.database}\`.\`lost\``;
    await ground.onEach(`DETACH TABLE ${name} SYNC`);
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}/clickhouse/${ground.id}/lost`));
    await ground.onEach(`ATTACH TABLE ${name}`);
    const equal = await planned(ground, only('lost'));
    assert.deepEqual([words(equal.refusals), words(equal.warnings)], [[], ['METADATA_LOST lost']]);
    const [part] = await sql<{ path: string }>(secondUrl(), `SELECT path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 'lost' ORDER BY name LIMIT 1`);
    await run(secondUrl(), `DETACH TABLE ${name} SYNC`);
    renameSync((part?.path ?? '').replace(/\/$/u, ''), join(ground.dir, 'lost part'));
    await run(secondUrl(), `ATTACH TABLE ${name}`);
    const found = await planned(ground, only('lost'));
    assert.deepEqual([words(found.refusals), words(found.warnings)], [[], ['METADATA_LOST lost', 'REPLICAS_DIFFER lost']]);
  });

  /** Not to be had from the embedded engine: the real host's answers, changed on the way. */
  describe('and what only another server shows (a scripted host before the real one)', () => {
    async function through(script: ProxyScript, table: string, change: (document: SpecDocument) => void = () => undefined): Promise<string[]> {
      const proxy = await ProxyHost.before(ground.firstHost.url, script);
      try {
        const { refusals, warnings } = await planned(ground, (document) => {
          only(table)(document);
          change(document);
          hostAt(0, proxy.url)(document);
        });
        return codes([...refusals, ...warnings]);
      } finally {
        await proxy.close();
      }
    }

    before(() => replicated('plain'));

    const lists = 'FROM system.replicas WHERE database != ';
    for (const [what, code, change] of [
      ['a database of the Replicated engine', 'REPLICATED_DATABASE', { database_engine: 'Replicated' }],
      ['a database engine that cannot detach a table', 'DATABASE_ENGINE', { database_engine: 'MaterializedPostgreSQL' }],
      ['a replica without a ZooKeeper session', 'SESSION_EXPIRED', { is_session_expired: 1, zookeeper_exception: 'Session expired' }],
    ] as const) {
      it(what, async () => {
        const codes = await through(async (statement) => (statement.text.includes(lists) ? editRows(statement, (row) => Object.assign(row, row['table'] === 'plain' ? change : {})) : undefined), 'plain');
        assert.ok(codes.includes(code), codes.join(' '));
      });
    }

    it('a dictionary of the configuration file that reads from it: a warning', async () => {
      const of = (table: string): Promise<string[]> =>
        through(async (statement) => {
          if (!statement.text.includes('FROM system.dictionaries')) return undefined;
          return JSON.stringify({ data: [{ name: 'prices', source: `ClickHouse: ${ground.database}.${table}` }], rows: 1 });
        }, 'plain');
      assert.deepEqual([await of('plain'), await of('plain, where: x > 1'), await of('plain too')], [['DEPENDENT'], ['DEPENDENT'], []]);
    });

    for (const kind of ['merge', 'fetch']) {
      it(`a ${kind} that takes longer than it waits`, async () => {
        const item = { database: ground.database, table: 'plain', kind, id: '1_0_1_1', n: '1' };
        const codes = await through(async (statement) => (statement.text.includes('FROM system.merges') ? JSON.stringify({ data: [item], rows: 1 }) : undefined), 'plain');
        assert.deepEqual(codes, ['IN_FLIGHT']);
      });
    }

    it('but not merges of which each ends, however many begin', async () => {
      let n = 0;
      const codes = await through(async (statement) => {
        if (!statement.text.includes('FROM system.merges')) return undefined;
        n += 1;
        return JSON.stringify({ data: [{ database: ground.database, table: 'plain', kind: 'merge', id: `1_0_${n}_1`, n: '1' }], rows: 1 });
      }, 'plain');
      assert.deepEqual(codes, []);
    });

    it('a zero-copy table on 25.12, which deletes shared blobs; on one before 25.1, which deletes those without a lock, it is a warning', async () => {
      await replicated('blobs', undefined, " SETTINGS storage_policy = 'object_storage'");
      const version = (is: string): Promise<string[]> =>
        through(async (statement) => (statement.text.startsWith('SELECT version()') ? editRows(statement, (row) => Object.assign(row, { version: is })) : undefined), 'blobs');
      assert.deepEqual([await version('26.7.2.1'), await version('25.12.5.44'), await version('24.8.3.59')], [[], ['ZERO_COPY_VERSION'], ['ZERO_COPY_OLD']]);
    });

    /** Answers as a server does that refuses these statements. */
    const refusing = (pattern: RegExp, status: number, code: number, text: string): ProxyScript => ({ text: sent, response }) => {
      if (!pattern.test(sent)) return undefined;
      response.writeHead(status, { 'x-clickhouse-exception-code': String(code) });
      response.end(`Code: ${code}. DB::Exception: ${text}`);
      return TAKEN;
    };

    it('a server that refuses a query of the preflight, whatever it said of the rights', async () => {
      const codes = await through(refusing(/FROM system\.replicas/u, 403, 497, 'nobody: Not enough privileges. (ACCESS_DENIED)'), 'plain');
      assert.ok(codes.includes('ACCESS_DENIED'), codes.join(' '));
    });

    it('another path, on a server that does not know the statement for it', async () => {
      const codes = await through(refusing(/AS NOT REPLICATED/u, 400, 62, 'Syntax error: failed at position 17. (SYNTAX_ERROR)'), 'plain', (document) => {
        document.zookeeper['after'] = { path: '/elsewhere/{database}/{table}' };
      });
      assert.ok(codes.includes('PATH_UNSUPPORTED'), codes.join(' '));
    });

    it('nothing for a Distributed table over it: a warning with its name (the embedded hosts know no cluster)', async () => {
      const spread = { database: 'd', table: 'spread', engine: 'Distributed', query: `CREATE TABLE d.spread (x UInt8) ENGINE = Distributed('c', '${ground.database}', 'plain')`, deps: [] };
      const codes = await through(async (statement) => (statement.text.includes('loading_dependencies_database') ? JSON.stringify({ data: [spread], rows: 1 }) : undefined), 'plain');
      assert.deepEqual(codes, ['DEPENDENT']);
    });

    it('a server that cannot be asked for rights: a warning', async () => {
      // Its grants cannot be read either.
      const codes = await through(refusing(/^CHECK GRANT|FROM system\.grants/u, 400, 62, 'Syntax error: failed at position 7. (SYNTAX_ERROR)'), 'plain');
      assert.deepEqual(codes, ['GRANTS_UNKNOWN']);
    });
  });
});
