import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import type { SeedTable } from '../../src/dev/seed';
import { devCommand, Ground, run, type SpecDocument, sql } from '../support/stack';
import { assertBlobsAndLocks, blobsOf, idOf, inPlace, LOCK_ROOT, locksUnder, onBlobs, seedClustered } from '../support/zero-copy';
import { withZooKeeper } from '../support/zookeeper';

interface Plan {
  readonly hosts: readonly {
    readonly name: string;
    readonly tables: readonly {
      readonly db: string;
      readonly table: string;
      readonly statements: readonly string[];
      readonly remote_disk?: { readonly disks: readonly string[]; readonly server_setting: boolean; readonly table_setting: boolean | null; readonly zero_copy: boolean };
      readonly zero_copy?: {
        readonly shared_id: string;
        readonly lock_root: string;
        readonly lock_kinds: readonly string[];
        readonly lock_counts: readonly { readonly replicas: number; readonly parts: number }[];
        readonly locks: number;
        readonly legacy_locks: number;
        readonly leaked_locks: number;
        readonly foreign_locks: number;
        readonly parts_without_lock: number;
        readonly shared_with: readonly string[];
        readonly attach: readonly string[];
      };
    }[];
  }[];
  readonly refusals: readonly { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
  readonly warnings: readonly { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
}

describe('zero-copy tables', function () {
  this.timeout(600_000);
  let ground: Ground;

  afterEach(async () => {
    await ground.end();
  });

  it('go to another root with their blobs and with new locks, and no lock of anything else is touched', async () => {
    ground = await Ground.on('zc_move');
    await ground.seed([onBlobs(ground.database, 'shared', 4), onBlobs(ground.database, 'mutated', 2, { min_bytes_for_wide_part: 0, old_parts_lifetime: 100_000 })], { replicate: true });
    await ground.seed([onBlobs(ground.database, 'own', 3), { ...onBlobs(`other ${ground.database}`, 'shared', 2), settings: {} }]);
    await run(ground.firstHost.url, `ALTER TABLE ${quoteTable({ database: ground.database, table: 'mutated' })} UPDATE note = 'new' WHERE 1 SETTINGS mutations_sync = 2`);
    const id = await idOf(ground, 'shared');
    // Locks of nobody: of a replica that is gone, of our own on a part that is no more, and of a table that is on no host.
    const others = [`${id}/0_0_0_0/of_another/gone-replica`, `${id}/9_9_9_0/leaked/ch-1`, 'of-another-table/0_0_0_0/blob/ch-1'].map((path) => `${ground.from}${LOCK_ROOT}/${path}`);
    const fence = (): Promise<string[]> =>
      withZooKeeper(ground.up, async (session) => Promise.all(others.map(async (path) => JSON.stringify(await session.exists(path)))));
    await withZooKeeper(ground.up, async (session) => {
      for (const path of others) await session.ensurePath(path);
    });
    const [before, filesBefore, fenceBefore] = [await ground.oracle(), blobsOf(ground), await fence()];

    const plan = await ground.json<Plan>('plan', ground.spec());
    assert.deepEqual(plan.refusals, [], JSON.stringify(plan).slice(0, 3_000));
    assert.deepEqual([...new Set(plan.warnings.map(({ code, table }) => `${code} ${table ?? ''}`))].sort(), ['ROOT_TO_COME ', 'ZERO_COPY_FOREIGN shared', 'ZERO_COPY_LEAKED shared', 'ZERO_COPY_OUTDATED mutated']);
    const planned = plan.hosts[0]?.tables.find(({ db, table }) => db === ground.database && table === 'shared');
    assert.deepEqual(planned?.zero_copy, {
      ...{ setting: 'server', disks: ['object_storage'], shared_id: id, lock_root: `${ground.from}/clickhouse/zero_copy` },
      ...{ lock_kinds: ['zero_copy_local_blob_storage'], lock_counts: [{ replicas: 2, parts: 4 }] },
      ...{ locks: 4, legacy_locks: 0, parts_without_lock: 0, leaked_locks: 1, foreign_locks: 1, shared_with: [], attach: [] },
    });
    assert.ok(planned?.statements.some((text) => text.startsWith("SYSTEM STOP CLEANUP")), planned?.statements.join('\n'));
    assert.equal(plan.hosts[0]?.tables.find(({ db, table }) => db !== ground.database && table === 'shared')?.zero_copy, undefined);

    const held = await lockValues(ground);
    assert.ok([...held.values()].some((value) => value !== ''), 'no node of a lock holds anything');
    const marks = ground.marks();
    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.root, filesBefore);
    assert.deepEqual(await fence(), fenceBefore);
    // Servers make what is missing above a lock together with it, and of two that do so at once one fails.
    const paths = ['clickhouse/zero_copy/zero_copy_local_blob_storage', ...['shared', 'mutated'].map((table) => `clickhouse/tables/1/${ground.database}/${table}`)];
    const made = await withZooKeeper(ground.up, (session) => Promise.all(paths.map(async (path) => BigInt((await session.exists(`${ground.root}/${path}`))?.czxid ?? assert.fail(path)))));
    assert.ok(made.slice(1).every((path) => path > (made[0] ?? path)), made.join(' '));
    // What nobody held before is told once more at the end, by name, as it is then.
    const { warnings } = await ground.json<Pick<Plan, 'warnings'>>('status', ground.id);
    const told = warnings.filter(({ code }) => code.startsWith('ZERO_COPY_L') || code === 'ZERO_COPY_FOREIGN').map(({ code, table, message }) => `${code} ${table ?? ''}: ${message}`);
    assert.deepEqual(told, [`ZERO_COPY_LEFT shared: 1 zero-copy locks of nobody and 1 zero-copy locks of replicas outside the migration are where they were: ${others.slice(0, 2).join(', ')}`]);
    // Every lock of the inventory's tables was saved before, with what its nodes held.
    const saved = new Map<string, string>();
    for (const { url } of ground.hosts) {
      const rows = await sql<Record<'lock_node' | 'part_node' | 'blob_node' | 'part_value' | 'blob_value' | 'value', string>>(
        url,
        `SELECT concat(lock_top, '/', part, '/', blob, '/', replica) AS lock_node, concat(lock_top, '/', part) AS part_node, concat(lock_top, '/', part, '/', blob) AS blob_node,
           part_value, blob_value, value FROM _ch_zk_migrate.locks WHERE migration = '${ground.id}'`,
      );
      for (const row of rows) saved.set(row.lock_node, row.value).set(row.part_node, row.part_value).set(row.blob_node, row.blob_value);
    }
    const ids = [id, await idOf(ground, 'mutated'), await idOf(ground, 'own')];
    const ours = new Map([...held].filter(([path]) => ids.some((one) => path.includes(`/${one}/`))));
    assert.ok(ours.size > 3 * (4 + 2 + 3));
    assert.deepEqual([...ours].filter(([path, value]) => saved.get(path) !== value), []);
    const left = await withZooKeeper(ground.up, (session) => locksUnder(session, ground.from));
    // What is left in the old root: the fence, and the locks of old parts, which protect the blobs they share.
    assert.deepEqual(left.filter(({ top }) => top === id).map(({ part }) => part).sort(), ['0_0_0_0', '9_9_9_0']);
    // Nothing merges, moves or is removed until the last replica of a table is proved.
    for (const { name } of ground.hosts) {
      const sent = ground.statements(marks, /^SYSTEM (RESTORE|START)/u).filter(({ host, text }) => host === name && text.endsWith(quoteTable({ database: ground.database, table: 'shared' }))).map(({ text }) => text.split('`')[0]?.trim());
      assert.deepEqual(sent, ['SYSTEM RESTORE REPLICA', 'SYSTEM START MERGES', 'SYSTEM START MOVES', 'SYSTEM START CLEANUP']);
    }
  });

  it('and tables on a remote disk that are none are told apart by plan, with the setting of the server and of the table', async () => {
    ground = await Ground.on('zc_setting_plan');
    const setting = (value: number): Record<string, number> => ({ allow_remote_fs_zero_copy_replication: value });
    await ground.seed([
      ...[onBlobs(ground.database, 'shared', 1), onBlobs(ground.database, 'on', 1, setting(1)), onBlobs(ground.database, 'off', 1, setting(0))],
      { ...onBlobs(ground.database, 'local', 1), settings: {} },
    ]);
    const plan = await ground.json<Plan>('plan', ground.spec());
    const disks = Object.fromEntries((plan.hosts[0]?.tables ?? []).map(({ table, remote_disk: disk }) => [table, disk]));
    const remote = { disks: ['object_storage'], server_setting: true };
    assert.deepEqual(disks, {
      shared: { ...remote, table_setting: null, zero_copy: true },
      on: { ...remote, table_setting: true, zero_copy: true },
      off: { ...remote, table_setting: false, zero_copy: false },
      local: undefined,
    });
    const { stdout } = await ground.cli('plan', ground.spec());
    assert.match(stdout, /zero-copy on object_storage \(allow_remote_fs_zero_copy_replication: server on, table not set\)/u);
    assert.match(stdout, /remote disk object_storage, not zero-copy \(allow_remote_fs_zero_copy_replication: server on, table off\): each replica has its own blobs/u);
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
      inPlace(document);
      document.tables = { disk: 'object_storage' };
    };
    const plan = await ground.json<Plan>('plan', ground.spec(spec));
    assert.deepEqual(plan.refusals, [], JSON.stringify(plan.refusals));
    const planned = plan.hosts.flatMap(({ name, tables }) => tables.map((one) => ({ ...one, host: name })));
    assert.deepEqual(planned.map(({ host, db, table }) => `${host} ${db === ground.database ? '' : db}${table}`).sort(), ['ch-1 own', 'ch-1 shared', 'ch-2 own', 'ch-2 shared']);
    assert.deepEqual(planned.find(({ host, table }) => host === 'ch-1' && table === 'shared')?.zero_copy?.attach, ['0_0_0_0', '1_0_0_0', '2_0_0_0']);
    assert.equal(plan.warnings.filter(({ code }) => code === 'ZERO_COPY_BROKEN').length, 4);

    const files = blobsOf(ground);
    const done = await ground.cli('start', ground.spec(spec), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
  });

  it('that a RESTORE broke half way are told by plan, with the parts that nothing says belong to them', async () => {
    ground = await Ground.on('zc_aside');
    await ground.seed([onBlobs(ground.database, 'half', 3)], { replicate: true });
    const [name, id, before] = [quoteTable({ database: ground.database, table: 'half' }), await idOf(ground, 'half'), await ground.oracle()];
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}'`);
    for (const { url } of ground.hosts) await run(url, `DETACH TABLE ${name} SYNC`);
    await withZooKeeper(ground.up, async (session) => {
      await session.deleteTree(`${ground.from}${row?.path ?? ''}`);
      for (const { top, part, blob, replica } of await locksUnder(session, ground.from)) {
        if (top === id && !(part === '1_0_0_0' && replica === 'ch-1')) await session.delete(`${ground.from}${LOCK_ROOT}/${top}/${part}/${blob}/${replica}`);
      }
    });
    for (const { url } of ground.hosts) await run(url, `ATTACH TABLE ${name}`);
    await assert.rejects(run(ground.firstHost.url, `SYSTEM RESTORE REPLICA ${name}`), /Creating shared lock/u);
    await run(ground.firstHost.url, `DETACH TABLE ${name} SYNC`, `ATTACH TABLE ${name}`);
    const plan = await ground.json<Plan>('plan', ground.spec(inPlace));
    const told = plan.warnings.filter(({ code }) => code === 'ZERO_COPY_ASIDE').map(({ host, table, message }) => `${host} ${table ?? ''} ${message}`);
    assert.equal(told.length, 1, JSON.stringify(plan.warnings));
    assert.match(told[0] ?? '', /^ch-1 half it has rows, and 1 parts lie in detached\/ .*: 1_0_0_0$/u);
    // As its operator would.
    await run(ground.firstHost.url, ...['1_0_0_0', '2_0_0_0'].map((part) => `ALTER TABLE ${name} ATTACH PART '${part}'`));
    for (const { url } of ground.hosts.slice(1)) await run(url, `SYSTEM RESTORE REPLICA ${name}`, `SYSTEM SYNC REPLICA ${name}`);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('whose setting or blobs change on the way fail, by name, and are completed by retry once that is mended', async () => {
    ground = await Ground.on('zc_changed');
    await ground.seed([onBlobs(ground.database, 'setting', 2), onBlobs(ground.database, 'blob', 2), onBlobs(ground.database, 'good', 2)]);
    const [before, files] = [await ground.oracle(), blobsOf(ground)];
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    const table = { database: ground.database, table: 'setting' };
    const off = `ALTER TABLE ${quoteTable(table)} MODIFY SETTING allow_remote_fs_zero_copy_replication = 0`;
    await run(second.url, off);
    const refused = await ground.cli('plan', ground.spec(inPlace), '--json');
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
      inPlace(document);
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
    await assertBlobsAndLocks(ground, ground.from, files);
  });

  it('that lack a blob of a column, a projection or a skip index are not RESTORED, and are once it is there again', async () => {
    ground = await Ground.on('zc_gone');
    const rich = (name: string): SeedTable => {
      const table = onBlobs(ground.database, name, 2, { min_bytes_for_wide_part: 0 });
      return { ...table, columns: `${table.columns}, INDEX ix note TYPE bloom_filter, PROJECTION pr (SELECT p, sum(x) GROUP BY p)` };
    };
    const gone = { column: 'x.bin', projection: 'pr.proj/p.bin', index: 'skp_idx_ix.idx' };
    await ground.seed([...Object.keys(gone), 'good'].map(rich));
    const [before, files] = [await ground.oracle(), blobsOf(ground)];
    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      inPlace(document);
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const lost = await Promise.all(
      Object.entries(gone).map(async ([table, file]) => {
        const [row] = await sql<{ blob: string }>(
          ground.firstHost.url,
          `SELECT remote_path AS blob FROM system.remote_data_paths WHERE endsWith(local_path, '/${file}')
             AND arrayExists(part -> startsWith(path || local_path, part), (SELECT groupArray(path) FROM system.parts WHERE active AND table = '${table}'))`,
        );
        return row?.blob ?? assert.fail(`no blob of ${file}`);
      }),
    );
    for (const blob of lost) renameSync(blob, `${blob}.away`);
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures, counts } = await ground.status();
    assert.deepEqual(failures.map(({ code, host, table }) => `${table} ${host} ${code}`).sort(), Object.keys(gone).map((table) => `${table} ch-1 PROOF_FAILED`).sort(), JSON.stringify(failures));
    for (const { table, message } of failures) assert.ok(message.includes(lost[Object.keys(gone).indexOf(table)] ?? 'a blob'), message);
    assert.equal(counts.RESTORED, 2, JSON.stringify(counts));
    for (const blob of lost) renameSync(`${blob}.away`, blob);
    // A server that could not read a projection holds it for broken until it is attached again; the failure says so.
    const projection = quoteTable({ database: ground.database, table: 'projection' });
    await run(ground.firstHost.url, `DETACH TABLE ${projection} SYNC`, `ATTACH TABLE ${projection}`);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
  });

  it('left out before each part was proved to have its lock keep their merges stopped, which is said', async () => {
    ground = await Ground.on('zc_left', [1]);
    await ground.seed([onBlobs(ground.database, 'left', 2), onBlobs(ground.database, 'good', 2)]);
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => {
      inPlace(document);
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    });
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    const [lost] = await sql<{ blob: string }>(
      ground.firstHost.url,
      `SELECT remote_path AS blob FROM system.remote_data_paths WHERE endsWith(local_path, '.bin')
         AND arrayExists(part -> startsWith(path || local_path, part), (SELECT groupArray(path) FROM system.parts WHERE active AND table = 'left'))`,
    );
    assert.ok(lost !== undefined);
    renameSync(lost.blob, `${lost.blob}.away`);
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    // A server that looks at a part after its blob was missed would put it aside.
    renameSync(`${lost.blob}.away`, lost.blob);
    const marks = ground.marks();
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.left', '--watch', '--json');
    assert.equal(skipped.code, 0, skipped.stdout + skipped.stderr);
    assert.deepEqual(ground.statements(marks, /^SYSTEM START MERGES/u), []);
    const { warnings } = await ground.json<Plan>('status', ground.id);
    assert.deepEqual(warnings.filter(({ code }) => code === 'LEFT_WITHOUT_MERGES').map(({ host, table }) => [host, table]), [['ch-1', 'left'], ['ch-2', 'left']]);
    assert.deepEqual(await ground.oracle(), before);
    // As its operator would; a zero-copy table without its metadata could not be dropped.
    for (const { url } of ground.hosts.slice(1)) await run(url, `SYSTEM RESTORE REPLICA ${quoteTable({ database: ground.database, table: 'left' })}`);
  });

  it('with one shared id in two shards wait for each other, and keep each its own locks', async () => {
    ground = await Ground.on('zc_sharing', [1, 2]);
    const uuid = '01234567-89ab-4def-8123-456789abcdef';
    const name = await seedClustered(ground, uuid);
    const before = await ground.oracle();
    const alone = await ground.json<Plan>('plan', ground.spec((document) => {
      inPlace(document);
      writeFileSync(join(ground.dir, 'first.yaml'), `- { host: ${ground.firstHost.name}, db: ${ground.database}, table: clustered }\n- { host: ${ground.hosts[1]?.name ?? ''}, db: ${ground.database}, table: clustered }\n`);
      document.tables = { from: 'first.yaml' };
    }));
    assert.deepEqual(alone.refusals.map(({ code, host }) => `${code} ${host}`), ['ZERO_COPY_SHARED ch-1', 'ZERO_COPY_SHARED ch-2'], JSON.stringify(alone.refusals));
    // With the other shard's hosts out of the spec too, only its blobs give it away.
    const blind = await ground.json<Plan>('plan', ground.spec((document) => {
      inPlace(document);
      document.clickhouse.hosts = document.clickhouse.hosts.slice(0, 2);
    }));
    assert.deepEqual(blind.refusals.map(({ code, host }) => `${code} ${host}`), ['ZERO_COPY_SHARED ch-1', 'ZERO_COPY_SHARED ch-2'], JSON.stringify(blind.refusals));
    assert.match(blind.refusals[0]?.message ?? '', /on blobs that no host of the spec has/u);

    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      inPlace(document);
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
    assert.ok(failures.some(({ message }) => message.includes(`retry, with ${ground.database}.clustered of ${sharer?.name ?? ''} not left out, detaches it first; abort attaches everything again`)), JSON.stringify(failures));
    assert.deepEqual(await locks(), held);
    await run(sharer?.url ?? '', `DETACH TABLE ${name} PERMANENTLY SYNC`);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await locks(), held);
  });

