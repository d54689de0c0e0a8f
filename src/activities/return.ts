import { clickHouseCode, serverWords } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { manifestNames, readNote, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { refuseShape } from '../domain/guards';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import { attachReplica, ensureAttached } from './attach';
import { startBackground } from './background';
import { brokenWords, findBroken } from './broken-metadata';
import { type Connections, ensembleOf, report, sleep } from './deps';
import { updateOf } from './detach';
import { targetOf } from './elect';
import { stillHeld } from './hold';
import { ACTIVE_WITHIN_MS, lookAtReplica, untilActive, waitWhileRunning } from './look';
import { attachAsItIs } from './repair-plain';
import { statementId } from './statement';
import { unlistedParts, unlistedWords } from './unlisted-parts';
import { zooKeeperWords } from './zookeeper-words';
import type { AttachInput, CleanInput, ReplicaOutcome } from './types';

const SYNC_TIMEOUT_MS = 600_000;
/** Most are active by then. */
const SOON_MS = 5_000;

/**
 * Abort, one replica: no table is left detached. Where its nodes are still in ZooKeeper it is attached and active again (INIT); where
 * they are gone it is attached readonly, its baseline saved (ZK_CLEANED), and has to be restored and proved like any other.
 */
export async function reattachReplica(connections: Connections, input: AttachInput): Promise<ReplicaOutcome> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const note = await readNote(host, migration, replica);
  if (note.status === 'RESTORED') {
    await ensureAttached(connections, input);
    return { updates: [updateOf(replica, note)] };
  }
  await stillHeld(host, migration, replica);
  if (note.step === 'repairing') {
    // It may be a plain table at this moment, and is attached as what it is: a restore begins with the end of its repair.
    await attachAsItIs(connections, input);
    return { updates: [updateOf(replica, note)] };
  }
  // With its old nodes kept, a replica that has only its baseline at the new place is active again at the old one.
  const kept = note.oldMetadata === 'kept' && (note.step === 'cleaned' || note.step === 'baseline');
  if (note.step === 'restoring' || (note.step === 'baseline' && !kept)) {
    await ensureAttached(connections, input);
    return { updates: [updateOf(replica, note)] };
  }
  // A DETACH that a dead worker had sent would take it away again.
  if (note.step === 'manifest') await waitWhileRunning(host, statementId(migration, replica, 'detach'));
  const zookeeper = await connections.zookeeper(ensembleOf(input.host, input.zookeeper, replica.zookeeperName), input.zookeeper.digestEnv);
  if ((await zookeeper.exists(`${replica.zookeeperPath}/replicas/${replica.replicaName}`)) === undefined) {
    return withoutNodes(connections, input, note);
  }
  if (note.step === 'cleaning') {
    throw new MigrationError(
      'NEEDS_HAND',
      `${replicaLabel(replica)}: the deletion of ${replica.zookeeperPath} was begun and did not end. Attached now, the server would put parts aside that have no node any more: ` +
        `see what keeps the rest from being deleted, then abort again or retry`,
    );
  }
  const unlisted = await unlistedBy(connections, input, zookeeper, note);
  const aside = unlisted.length === 0 ? [] : [`ZooKeeper's record of it lacked ${unlistedWords(unlisted)}: its server puts them into detached/, and ATTACH PART brings them back, where no other replica has them`];
  await attachToOld(connections, input, zookeeper, 'abort again');
  const soon = await untilActive(host, replica, SOON_MS);
  // One whose metadata was no good before may never be active: it is not waited for any longer.
  const before = soon ? undefined : await damagedBefore(zookeeper, replica);
  const active = soon || (before === undefined && (await untilActive(host, replica)));
  await startBackground(host, replica, note);
  if (active) return { updates: [updateOf(replica, await noteReturned(connections, input, note), aside[0])] };
  if (before !== undefined) {
    const words = [`its metadata was ${before}, and is not made anew: it is attached again, and readonly`, ...aside];
    return { updates: [updateOf(replica, await noteReturned(connections, input, note), words.join('; '))] };
  }
  // One that is left out on purpose holds up nobody.
  if (input.writable === 'required' && input.aborting === true) throw await stillReadonly(connections, input, 'then abort again');
  return { updates: [updateOf(replica, await noteReturned(connections, input, note), ['it is attached again, and readonly', ...aside].join('; '))] };
}

/** The parts of its manifest, which was saved right before its DETACH, that ZooKeeper's record of a detached replica lacks. */
async function unlistedBy(connections: Connections, { migration, host, replica }: AttachInput, zookeeper: ZooKeeperSession, { detachTake }: ReplicaNote): Promise<readonly string[]> {
  if (detachTake === '' || (await lookAtReplica(connections.host(host), replica)).attached) return [];
  return unlistedParts(zookeeper, `${replica.zookeeperPath}/replicas/${replica.replicaName}`, () => manifestNames(connections.host(host), migration, replica, detachTake));
}

