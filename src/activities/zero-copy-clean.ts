import { quoteTable } from '../clickhouse/sql';
import { manifestNames, readNote, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type ReplicaEntry, replicaLabel, type SharingReplica } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import type { Connections } from './deps';
import { detachReplica } from './detach';
import { targetOf } from './elect';
import { readFrozen } from './inventory';
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
 * as well, or was restored and proved by this migration already. One that only goes back to catch up is waited for by the workflow
 * (`workflows/sharing.ts`): what is attached here stays so.
 *
 * @throws MigrationError `REPLICA_LIVE`
 */
export async function sharersAway(connections: Connections, input: CleanInput): Promise<void> {
  const [live] = await liveSharers(connections, input);
  if (live === undefined) return;
  const { sharer, note } = live;
  throw new MigrationError(
    'REPLICA_LIVE',
    `${replicaLabel(sharer)} is attached, and its zero-copy locks lie under the same id: no lock may be deleted. ${sharerWords(live.sharer, note)}`,
  );
}

/**
 * Abort, before a deletion is finished that was begun: what shares the id was attached again meanwhile, by an abort before or by hand. It is
 * detached as in the phase detach, its manifest saved, and attached again with all others. What has lost its nodes is not: it waits for its RESTORE.
 *
 * @returns what was detached
 */
export async function detachSharers(connections: Connections, input: CleanInput): Promise<readonly SharingReplica[]> {
  const { migration, hosts, zookeeper, limit, aborting } = input;
  const live = (await liveSharers(connections, input)).filter(({ note }) => canBeDetached(note));
  await Promise.all(
    live.map(async ({ sharer }) => {
      const host = targetOf(hosts, sharer.host);
      const replica = await readFrozen(connections, migration, host, sharer);
      await detachReplica(connections, { migration, host, replica, zookeeper, limit, forNow: true, ...(aborting === true ? { aborting } : {}) });
    }),
  );
  return live.map(({ sharer }) => sharer);
}

interface LiveSharer {
  readonly sharer: SharingReplica;
  readonly note: ReplicaNote;
}

async function liveSharers(connections: Connections, { migration, hosts, table }: CleanInput): Promise<LiveSharer[]> {
  const live = await Promise.all(
    (table.sharers ?? []).map(async (sharer): Promise<LiveSharer[]> => {
      const host = connections.host(targetOf(hosts, sharer.host));
      if (!(await lookAtReplica(host, sharer)).attached) return [];
      const note = await readNote(host, migration, sharer);
      return note.status === 'RESTORED' ? [] : [{ sharer, note }];
    }),
  );
  return live.flat();
}

/** Its nodes are there, and none was deleted. */
function canBeDetached({ status, step }: ReplicaNote): boolean {
  return (status === 'INIT' || status === 'DETACHED') && step !== 'cleaning';
}

/** What somebody has to do about a sharer that stays attached. */
function sharerWords({ host, database, table }: SharingReplica, note: ReplicaNote): string {
  const name = `${database}.${table}`;
  if (canBeDetached(note)) return `retry, with ${name} of ${host} not left out, detaches it first; abort attaches everything again`;
  if (note.step === 'cleaning') return `Its own deletion was begun, and somebody attached it since: DETACH TABLE ${quoteTable({ database, table })} PERMANENTLY SYNC on ${host}, then retry or abort again`;
  return `It lost its nodes, and was not proved yet: see why ${name} of ${host} is not RESTORED, then retry or abort again`;
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
  const manifest = await manifestNames(host, input.migration, replica, note.detachTake);
  const parts = new Set([...manifest, ...(await savedStrays(host, input.migration, replica, zeroCopy.strayTake))]);
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
