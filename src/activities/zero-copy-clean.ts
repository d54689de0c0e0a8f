import { readNote, STORE_DATABASE, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type ReplicaEntry, replicaLabel } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import type { Connections } from './deps';
import { targetOf } from './elect';
import { lookAtReplica } from './look';
import { deleteLocks, ownLocks, readLocks, savedLocks, saveLocks } from './zero-copy-locks';
import { savedStrays } from './zero-copy-strays';
import type { CleanInput, HostTarget } from './types';

interface Member {
  readonly replica: ReplicaEntry;
  readonly target: HostTarget;
  readonly note: ReplicaNote;
}

/**
 * The part of the barrier that is for zero-copy tables: every replica of another table that keeps its locks under the same id is detached
 * as well, or was restored and proved by this migration already.
 */
export async function sharersAway(connections: Connections, input: CleanInput): Promise<void> {
  await Promise.all(
    (input.table.sharers ?? []).map(async (sharer) => {
      const host = connections.host(targetOf(input.hosts, sharer.host));
      if (!(await lookAtReplica(host, sharer)).attached) return;
      if ((await readNote(host, input.migration, sharer)).status === 'RESTORED') return;
      throw new MigrationError('REPLICA_LIVE', `${replicaLabel(sharer)} is attached, and its zero-copy locks lie under the same id: no lock may be deleted`);
    }),
  );
}

/**
 * Saves every lock under the table's shared id, with what the nodes hold, and marks those that are to be deleted: this replica's, on parts
 * of its manifest. Answers what to note; a replica whose locks were saved before keeps that.
 */
export async function saveOwnLocks(
  connections: Connections,
  input: CleanInput,
  { replica, target, note }: Member,
  zookeeper: ZooKeeperSession,
): Promise<ReplicaNote> {
  const { zeroCopy } = note;
  if (zeroCopy === null || zeroCopy.locksTake !== '') return note;
  const host = connections.host(target);
  const tree = await readLocks(zookeeper, zeroCopy, replica.zookeeperPath);
  const manifest = await host.select<{ name: string }>(
    `SELECT name FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String}
       AND take = {take:String}`,
    { params: { migration: input.migration, database: replica.database, table: replica.table, take: note.detachTake }, doing: `reading the manifest of ${replicaLabel(replica)}` },
  );
  const parts = new Set([...manifest.map(({ name }) => name), ...(await savedStrays(host, input.migration, replica, zeroCopy.strayTake))]);
  const nameIsShared = (input.table.sharers ?? []).some(({ replicaName }) => replicaName === replica.replicaName);
  const own = await ownLocks(host, replica, tree, parts, nameIsShared);
  const take = await saveLocks(host, input.migration, replica, tree, own);
  return { ...note, zeroCopy: { ...zeroCopy, locksTake: take, locks: own.length } };
}

/** Deletes the locks that were saved as this table's own. Those below the table's path went with it, as far as it was deleted. */
export async function deleteOwnLocks(
  connections: Connections,
  input: CleanInput,
  members: readonly Member[],
  zookeeper: ZooKeeperSession,
): Promise<void> {
  for (const { replica, target, note } of members) {
    if (note.zeroCopy === null) continue;
    if (note.zeroCopy.locksTake === '') throw new MigrationError('INVARIANT', `the zero-copy locks of ${replicaLabel(replica)} were not saved`);
    const saved = await savedLocks(connections.host(target), input.migration, replica, note.zeroCopy.locksTake);
    if (saved.length !== note.zeroCopy.locks) {
      throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)}: ${saved.length} of its ${note.zeroCopy.locks} saved zero-copy locks are there, none is deleted`);
    }
    await deleteLocks(zookeeper, saved);
  }
}