/** Attaches a replica to the metadata that it had; where its server refuses that for what was broken before, it is said what helps. */
async function attachToOld(connections: Connections, input: AttachInput, zookeeper: ZooKeeperSession, then: 'abort' | 'abort again'): Promise<void> {
  const { replica } = input;
  try {
    await ensureAttached(connections, input);
  } catch (error) {
    const refused = error instanceof MigrationError && error.kind === 'unknown' && clickHouseCode(error) !== undefined;
    const before = refused ? await damagedBefore(zookeeper, replica) : undefined;
    if (!refused || before === undefined) throw error;
    const { root } = ensembleOf(input.host, input.zookeeper, replica.zookeeperName);
    throw new MigrationError(
      'NEEDS_HAND',
      `${replicaLabel(replica)} cannot be attached to its metadata, which was ${before}: ${serverWords(error.cause)}. Delete ${root}${replica.zookeeperPath}/replicas/${replica.replicaName} ` +
        `and all below it from ZooKeeper, then ${then}: it is attached without it, with its rows and readonly, and a migration in place makes its metadata anew`,
      { cause: error },
    );
  }
}

/** What is wrong with a table's metadata, in words. It was so before, or is by another's hand: a migration changes none of it until it deletes all. */
async function damagedBefore(zookeeper: ZooKeeperSession, { zookeeperPath: path, replicaName }: InventoryReplica): Promise<string | undefined> {
  const lacking = refuseShape((await zookeeper.children(path)) ?? [], false);
  if (lacking !== undefined) return `gone in part before (${lacking})`;
  const broken = await findBroken(zookeeper, path, [replicaName]);
  return broken.nodes.length + broken.entries.length === 0 ? undefined : `broken (no server can read ${brokenWords(broken)})`;
}

/** What is true of a replica that is attached where its nodes are, and whose server does not make it active: no row is lost, and none can be written. */
async function stillReadonly(connections: Connections, { host, replica }: AttachInput, then: string): Promise<MigrationError> {
  const exception = await zooKeeperWords(connections.host(host), replica);
  const words = exception === '' ? "system.replicas and the server's log say why" : `the server says: ${exception}`;
  return new MigrationError(
    'NOT_CAUGHT_UP',
    `${replicaLabel(replica)} is attached at its old place again, with its rows, and still readonly after ${ACTIVE_WITHIN_MS / 1_000} s: ${words}. ` +
      `See that its server reaches ZooKeeper and that ${replica.zookeeperPath}/replicas/${replica.replicaName} is whole, ${then}`,
  );
}

/** Its nodes are gone, by our hand or another's: it takes the way of a cleaned replica from here. */
async function withoutNodes(connections: Connections, input: AttachInput, note: ReplicaNote): Promise<ReplicaOutcome> {
  const { migration, replica } = input;
  if (note.status === 'INIT' && note.detachTake === '') {
    // Never touched by this migration: as it was is how it stays.
    await ensureAttached(connections, input);
    return { updates: [updateOf(replica, note)] };
  }
  // What was kept is as it was before: nothing of it has gone by our hand.
  const before = note.status !== 'ZK_CLEANED' || note.oldMetadata === 'kept';
  if (before && note.zeroCopy !== null) {
    // Its locks are left as they were found, and a RESTORE would fail on them: attached and without its nodes, as it was before.
    return attachWithoutNodes(connections, input, note);
  }
  if (before && (await pathRemains(connections, input, note))) {
    // Only this replica's metadata is gone, and it was so before: the others go on at their path as they were, and a RESTORE would join what is left there.
    return attachWithoutNodes(connections, input, note);
  }
  if (before) {
    // Nothing old is left that was kept: what is made anew here is all there is, and `deleteOld` has nothing to look for.
    const cleaned: ReplicaNote = { ...note, seq: note.seq + 1, status: 'ZK_CLEANED', step: note.status === 'ZK_CLEANED' ? note.step : 'cleaned', oldMetadata: 'deleted' };
    await connections.notes(input.host).write(migration, replica, cleaned);
  }
  return attachReplica(connections, input);
}

async function attachWithoutNodes(connections: Connections, input: AttachInput, note: ReplicaNote): Promise<ReplicaOutcome> {
  const { replica } = input;
  await ensureAttached(connections, input);
  await startBackground(connections.host(input.host), replica, note);
  return { updates: [updateOf(replica, await noteReturned(connections, input, note), 'its metadata was gone before, and is not made anew: start again')] };
}

/** Other replicas are registered at the path; or it is there without any, and not because this migration began to delete it. */
async function pathRemains(connections: Connections, { host, replica, zookeeper: target }: AttachInput, { step }: ReplicaNote): Promise<boolean> {
  const zookeeper = await connections.zookeeper(ensembleOf(host, target, replica.zookeeperName), target.digestEnv);
  if (((await zookeeper.children(`${replica.zookeeperPath}/replicas`)) ?? []).length > 0) return true;
  return step !== 'cleaning' && (await zookeeper.exists(replica.zookeeperPath)) !== undefined;
}

