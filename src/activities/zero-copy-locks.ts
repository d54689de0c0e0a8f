import { randomUUID } from 'node:crypto';

import type { ClickHouseHost } from '../clickhouse/host';
import { createStore, STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel, type ReplicaRef } from '../domain/inventory';
import { isAmbiguous, lockPath, locksOf, type ZeroCopyFacts, type ZeroCopyLock } from '../domain/zero-copy';
import type { ZooKeeperSession } from '../zookeeper/session';
import { fence, report } from './deps';
import { partBlobsOf } from './zero-copy-blobs';

/** The locks under one shared id, and what their nodes hold: a part's node may name files that a mutation of it shares. */
export interface LockTree {
  readonly locks: readonly ZeroCopyLock[];
  /** Data by path, of nodes that have any. */
  readonly values: ReadonlyMap<string, string>;
}

const DEPTH_OF_LOCK = 3;
const AT_ONCE = 256;

/**
 * Reads every lock under a shared id, of every disk kind, and below the table's own path where an older version kept them
 * (`zero_copy_<kind>/shared`). Ephemeral nodes (a merge's exclusive lock) are no locks of parts.
 */
export async function readLocks(
  zookeeper: ZooKeeperSession,
  { lockRoot, sharedId }: Pick<ZeroCopyFacts, 'lockRoot' | 'sharedId'>,
  tablePath: string,
): Promise<LockTree> {
  const tops = [
    ...(await kindsBelow(zookeeper, lockRoot)).map((kind) => ({ top: `${kind}/${sharedId}`, legacy: false })),
    ...(await kindsBelow(zookeeper, tablePath)).map((kind) => ({ top: `${kind}/shared`, legacy: true })),
  ];
  const locks: ZeroCopyLock[] = [];
  const withData: string[] = [];
  for (const { top, legacy } of tops) {
    for (const { path, stat } of await zookeeper.listTree(top)) {
      if (stat.ephemeralOwner !== '0' || path === top) continue;
      const [part = '', blob = '', replica = '', ...rest] = path.slice(top.length + 1).split('/');
      if (replica !== '' && rest.length === 0) locks.push({ top, part, blob, replica, legacy });
      if (stat.dataLength > 0 && rest.length === 0) withData.push(path);
    }
  }
  const values = new Map<string, string>();
  await eachOf(withData, async (path) => {
    const node = await zookeeper.get(path);
    if (node !== undefined) values.set(path, node.data.toString());
  });
  return { locks, values };
}

/** The nodes that hold the locks of each kind of disk: `…/zero_copy_s3`. */
export async function kindsBelow(zookeeper: ZooKeeperSession, lockRoot: string): Promise<string[]> {
  return ((await zookeeper.children(lockRoot)) ?? []).filter((name) => name.startsWith('zero_copy_')).map((name) => `${lockRoot}/${name}`);
}

/** The value of the table's `table_shared_id`, or undefined where it has none. */
export async function readSharedId(zookeeper: ZooKeeperSession, tablePath: string): Promise<string | undefined> {
  return (await zookeeper.get(`${tablePath}/table_shared_id`))?.data.toString();
}

/**
 * The locks that belong to these parts of a replica: those on the blobs that the host has them on. Where the host cannot tell, their names
 * decide, if they can.
 *
 * @throws MigrationError `UNSUPPORTED` where neither can tell
 */
export async function ownLocks(
  host: ClickHouseHost,
  replica: InventoryReplica,
  tree: LockTree,
  parts: ReadonlySet<string>,
  nameIsShared: boolean,
): Promise<ZeroCopyLock[]> {
  if (parts.size === 0 || tree.locks.length === 0) return [];
  const blobs = await partBlobsOf(host, replica);
  const byName = locksOf(tree.locks, replica.replicaName, parts, undefined);
  if (blobs !== undefined && (blobs.size > 0 || byName.length === 0)) return locksOf(byName, replica.replicaName, parts, blobs);
  if (blobs !== undefined || nameIsShared || isAmbiguous(byName)) {
    throw new MigrationError('UNSUPPORTED', `${replicaLabel(replica)} has locks by the names of its parts, and its host does not tell which blobs are whose: which locks are its own cannot be told`);
  }
  return byName;
}

/** Saves the locks of a table, with what their nodes hold, durably on a host, and answers the id of this taking. */
export async function saveLocks(
  host: ClickHouseHost,
  migration: string,
  replica: ReplicaRef,
  tree: LockTree,
  own: readonly ZeroCopyLock[],
): Promise<string> {
  const take = randomUUID();
  await createStore(host);
  const mine = new Set(own.map(lockPath));
  const value = (path: string): string => tree.values.get(path) ?? '';
  const rows = tree.locks.map((lock) => ({
    migration,
    database: replica.database,
    table: replica.table,
    take,
    lock_top: lock.top,
    part: lock.part,
    blob: lock.blob,
    replica: lock.replica,
    own: mine.has(lockPath(lock)) ? 1 : 0,
    legacy: lock.legacy ? 1 : 0,
    part_value: value(`${lock.top}/${lock.part}`),
    blob_value: value(`${lock.top}/${lock.part}/${lock.blob}`),
    value: value(lockPath(lock)),
  }));
  if (rows.length > 0) await host.insert(`${STORE_DATABASE}.locks`, rows, { doing: `saving the locks of ${replicaLabel(replica)}`, timeoutMs: 600_000 });
  return take;
}

/** The replica's own locks as they were saved. */
export async function savedLocks(host: ClickHouseHost, migration: string, replica: ReplicaRef, take: string): Promise<ZeroCopyLock[]> {
  const rows = await host.select<Omit<ZeroCopyLock, 'top' | 'legacy'> & { lock_top: string; legacy: number }>(
    `SELECT lock_top, part, blob, replica, legacy FROM ${STORE_DATABASE}.locks WHERE migration = {migration:String}
       AND database = {database:String} AND table = {table:String} AND take = {take:String} AND own`,
    { params: { migration, database: replica.database, table: replica.table, take }, doing: `reading the saved locks of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  return rows.map(({ lock_top: top, part, blob, replica: holder, legacy }) => ({ top, part, blob, replica: holder, legacy: legacy === 1 }));
}

/** Deletes exactly these locks, and the nodes above them that are empty then, up to the shared id's own. */
export async function deleteLocks(zookeeper: ZooKeeperSession, locks: readonly ZeroCopyLock[]): Promise<void> {
  let done = 0;
  const remove = async (paths: Iterable<string>): Promise<void> => {
    await eachOf([...new Set(paths)], async (path) => {
      fence();
      await zookeeper.delete(path);
      done += 1;
      if (done % 1_000 === 0) report({ doing: 'deleting zero-copy locks', done });
    });
  };
  await remove(locks.map(lockPath));
  for (let depth = DEPTH_OF_LOCK - 1; depth >= 0; depth -= 1) {
    await remove(locks.map(({ top, part, blob }) => [top, part, blob].slice(0, depth + 1).join('/')));
  }
}

async function eachOf(paths: readonly string[], work: (path: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < paths.length; from += AT_ONCE) await Promise.all(paths.slice(from, from + AT_ONCE).map(work));
}
