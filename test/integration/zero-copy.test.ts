import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import type { SeedTable } from '../../src/dev/seed';
import { locksOf, type ZeroCopyLock } from '../../src/domain/zero-copy';
import type { ZooKeeperSession } from '../../src/zookeeper/session';
import { Ground, inPlace, run, type SpecDocument, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

const ON_BLOBS = { storage_policy: 'object_storage' };
const LOCK_ROOT = '/clickhouse/zero_copy/zero_copy_local_blob_storage';

interface Plan {
  readonly hosts: readonly {
    readonly name: string;
    readonly tables: readonly {
      readonly db: string;
      readonly table: string;
      readonly statements: readonly string[];
      readonly zero_copy?: {
        readonly shared_id: string;
        readonly lock_root: string;
        readonly locks: number;
        readonly leaked_locks: number;
        readonly parts_without_lock: number;
        readonly shared_with: readonly string[];
        readonly attach: readonly string[];
      };
    }[];
  }[];
  readonly refusals: readonly { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
  readonly warnings: readonly { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
}

function onBlobs(database: string, name: string, parts: number, settings: Record<string, string | number> = {}): SeedTable {
  return {
    ...{ database, name, columns: 'p UInt8, x UInt64, note String', partitionBy: 'p', orderBy: 'x', settings: { ...ON_BLOBS, ...settings } },
    data: [{ select: `SELECT number % ${parts}, number, concat('n', toString(number)) FROM numbers(${parts * 40})` }],
  };
}

describe('zero-copy tables', function () {
  this.timeout(300_000);
  let ground: Ground;

  afterEach(async () => {
    await ground.end();
  });

  /** Every blob of the stack, by its path and size. */
  function blobs(): Map<string, number> {
    const dir = join(ground.up.dir, 'blobs');
    const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => join(dir, name));
    return new Map(names.filter((name) => statSync(name).isFile()).map((name) => [name, statSync(name).size]));
  }

  /** The blobs that the files of active parts name, by the server. */
  async function namedBlobs(): Promise<Set<string>> {
    const rows = await Promise.all(
      ground.hosts.map(({ url }) =>
        sql<{ blob: string }>(
          url,
          `SELECT remote_path AS blob FROM system.remote_data_paths WHERE arrayExists(part -> startsWith(path || local_path, part),
            (SELECT groupArray(path) FROM system.parts WHERE active AND disk_name = 'object_storage'))`,
        ),
      ),
    );
    const named = new Set(rows.flat().map(({ blob }) => blob));
    assert.ok(named.size > 0);
    return named;
  }

  async function locksUnder(session: ZooKeeperSession, root: string): Promise<ZeroCopyLock[]> {
    return (await session.listTree(`${root}${LOCK_ROOT}`)).flatMap(({ path }) => {
      const [id = '', part = '', blob = '', replica = ''] = path.slice(`${root}${LOCK_ROOT}/`.length).split('/');
      return replica === '' ? [] : [{ top: id, part, blob, replica, legacy: false }];
    });
  }

  /** Active parts on blobs that have no lock of their replica, under this root. */
  async function partsWithoutLock(root: string): Promise<string[]> {
    const locks = await withZooKeeper(ground.up, (session) => locksUnder(session, root));
    const lacking = await Promise.all(
      ground.hosts.map(async ({ name, url }) => {
        const parts = await sql<{ table: string; name: string; id: string }>(
          url,
          `SELECT p.table AS table, p.name AS name, toString(t.uuid) AS id FROM system.parts AS p
           INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table WHERE p.active AND p.disk_name = 'object_storage'`,
        );
        return parts
          .filter((part) => locksOf(locks, name, new Set([part.name])).every((lock) => lock.top !== part.id))
          .map((part) => `${name} ${part.table} ${part.name}`);
      }),
    );
    return lacking.flat();
  }

  async function idOf(table: string): Promise<string> {
    const [row] = await sql<{ id: string }>(ground.firstHost.url, `SELECT toString(uuid) AS id FROM system.tables WHERE database = '${ground.database}' AND name = '${table}'`);
    assert.ok(row !== undefined);
    return row.id;
  }

  const reattached = (document: SpecDocument): void => {
    inPlace(document);
    document.clickhouse.restart = { none: true };
  };

  it('go to another root with their blobs and with new locks, and no lock of anything else is touched', async () => {
    ground = await Ground.on('zc_move');
    await ground.seed([onBlobs(ground.database, 'shared', 4), onBlobs(ground.database, 'mutated', 2, { min_bytes_for_wide_part: 0, old_parts_lifetime: 100_000 })], { replicate: true });
    await ground.seed([onBlobs(ground.database, 'own', 3), { ...onBlobs(`other ${ground.database}`, 'shared', 2), settings: {} }]);
    await run(ground.firstHost.url, `ALTER TABLE ${quoteTable({ database: ground.database, table: 'mutated' })} UPDATE note = 'new' WHERE 1 SETTINGS mutations_sync = 2`);
    const id = await idOf('shared');
    // Locks of nobody: of a replica that is gone, of our own on a part that is no more, and of a table that is on no host.
    const others = [`${id}/0_0_0_0/of_another/gone-replica`, `${id}/9_9_9_0/leaked/ch-1`, 'of-another-table/0_0_0_0/blob/ch-1'].map((path) => `${ground.from}${LOCK_ROOT}/${path}`);
    const fence = (): Promise<string[]> =>
      withZooKeeper(ground.up, async (session) => Promise.all(others.map(async (path) => JSON.stringify(await session.exists(path)))));
    await withZooKeeper(ground.up, async (session) => {
      for (const path of others) await session.ensurePath(path);
    });
    const [before, filesBefore, fenceBefore] = [await ground.oracle(), blobs(), await fence()];

    const plan = await ground.json<Plan>('plan', ground.spec());
    assert.deepEqual(plan.refusals, [], JSON.stringify(plan).slice(0, 3_000));
    assert.deepEqual([...new Set(plan.warnings.map(({ code, table }) => `${code} ${table ?? ''}`))].sort(), ['ROOT_TO_COME ', 'ZERO_COPY_LEAKED shared', 'ZERO_COPY_OUTDATED mutated']);
    const planned = plan.hosts[0]?.tables.find(({ db, table }) => db === ground.database && table === 'shared');
    assert.deepEqual(planned?.zero_copy, {
      ...{ setting: 'server', disks: ['object_storage'], shared_id: id, lock_root: `${ground.from}/clickhouse/zero_copy` },
      ...{ locks: 4, legacy_locks: 0, parts_without_lock: 0, leaked_locks: 2, shared_with: [], attach: [] },
    });
    assert.ok(planned?.statements.some((text) => text.startsWith("SYSTEM STOP CLEANUP")), planned?.statements.join('\n'));
    assert.equal(plan.hosts[0]?.tables.find(({ db, table }) => db !== ground.database && table === 'shared')?.zero_copy, undefined);

    const marks = ground.marks();
    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    const files = blobs();
    assert.deepEqual([...filesBefore].filter(([name, size]) => files.get(name) !== size), []);
    assert.deepEqual([...(await namedBlobs())].filter((name) => !existsSync(name)), []);
    assert.deepEqual(await partsWithoutLock(ground.root), []);
    assert.deepEqual(await fence(), fenceBefore);
    const left = await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from));
    // What is left in the old root: the fence, and the locks of old parts, which protect the blobs they share.
    assert.deepEqual(left.filter(({ top }) => top === id).map(({ part }) => part).sort(), ['0_0_0_0', '9_9_9_0']);
    // Nothing merges, moves or is removed until the last replica of a table is proved.
    for (const { name } of ground.hosts) {
      const sent = ground.statements(marks, /^SYSTEM (RESTORE|START)/u).filter(({ host, text }) => host === name && text.endsWith(quoteTable({ database: ground.database, table: 'shared' }))).map(({ text }) => text.split('`')[0]?.trim());
      assert.deepEqual(sent, ['SYSTEM RESTORE REPLICA', 'SYSTEM START MERGES', 'SYSTEM START MOVES', 'SYSTEM START CLEANUP']);
    }
  });

  it('that the sequence of the reference broke are recognised by plan, and brought back by a run in place', async () => {
    ground = await Ground.on('zc_broken');
    await ground.seed([onBlobs(ground.database, 'shared', 3)], { replicate: true });
    await ground.seed([onBlobs(ground.database, 'own', 2), { ...onBlobs(`other ${ground.database}`, 'shared', 2), settings: {} }]);
    const before = await ground.oracle();
    const broken = ['shared', 'own'];
    for (const table of broken) {
      const name = quoteTable({ database: ground.database, table });
      const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = '${table}'`);
      for (const { url } of ground.hosts) await run(url, `DETACH TABLE ${name} SYNC`);
      await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${row?.path ?? ''}`));
      for (const { url } of ground.hosts) await run(url, `ATTACH TABLE ${name}`);
      const [first, ...rest] = ground.hosts;
      await assert.rejects(run(first?.url ?? '', `SYSTEM RESTORE REPLICA ${name}`), /Creating shared lock/u);
      for (const { url } of rest) await run(url, `SYSTEM RESTORE REPLICA ${name}`);
    }
    // What an operator detached, or a merge left, is none of the parts that are to come back.
    const spec = (document: SpecDocument): void => {
      reattached(document);
      document.tables = { disk: 'object_storage' };
    };
    const plan = await ground.json<Plan>('plan', ground.spec(spec));
    assert.deepEqual(plan.refusals, [], JSON.stringify(plan.refusals));
    const planned = plan.hosts.flatMap(({ name, tables }) => tables.map((one) => ({ ...one, host: name })));
    assert.deepEqual(planned.map(({ host, db, table }) => `${host} ${db === ground.database ? '' : db}${table}`).sort(), ['ch-1 own', 'ch-1 shared', 'ch-2 own', 'ch-2 shared']);
    assert.deepEqual(planned.find(({ host, table }) => host === 'ch-1' && table === 'shared')?.zero_copy?.attach, ['0_0_0_0', '1_0_0_0', '2_0_0_0']);
    assert.equal(plan.warnings.filter(({ code }) => code === 'ZERO_COPY_BROKEN').length, 4);

    const files = blobs();
    const done = await ground.cli('start', ground.spec(spec), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual([...files.keys()].filter((name) => !existsSync(name)), []);
    assert.deepEqual(await partsWithoutLock(ground.from), []);
    assert.deepEqual([...(await namedBlobs())].filter((name) => !existsSync(name)), []);
  });

  it('whose setting or blobs change on the way fail, by name, and are completed by retry once that is mended', async () => {
    ground = await Ground.on('zc_changed');
    await ground.seed([onBlobs(ground.database, 'setting', 2), onBlobs(ground.database, 'blob', 2), onBlobs(ground.database, 'good', 2)]);
    const before = await ground.oracle();
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    const table = { database: ground.database, table: 'setting' };
    const off = `ALTER TABLE ${quoteTable(table)} MODIFY SETTING allow_remote_fs_zero_copy_replication = 0`;
    await run(second.url, off);
    const refused = await ground.cli('plan', ground.spec(reattached), '--json');
    assert.equal(refused.code, 3, refused.stdout);
    assert.deepEqual((JSON.parse(refused.stdout) as Plan).refusals.map(({ code, host, table: name }) => `${code} ${host} ${name ?? ''}`), ['ZERO_COPY_DIFFERS ch-2 setting']);
    await run(second.url, off.replace(/0$/u, '1'));
    const [file] = await sql<{ path: string }>(second.url, `SELECT metadata_path AS path FROM system.tables WHERE database = '${ground.database}' AND name = 'setting'`);
    const metadata = join(second.dataDir, file?.path ?? '');
    /** As an operator who edits the configuration while the table is away: no ALTER is possible without its metadata. */
    const set = (from: number, to: number): void => {
      const text = readFileSync(metadata, 'utf8');
      assert.ok(text.includes(`zero_copy_replication = ${from}`), text);
      writeFileSync(metadata, text.replace(`zero_copy_replication = ${from}`, `zero_copy_replication = ${to}`));
    };

    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      reattached(document);
      Object.assign(document, { pauseBefore: ['restart', 'restore'], onFailure: 'continue' });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    set(1, 0);
    await ground.cli('approve', ground.id, 'restart');
    await ground.until(({ waitingFor }) => waitingFor?.gate === 'restore', 'the gate before restore');
    const [lost] = await sql<{ blob: string }>(
      first.url,
      `SELECT remote_path AS blob FROM system.remote_data_paths WHERE local_path LIKE '%/data.bin'
         AND arrayExists(part -> startsWith(path || local_path, part), (SELECT groupArray(path) FROM system.parts WHERE active AND table = 'blob'))`,
    );
    assert.ok(lost !== undefined);
    renameSync(lost.blob, `${lost.blob}.away`);
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ code, host, table }) => `${table} ${host} ${code}`).sort(), ['blob ch-1 PROOF_FAILED', 'setting ch-2 ZERO_COPY_CHANGED'], JSON.stringify(failures));
    renameSync(`${lost.blob}.away`, lost.blob);
    await run(second.url, `DETACH TABLE ${quoteTable(table)} SYNC`);
    set(0, 1);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await partsWithoutLock(ground.from), []);
  });

  it('with one shared id in two shards wait for each other, and keep each its own locks', async () => {
    ground = await Ground.on('zc_sharing', [1, 2]);
    const name = quoteTable({ database: ground.database, table: 'clustered' });
    const uuid = '01234567-89ab-4def-8123-456789abcdef';
    for (const [index, { url }] of ground.hosts.entries()) {
      await run(
        url,
        `CREATE DATABASE \`${ground.database}\``,
        // The replicas of both shards have the same names: only their blobs tell whose lock is whose.
        `CREATE TABLE ${name} UUID '${uuid}' (x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/${ground.id}', 'r${index % 2}') ORDER BY x
         SETTINGS storage_policy = 'object_storage', max_bytes_to_merge_at_max_space_in_pool = 1`,
      );
    }
    for (const shard of [1, 2]) {
      const [first, second] = ground.hostsOfShard(shard);
      await run(first?.url ?? '', `INSERT INTO ${name} SELECT number + ${shard} FROM numbers(${shard * 10})`);
      await run(second?.url ?? '', `SYSTEM SYNC REPLICA ${name}`);
    }
    const before = await ground.oracle();
    const alone = await ground.json<Plan>('plan', ground.spec((document) => {
      reattached(document);
      writeFileSync(join(ground.dir, 'first.yaml'), `- { host: ${ground.firstHost.name}, db: ${ground.database}, table: clustered }\n- { host: ${ground.hosts[1]?.name ?? ''}, db: ${ground.database}, table: clustered }\n`);
      document.tables = { from: 'first.yaml' };
    }));
    assert.deepEqual(alone.refusals.map(({ code, host }) => `${code} ${host}`), ['ZERO_COPY_SHARED ch-1', 'ZERO_COPY_SHARED ch-2'], JSON.stringify(alone.refusals));

    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      reattached(document);
      document['pauseBefore'] = ['clean'];
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const locks = (): Promise<string[]> => withZooKeeper(ground.up, async (session) => (await locksUnder(session, ground.from)).filter(({ top }) => top === uuid).map((lock) => JSON.stringify(lock)).sort());
    const held = await locks();
    assert.equal(held.length, 4);
    const [sharer] = ground.hostsOfShard(2);
    await run(sharer?.url ?? '', `ATTACH TABLE ${name}`);
    await ground.cli('approve', ground.id, 'clean');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.ok(failures.length > 0 && failures.every(({ code }) => code === 'REPLICA_LIVE'), JSON.stringify(failures));
    assert.deepEqual(await locks(), held);
    await run(sharer?.url ?? '', `DETACH TABLE ${name} PERMANENTLY SYNC`);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await locks(), held);
  });
});