/** Notes that a replica is attached again, and that its baseline counts no more. */
export async function writeReturned(connections: Connections, { host, migration, replica }: AttachInput, note: ReplicaNote): Promise<ReplicaNote> {
  const returned: ReplicaNote = { ...note, seq: note.seq + 1, status: 'INIT', step: 'returned', baselineTake: '' };
  await connections.notes(host).write(migration, replica, returned);
  return returned;
}

async function noteReturned(connections: Connections, input: AttachInput, note: ReplicaNote): Promise<ReplicaNote> {
  if (note.status === 'INIT' && note.step !== 'manifest') return note;
  return writeReturned(connections, input, note);
}

/** A queue that does not get empty in time is said by the barrier when the table comes there again, and not waited for without end. */
async function catchUp(host: ClickHouseHost, replica: InventoryReplica): Promise<void> {
  report({ doing: `SYSTEM SYNC REPLICA on ${replica.host}` });
  try {
    await host.run(statements.sync(replica), { doing: `letting ${replicaLabel(replica)} catch up`, timeoutMs: SYNC_TIMEOUT_MS });
  } catch (error) {
    if (!(error instanceof MigrationError) || error.type !== 'STILL_RUNNING') throw error;
  }
}

/** Waits for mutations, which SYNC REPLICA does not. One that does not end is said by the barrier when the table comes there again. */
async function untilMutated(host: ClickHouseHost, replica: InventoryReplica): Promise<void> {
  for (const end = Date.now() + SYNC_TIMEOUT_MS; Date.now() < end; await sleep(500)) {
    const [row] = await host.select<{ n: string }>(
      'SELECT count() AS n FROM system.mutations WHERE NOT is_done AND database = {database:String} AND table = {table:String}',
      { params: { database: replica.database, table: replica.table }, doing: `looking at the mutations of ${replicaLabel(replica)}` },
    );
    if (Number(row?.n) === 0) return;
    report({ doing: `waiting for ${row?.n ?? '?'} mutation(s) on ${replica.host}` });
  }
}

/** Going back is only good for a replica that its server has active again, with every part: else it would come back with less than its manifest. */
async function refuseToGoBack(connections: Connections, input: AttachInput, zookeeper: ZooKeeperSession, note: ReplicaNote | undefined): Promise<void> {
  const { replica } = input;
  const unlisted = note === undefined ? [] : await unlistedBy(connections, input, zookeeper, note);
  const damaged = await damagedBefore(zookeeper, replica);
  const why = [
    ...(unlisted.length === 0 ? [] : [`ZooKeeper's record of it lacks ${unlistedWords(unlisted)}, and its server would put them into detached/`]),
    ...(damaged === undefined ? [] : [`its metadata was ${damaged}, and its server would have it readonly`]),
  ];
  if (why.length === 0) return;
  throw new MigrationError(
    'NEEDS_HAND',
    `somebody wrote to the table while it was detached, and ${replicaLabel(replica)} cannot go back to catch up: ${why.join('; ')}. Stop who writes, and abort: it is attached as it is, and what has to be done by hand is said; then start again`,
  );
}

/**
 * Takes a table back before anything of it was deleted: an INSERT reached one replica between the others' DETACH and its own. All are
 * attached, catch up with each other, and can be detached again.
 */
export async function returnTable(connections: Connections, input: CleanInput): Promise<ReplicaOutcome> {
  const attachInput = (replica: InventoryReplica): AttachInput => ({
    migration: input.migration,
    host: targetOf(input.hosts, replica.host),
    replica,
    zookeeper: input.zookeeper,
    limit: input.limit,
  });
  const notes = await Promise.all(input.table.replicas.map((replica) => readNote(connections.host(targetOf(input.hosts, replica.host)), input.migration, replica)));
  // Where one is not noted, none of its nodes was deleted yet.
  if (notes.every(({ step }) => step === 'cleaning')) {
    throw new MigrationError('INVARIANT', `${input.table.zookeeperPath}: its nodes are being deleted, it cannot go back`);
  }
  const [any] = input.table.replicas;
  if (any === undefined) throw new MigrationError('INVARIANT', 'a table without a replica');
  const zookeeper = await connections.zookeeper(ensembleOf(targetOf(input.hosts, any.host), input.zookeeper, input.table.zookeeperName), input.zookeeper.digestEnv);
  for (const [index, replica] of input.table.replicas.entries()) await refuseToGoBack(connections, attachInput(replica), zookeeper, notes[index]);
  await Promise.all(input.table.replicas.map((replica) => attachToOld(connections, attachInput(replica), zookeeper, 'abort')));
  for (const replica of input.table.replicas) {
    const host = connections.host(targetOf(input.hosts, replica.host));
    if (!(await untilActive(host, replica))) throw await stillReadonly(connections, attachInput(replica), 'then retry');
    await catchUp(host, replica);
    await untilMutated(host, replica);
  }
  const updates = await Promise.all(
    input.table.replicas.map(async (replica) => {
      const note = await readNote(connections.host(targetOf(input.hosts, replica.host)), input.migration, replica);
      return updateOf(replica, await noteReturned(connections, attachInput(replica), note));
    }),
  );
  return { updates };
}
