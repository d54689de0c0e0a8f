import assert from 'node:assert/strict';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import type { SeedTable } from '../../src/dev/seed';
import { locksOf, type ZeroCopyLock } from '../../src/domain/zero-copy';
import type { ZooKeeperSession } from '../../src/zookeeper/session';
import { type Ground, run, type SpecDocument, sql } from './stack';
import { withZooKeeper } from './zookeeper';

/** Where the embedded servers keep their locks, below their root. */
export const LOCK_ROOT = '/clickhouse/zero_copy/zero_copy_local_blob_storage';

/**
 * The table `clustered` with one uuid, and so one shared id, on two shards of two replicas, as one that was made ON CLUSTER; of ten rows a
 * shard's number. Answers its quoted name.
 */
export async function seedClustered(ground: Ground, uuid: string): Promise<string> {
  const name = quoteTable({ database: ground.database, table: 'clustered' });
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
  return name;
}

/** A table on the disk `object_storage`, with so many parts of forty rows. */
export function onBlobs(database: string, name: string, parts: number, settings: Record<string, string | number> = {}): SeedTable {
  return {
    ...{ database, name, columns: 'p UInt16, x UInt64, note String', partitionBy: 'p', orderBy: 'x', settings: { storage_policy: 'object_storage', ...settings } },
    data: [{ select: `SELECT number % ${parts}, number, concat('n', toString(number)) FROM numbers(${parts * 40})` }],
  };
}

export function inPlace(document: SpecDocument): void {
  delete document.zookeeper['after'];
  document.clickhouse.restart = { none: true };
}

/** Every blob of the stack, by its path and size. */
export function blobsOf(ground: Ground): Map<string, number> {
  const dir = join(ground.up.dir, 'blobs');
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => join(dir, name));
  return new Map(names.filter((name) => statSync(name).isFile()).map((name) => [name, statSync(name).size]));
}

/** The blobs that the files of active parts name, by the servers. */
async function namedBlobs(ground: Ground): Promise<Set<string>> {
  const rows = await Promise.all(
    ground.hosts.map(({ url }) =>
      sql<{ blob: string }>(
        url,
        `SELECT remote_path AS blob FROM system.remote_data_paths WHERE arrayExists(part -> startsWith(path || local_path, part),
          (SELECT groupArray(path) FROM system.parts WHERE active AND disk_name = 'object_storage'))`,
      ),
    ),
  );
  return new Set(rows.flat().map(({ blob }) => blob));
}

export async function locksUnder(session: ZooKeeperSession, root: string): Promise<ZeroCopyLock[]> {
  return (await session.listTree(`${root}${LOCK_ROOT}`)).flatMap(({ path }) => {
    const [id = '', part = '', blob = '', replica = ''] = path.slice(`${root}${LOCK_ROOT}/`.length).split('/');
    return replica === '' ? [] : [{ top: id, part, blob, replica, legacy: false }];
  });
}

/** The uuid of a table of the ground, which its locks lie under. */
export async function idOf(ground: Ground, table: string): Promise<string> {
  const [row] = await sql<{ id: string }>(ground.firstHost.url, `SELECT toString(uuid) AS id FROM system.tables WHERE database = '${ground.database}' AND name = '${table}'`);
  return row?.id ?? assert.fail(`no table ${table}`);
}

/** Active parts on blobs that have no lock of their replica, under this root. */
async function partsWithoutLock(ground: Ground, root: string): Promise<string[]> {
  const locks = await withZooKeeper(ground.up, (session) => locksUnder(session, root));
  const lacking = await Promise.all(
    ground.hosts.map(async ({ name, url }) => {
      const parts = await sql<{ table: string; name: string; id: string }>(
        url,
        `SELECT p.table AS table, p.name AS name, toString(t.uuid) AS id FROM system.parts AS p
         INNER JOIN system.tables AS t ON t.database = p.database AND t.name = p.table WHERE p.active AND p.disk_name = 'object_storage'`,
      );
      return parts
        .filter((part) => locksOf(locks, name, new Set([part.name]), undefined).every((lock) => lock.top !== part.id))
        .map((part) => `${name} ${part.table} ${part.name}`);
    }),
  );
  return lacking.flat();
}

/** Every blob of before is there as it was, so is every one that an active part names, and every active part has its replica's lock. */
export async function assertBlobsAndLocks(ground: Ground, root: string, before: ReadonlyMap<string, number>): Promise<void> {
  const files = blobsOf(ground);
  assert.deepEqual([...before].filter(([name, size]) => files.get(name) !== size), []);
  const named = await namedBlobs(ground);
  assert.ok(named.size > 0, 'no part is on blobs');
  assert.deepEqual([...named].filter((name) => !existsSync(name)), []);
  assert.deepEqual(await partsWithoutLock(ground, root), []);
}