  it('whose RESTORE meets a lock that somebody made meanwhile are brought back all the same', async () => {
    ground = await Ground.on('zc_met');
    await ground.seed([onBlobs(ground.database, 'shared', 3), onBlobs(ground.database, 'good', 2)], { replicate: true });
    const [before, files, id] = [await ground.oracle(), blobsOf(ground), await idOf(ground, 'shared')];
    const [own] = await withZooKeeper(ground.up, async (session) => (await locksUnder(session, ground.from)).filter(({ top, part, replica }) => top === id && part === '1_0_0_0' && replica === 'ch-1'));
    assert.ok(own !== undefined);
    const lock = `${ground.root}${LOCK_ROOT}/${id}/1_0_0_0/${own.blob}/ch-1`;
    ground.worker();
    const spec = ground.spec((document) => {
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    });
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    await withZooKeeper(ground.up, (session) => session.ensurePath(lock));
    await ground.cli('approve', ground.id, 'restore');
    // A part gets another number when it is attached once more, and with it another lock.
    const done = await ground.cli('watch', ground.id);
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.match((await ground.cli('report', ground.id)).stdout, /repaired: 2 parts attached from detached/u);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.root, files);
  });

  it('whose path is gone already lose no lock while a replica is attached again', async () => {
    ground = await Ground.on('zc_gone');
    await ground.seed([onBlobs(ground.database, 'shared', 3)], { replicate: true });
    const name = quoteTable({ database: ground.database, table: 'shared' });
    const [before, files, id] = [await ground.oracle(), blobsOf(ground), await idOf(ground, 'shared')];
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}'`);
    for (const { url } of ground.hosts) await run(url, `DETACH TABLE ${name} SYNC`);
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${row?.path ?? ''}`));
    for (const { url } of ground.hosts) await run(url, `ATTACH TABLE ${name}`);
    const locks = (): Promise<string[]> => withZooKeeper(ground.up, async (session) => (await locksUnder(session, ground.from)).filter(({ top }) => top === id).map((lock) => JSON.stringify(lock)).sort());
    const held = await locks();
    assert.equal(held.length, 6);

    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      inPlace(document);
      document['pauseBefore'] = ['clean'];
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const [, second] = ground.hosts;
    await run(second?.url ?? '', `ATTACH TABLE ${name}`);
    await ground.cli('approve', ground.id, 'clean');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.ok(failures.length > 0 && failures.every(({ code }) => code === 'REPLICA_LIVE'), JSON.stringify(failures));
    assert.deepEqual(await locks(), held);
    await run(second?.url ?? '', `DETACH TABLE ${name} PERMANENTLY SYNC`);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    await assertBlobsAndLocks(ground, ground.from, files);
  });

  it('are refused where blobs or RESTORE would be at stake; copies of locks below the path are carried, and so is a table in an auxiliary ensemble', async () => {
    ground = await Ground.on('zc_refused');
    await ground.seed([onBlobs(ground.database, 'off', 2), onBlobs(ground.database, 'target', 2), onBlobs(ground.database, 'legacy', 3, { remote_fs_zero_copy_path_compatible_mode: 1 })], { replicate: true });
    const { name: zk2, root: auxiliary } = ground.up.zookeeper.auxiliary;
    const aux = quoteTable({ database: ground.database, table: 'aux' });
    const auxId = randomUUID();
    for (const { url } of ground.hosts) {
      await run(url, `CREATE TABLE ${aux} UUID '${auxId}' (x UInt64) ENGINE = ReplicatedMergeTree('${zk2}:/clickhouse/${ground.id}/aux', '{replica}') ORDER BY x SETTINGS storage_policy = 'object_storage'`);
    }
    await run(ground.firstHost.url, `INSERT INTO ${aux} SELECT number FROM numbers(50)`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${aux}`);
    const [before, files] = [await ground.oracle(), blobsOf(ground)];
    const locksIn = (root: string, id: string): Promise<string[]> =>
      withZooKeeper(ground.up, async (session) => (await locksUnder(session, root)).filter(({ top }) => top === id).map(({ part, blob, replica }) => `${part}/${blob}/${replica}`).sort());
    const set = async (on: 0 | 1): Promise<void> => {
      for (const { url } of ground.hosts) await run(url, `ALTER TABLE ${quoteTable({ database: ground.database, table: 'off' })} MODIFY SETTING allow_remote_fs_zero_copy_replication = ${on}`);
    };
    const target = await idOf(ground, 'target');
    const inTheWay = (await locksIn(ground.from, target)).filter((lock) => lock.endsWith(`/${ground.firstHost.name}`));
    assert.equal(inTheWay.length, 2);
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${ground.root}${LOCK_ROOT}/${target}/${inTheWay[0] ?? ''}`));
    await set(0);

    const spec = (): string => ground.spec((document) => (document.zookeeper['auxiliary'] = { [zk2]: { connect: ground.up.zookeeper.connect, root: auxiliary } }));
    const refused = await ground.json<Plan>('plan', spec());
    assert.deepEqual(refused.refusals.map(({ code, host, table }) => `${code} ${host} ${table ?? ''}`).sort(), ['ZERO_COPY_OFF ch-1 off', 'ZERO_COPY_OFF ch-2 off', 'ZERO_COPY_TARGET ch-1 target'], JSON.stringify(refused.refusals));

    await set(1);
    await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.root}${LOCK_ROOT}`));
    const plan = await ground.json<Plan>('plan', spec());
    assert.deepEqual(plan.refusals, []);
    const planned = new Map(plan.hosts[0]?.tables.map(({ table, zero_copy: shared }) => [table, shared]));
    assert.deepEqual([planned.get('legacy')?.locks, planned.get('legacy')?.legacy_locks], [3, 3]);
    assert.deepEqual([planned.get('aux')?.lock_root, planned.get('aux')?.shared_id, planned.get('aux')?.locks], [`${auxiliary}/clickhouse/zero_copy`, auxId, 1]);

    const [atAux, marks] = [await locksIn(auxiliary, auxId), ground.marks()];
    assert.equal(atAux.length, 2);
    const done = await ground.cli('start', spec(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    for (const { url } of ground.hosts) {
      // The table in the auxiliary ensemble stays where it is; the others are on the new root.
      const saved = await sql<{ table: string; legacy: number; n: string }>(url, `SELECT table, legacy, count() AS n FROM _ch_zk_migrate.locks WHERE migration = '${ground.id}' AND own GROUP BY table, legacy ORDER BY table, legacy`);
      assert.deepEqual(saved.map(({ table, legacy, n }) => `${table} ${legacy} ${n}`), ['aux 0 1', 'legacy 0 3', 'legacy 1 3', 'off 0 2', 'target 0 2']);
      assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly OR active_replicas != 2'), []);
    }
    assert.equal((await locksIn(auxiliary, auxId)).length, 2);
    assert.deepEqual(await locksIn(ground.from, target), []);
    const legacy = await sql<{ path: string }>(ground.firstHost.url, "SELECT zookeeper_path AS path FROM system.replicas WHERE table = 'legacy'");
    await withZooKeeper(ground.up, async (session) => {
      assert.equal(await session.exists(`${ground.from}${legacy[0]?.path ?? ''}`), undefined);
      const copies = await session.listTree(`${ground.root}${legacy[0]?.path ?? ''}/zero_copy_local_blob_storage/shared`);
      assert.equal(copies.filter(({ path }) => ground.hosts.some(({ name }) => path.endsWith(`/${name}`))).length, 6);
    });
    assert.ok(ground.statements(marks, /^\s*SYSTEM RESTORE REPLICA .*aux/u).length > 0);
    assert.deepEqual([...files].filter(([name, size]) => blobsOf(ground).get(name) !== size), []);
  });

  it('with the old metadata kept, abort before the first RESTORE returns to the old root and its locks; the same migration then deletes them when all is proved', async () => {
    ground = await Ground.on('zc_after_verify');
    const { before, files, old } = await kept();
    const reconfigure = (root: string): string[] => devCommand(ground, 'reconfigure-host', '{host}', '--zk-root', root);
    const spec = (change: (document: SpecDocument) => void): string =>
      ground.spec((document) => {
        document.zookeeper['clean'] = 'after-verify';
        document.clickhouse.restart = { reconfigure: reconfigure(ground.root), reconfigureBack: reconfigure(ground.from), command: devCommand(ground, 'restart-host', '{host}'), wave: 2 };
        change(document);
      });
    ground.worker();
    const gated = await ground.cli('start', spec((document) => (document['pauseBefore'] = ['restore'])), '--execute', '--watch', '--json');
    assert.equal(gated.code, 4, gated.stdout + gated.stderr);
    assert.deepEqual([await rootsOf(), await ownLocks(ground.from), await ownLocks(ground.root)], [[ground.root], old, []]);
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual([await rootsOf(), await ownLocks(ground.from), await ownLocks(ground.root)], [[ground.from], old, []]);
    assert.deepEqual([await inactive(), await ground.oracle()], [[], before]);
    await assertBlobsAndLocks(ground, ground.from, files);
    // Writable as before, and the other replica takes the part over with a lock of its own.
    const name = quoteTable({ database: ground.database, table: 'shared' });
    await run(ground.firstHost.url, `INSERT INTO ${name} SELECT 9, number, 'later' FROM numbers(5)`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${name}`);
    assert.equal((await ownLocks(ground.from)).length, old.length + 2);

    const [later, laterFiles] = [await ground.oracle(), blobsOf(ground)];
    const done = await ground.cli('start', spec(() => undefined), '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual([await rootsOf(), await inactive(), await ground.oracle()], [[ground.root], [], later]);
    await assertBlobsAndLocks(ground, ground.root, laterFiles);
    assert.deepEqual([await ownLocks(ground.from), (await ownLocks(ground.root)).length], [[], old.length + 2]);
    // The new locks are worth what the old ones were: a replica that goes leaves the blobs to the other.
    await run(ground.hosts[1]?.url ?? '', `DROP TABLE ${name} SYNC`);
    const rest = Object.entries(later).filter(([key]) => key !== `${ground.hosts[1]?.name ?? ''} ${ground.database}.shared`);
    assert.deepEqual(await ground.oracle(), Object.fromEntries(rest));
  });

  it('with clean: never go to another root, and leave their old locks', async () => {
    ground = await Ground.on('zc_never');
    const { before, files, old } = await kept();
    const file = ground.spec((document) => (document.zookeeper['clean'] = 'never'));
    const done = await ground.cli('start', file, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual([await rootsOf(), await inactive(), await ground.oracle()], [[ground.root], [], before]);
    await assertBlobsAndLocks(ground, ground.root, files);
    assert.deepEqual([await ownLocks(ground.from), (await ownLocks(ground.root)).length], [old, old.length]);
  });

  /** What the nodes under the ground's root hold that locks consist of: of parts, of blobs, and the locks themselves. */
  async function lockValues(of: Ground): Promise<Map<string, string>> {
    return withZooKeeper(of.up, async (session) => {
      const values = new Map<string, string>();
      for (const { path } of await session.listTree(`${of.from}${LOCK_ROOT}`)) {
        const below = path.slice(of.from.length);
        if (below.slice(LOCK_ROOT.length).split('/').length > 2) values.set(below, (await session.get(path))?.data.toString() ?? '');
      }
      return values;
    });
  }

  let foreign: Set<string>;

  /** Two tables of the ground, with their rows, blobs and locks. */
  async function kept(): Promise<{ before: Record<string, string>; files: Map<string, number>; old: string[] }> {
    foreign = new Set();
    foreign = new Set(await ownLocks(ground.from));
    await ground.seed([onBlobs(ground.database, 'shared', 3)], { replicate: true });
    await ground.seed([onBlobs(ground.database, 'own', 2)]);
    const old = await ownLocks(ground.from);
    assert.equal(old.length, 2 * (3 + 2));
    return { before: await ground.oracle(), files: blobsOf(ground), old };
  }

  /** The locks of this ground's tables under a root. */
  async function ownLocks(root: string): Promise<string[]> {
    const locks = await withZooKeeper(ground.up, (session) => locksUnder(session, root));
    return locks.map(({ top, part, blob, replica }) => `${top}/${part}/${blob}/${replica}`).filter((lock) => !foreign.has(lock)).sort();
  }

  /** The roots that the hosts were started on. */
  async function rootsOf(): Promise<string[]> {
    const { hosts } = await ground.json<{ hosts: { name: string; zkRoot: string }[] }>('dev', 'status', '--dir', ground.up.dir);
    return [...new Set(hosts.filter(({ name }) => ground.hosts.some((mine) => mine.name === name)).map(({ zkRoot }) => zkRoot))];
  }

  async function inactive(): Promise<unknown[]> {
    const all = await Promise.all(ground.hosts.map(({ url }) => sql(url, "SELECT table FROM system.replicas WHERE database != '_ch_zk_migrate' AND (is_readonly OR active_replicas != 2 OR queue_size > 0)")));
    return all.flat();
  }
});
