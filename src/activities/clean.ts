import { manifestNames, readNote, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type ReplicaEntry, replicaLabel, settled } from '../domain/inventory';
import { areRemains } from '../domain/guards';
import { PartIndex } from '../domain/part-name';
import { isBrokenEntry, stillOwed } from '../domain/queue-entry';
import { hasReached } from '../domain/status';
import type { ZooKeeperSession } from '../zookeeper/session';
import { ensureAttached } from './attach';
import { type Connections, ensembleOf, fence, fenced, report } from './deps';
import { updateOf } from './detach';
import { areOfGoneHosts } from './gone-replicas';
import { readHold, stillHeld } from './hold';
import { lookAtReplica, untilActive } from './look';
import { refuseTree } from './path-guard';
import { indexOf, isLogEntry, isPointer, unreadBy, valuesAt } from './replication-log';
import { writeReturned } from './return';
import { unlistedParts } from './unlisted-parts';
import { withWriters } from './writers';
import { alike } from './zero-copy-facts';
import { STALL_LIMIT_MS } from './fence';
import { deleteOwnLocks, detachSharers, saveOwnLocks, sharersAway } from './zero-copy-clean';
import type { CleanInput, HostTarget, ReplicaOutcome } from './types';

interface Member {
  readonly replica: ReplicaEntry;
  readonly target: HostTarget;
  note: ReplicaNote;
}

/**
 * Phase clean, one replicated table: barrier, delete exactly this table's nodes, see that they are gone. The barrier is looked at on
 * every replica, with the server and with ZooKeeper, immediately before the deletion; an answer that did not come is a no.
 */
export async function cleanTable(connections: Connections, input: CleanInput): Promise<ReplicaOutcome> {
  try {
    return await barrierAndDelete(connections, input);
  } catch (error) {
    throw error instanceof MigrationError && error.type === 'REPLICAS_DIFFER' ? await withWriters(connections, input, error) : error;
  }
}

async function barrierAndDelete(connections: Connections, input: CleanInput): Promise<ReplicaOutcome> {
  const members = await readMembers(connections, input);
  if (input.keep !== 'delete-old' && members.every(({ note }) => hasReached(note.status, 'ZK_CLEANED'))) {
    return { updates: members.map(({ replica, note }) => updateOf(replica, note)) };
  }
  const zookeeper = await sessionOf(connections, input);
  const behind = input.takesBack === true ? await livedOnWithout(connections, zookeeper, input, members) : [];
  if (behind.length > 0) return { updates: await Promise.all(behind.map((member) => takeBack(connections, input, member))) };
  const detached = input.takesBack === true ? await makeWay(connections, input, members, zookeeper) : undefined;
  await barrier(connections, input, members, zookeeper);
  await saveLocks(connections, input, members, zookeeper);
  if (input.keep === 'keep') {
    await sameRecordAsSaved(connections, input, members, zookeeper);
  } else {
    const { migration, limit, aborting } = input;
    await connections.turns.take({ migration, what: 'clean', limit, ...(aborting === true ? { aborting } : {}) }, async () => {
      fence();
      await deleteNodes(connections, input, members, zookeeper);
      await lastLook(connections, input, members, zookeeper);
      await deleteOwnLocks(connections, input, members, zookeeper);
    });
  }
  await noteAll(connections, input, members, (note) => ({
    ...note,
    status: input.keep === 'delete-old' ? note.status : 'ZK_CLEANED',
    step: input.keep === 'delete-old' ? note.step : 'cleaned',
    oldMetadata: input.keep === 'keep' ? 'kept' : 'deleted',
  }));
  return { updates: members.map(({ replica, note }) => updateOf(replica, note, detached)) };
}

/** Abort: what shares the id of the table's locks is detached for a moment, once nothing of the table itself is in the way. Answers what to say of it. */
async function makeWay(connections: Connections, input: CleanInput, members: readonly Member[], zookeeper: ZooKeeperSession): Promise<string | undefined> {
  if (input.table.sharers === undefined) return undefined;
  await ownAway(connections, input, members, zookeeper);
  const detached = await detachSharers(connections, input);
  if (detached.length === 0) return undefined;
  return `for its deletion to be finished, ${detached.map(replicaLabel).join(', ')} was detached once more, and is attached again`;
}

/** Zero-copy tables: their locks are on disk before anything of them is deleted. */
async function saveLocks(connections: Connections, input: CleanInput, members: readonly Member[], zookeeper: ZooKeeperSession): Promise<void> {
  alike(members);
  await Promise.all(
    members.map(async (member) => {
      const note = await saveOwnLocks(connections, input, member, zookeeper);
      if (note === member.note) return;
      member.note = { ...note, seq: note.seq + 1 };
      await connections.notes(member.target).write(input.migration, member.replica, member.note);
    }),
  );
}

async function sessionOf(connections: Connections, input: CleanInput): Promise<ZooKeeperSession> {
  const host = input.hosts.find(({ name }) => name === input.table.replicas[0]?.host);
  if (host === undefined) throw new MigrationError('INVARIANT', 'a table without a replica');
  return connections.zookeeper(ensembleOf(host, input.zookeeper, input.table.zookeeperName), input.zookeeper.digestEnv);
}

async function readMembers(connections: Connections, input: CleanInput): Promise<Member[]> {
  return Promise.all(
    input.table.replicas.map(async (replica) => {
      const target = input.hosts.find(({ name }) => name === replica.host);
      if (target === undefined) throw new MigrationError('INVARIANT', `the host ${replica.host} is not in the spec`);
      return { replica, target, note: await readNote(connections.host(target), input.migration, replica) };
    }),
  );
}

async function noteAll(
  connections: Connections,
  input: CleanInput,
  members: readonly Member[],
  change: (note: ReplicaNote) => ReplicaNote,
): Promise<void> {
  await Promise.all(
    members.map(async (member) => {
      member.note = { ...change(member.note), seq: member.note.seq + 1 };
      await connections.notes(member.target).write(input.migration, member.replica, member.note);
    }),
  );
}

/** Nothing of the table lives, nor of what shares the id of its zero-copy locks. */
async function barrier(connections: Connections, input: CleanInput, members: readonly Member[], zookeeper: ZooKeeperSession): Promise<void> {
  await ownAway(connections, input, members, zookeeper);
  if (input.keep !== 'delete-old') await sharersAway(connections, input);
}

/** Every replica seen detached by its server, none active in ZooKeeper, no replica there that the inventory does not know. */
async function ownAway(
  connections: Connections,
  input: CleanInput,
  members: readonly Member[],
  zookeeper: ZooKeeperSession,
): Promise<void> {
  await Promise.all(members.map(({ replica, target }) => stillHeld(connections.host(target), input.migration, replica)));
  if (input.keep !== 'delete-old') {
    await Promise.all(members.map((member) => seenDetached(connections, member)));
  } else {
    await Promise.all(members.map((member) => seenAtNewPlace(connections, input, member)));
    if (input.writable === 'required') await Promise.all(members.map((member) => seenActive(connections, member)));
  }
  const path = input.table.zookeeperPath;
  // A server of the ensemble that lags behind its leader would not know yet who came.
  await zookeeper.sync(path);
  const registered = (await zookeeper.children(`${path}/replicas`)) ?? [];
  const known = new Set([...members.map(({ replica }) => replica.replicaName), ...input.allowMissingReplicas]);
  const stranger = registered.find((name) => !known.has(name));
  if (stranger !== undefined && !(await areOfGoneHosts(connections, input, registered.filter((name) => !known.has(name))))) {
    throw new MigrationError('REPLICA_LIVE', `${path} has a replica "${stranger}" that is on no host of the spec`);
  }
  await Promise.all(
    registered.map(async (name) => {
      if ((await zookeeper.exists(`${path}/replicas/${name}/is_active`)) === undefined) return;
      throw new MigrationError('REPLICA_LIVE', `${path}: the replica "${name}" is active in ZooKeeper`);
    }),
  );
}

/** Before its old metadata goes: the server has it attached and active, which is at its new place, for at the old one ZooKeeper would say so. */
async function seenActive(connections: Connections, { replica, target }: Member): Promise<void> {
  const host = connections.host(target);
  const { attached } = await lookAtReplica(host, replica);
  if (attached && (await untilActive(host, replica))) return;
  throw new MigrationError('REPLICA_LIVE', `${replicaLabel(replica)} is ${attached ? 'readonly' : 'not attached'}: its old metadata is kept until its server has it active at its new place`);
}

/** Before its old metadata goes: it is registered at its new place. One that an abort made anew at the old place has no other. */
async function seenAtNewPlace(connections: Connections, { newPlaces, zookeeper: at }: CleanInput, { replica }: Member): Promise<void> {
  const target = newPlaces?.find(({ name }) => name === replica.host);
  if (target === undefined) return;
  const { zookeeperName, zookeeperPath, replicaName } = settled(replica);
  const ensemble = ensembleOf(target, at, zookeeperName);
  const zookeeper = await connections.zookeeper(ensemble, at.digestEnv);
  if ((await zookeeper.exists(`${zookeeperPath}/replicas/${replicaName}`)) !== undefined) return;
  throw new MigrationError('REPLICA_LIVE', `${replicaLabel(replica)} is not registered at its new place, ${ensemble.root}${zookeeperPath}: its old metadata is kept until it is`);
}

async function seenDetached(connections: Connections, { replica, target, note }: Member): Promise<void> {
  const state = await lookAtReplica(connections.host(target), replica);
  if (state.attached) {
    throw new MigrationError('REPLICA_LIVE', `${replicaLabel(replica)} is attached: nothing of its path may be deleted`);
  }
  if (note.detachTake === '') {
    throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)} has no saved manifest: nothing of its path may be deleted`);
  }
}

async function deleteNodes(
  connections: Connections,
  input: CleanInput,
  members: readonly Member[],
  zookeeper: ZooKeeperSession,
): Promise<void> {
  const path = input.table.zookeeperPath;
  const children = await zookeeper.children(path);
  if (children === undefined) {
    // Only the locks of a zero-copy table are left to be deleted, and a deletion that was begun has to be finished.
    const begins = input.keep !== 'delete-old' && members.some(({ note }) => note.zeroCopy !== null && note.step !== 'cleaning');
    if (begins) await noteAll(connections, input, members, (note) => ({ ...note, step: 'cleaning' }));
    return;
  }
  // All were noted before the first node went: where one is not, nothing was deleted by this migration.
  const begun = input.keep === 'delete-old' || members.every(isBegun);
  const refusal = await refuseTree(zookeeper, path, children, begun || areRemains(children));
  if (refusal !== undefined) throw new MigrationError('UNSAFE_PATH', `${path} is not deleted: ${refusal}`);
  if (!begun) {
    await refuseLivedOn(connections, zookeeper, input, members);
    await sameRecordAsSaved(connections, input, members, zookeeper);
    await noteAll(connections, input, members, (note) => ({ ...note, step: 'cleaning' }));
  }
  await barrier(connections, input, members, zookeeper);
  await seenUnchanged(connections, input, members);
  const { deleted } = await zookeeper.deleteTree(path, {
    patienceMs: STALL_LIMIT_MS,
    oneSession: true,
    mayGoOn: fenced(),
    onProgress: ({ deleted: done, perSecond }) => {
      report({ doing: `deleting nodes, ${Math.round(perSecond)}/s`, done });
    },
  });
  if ((await zookeeper.exists(path)) !== undefined) {
    throw new MigrationError('REPLICA_LIVE', `${path} is there again after ${deleted} nodes were deleted: something lives on it`);
  }
}

/**
 * Replicas whose nodes this migration deleted, or began to, and without which the path is there again: an abort left their hosts out, and the
 * others were restored and lived on. What they have is older. Their notes may be from before the deletion; that an end of the migration went
 * by without them is seen on the hosts.
 */
async function livedOnWithout(connections: Connections, zookeeper: ZooKeeperSession, { migration, table }: CleanInput, members: readonly Member[]): Promise<Member[]> {
  const registered = new Set((await zookeeper.children(`${table.zookeeperPath}/replicas`)) ?? []);
  if (registered.size === 0) return [];
  const ends = await Promise.all(members.map(async ({ target }) => (await readHold(connections.host(target), migration)).ends));
  const some = !members.every(isBegun);
  return members.filter((member, index) => {
    if (some && hasReached(member.note.status, 'ZK_CLEANED')) return true;
    return !registered.has(member.replica.replicaName) && ((some && member.note.step === 'cleaning') || (ends[index] ?? 0) < Math.max(...ends));
  });
}

/** Its nodes were about to go, or are gone. */
function isBegun({ note }: Member): boolean {
  return note.step === 'cleaning' || hasReached(note.status, 'ZK_CLEANED');
}

async function refuseLivedOn(connections: Connections, zookeeper: ZooKeeperSession, input: CleanInput, members: readonly Member[]): Promise<void> {
  const [behind] = await livedOnWithout(connections, zookeeper, input, members);
  if (behind === undefined) return;
  const { host } = behind.replica;
  throw new MigrationError(
    'REPLICA_LIVE',
    `${input.table.zookeeperPath} was made anew without ${replicaLabel(behind.replica)}, and lived on: nothing of it is deleted. What ${host} has is older: ` +
      `abort, which attaches it again, readonly; then see there that it has nothing which the others lack, DROP it, and CREATE it again: it fetches what the others have`,
  );
}

/** Abort: such a replica is attached as it is. */
async function takeBack(connections: Connections, input: CleanInput, { replica, target, note }: Member): Promise<ReturnType<typeof updateOf>> {
  const { migration, zookeeper, limit } = input;
  await stillHeld(connections.host(target), migration, replica);
  const attach = { migration, host: target, replica, zookeeper, limit };
  await ensureAttached(connections, attach);
  return updateOf(replica, await writeReturned(connections, attach, note), 'the others were restored without it and have lived on: it is attached again, readonly, and what it has is older than theirs');
}

/** Before the locks of a zero-copy table go, whose path may have been gone already, and nobody have looked since it waited for its turn. */
async function lastLook(connections: Connections, input: CleanInput, members: readonly Member[], zookeeper: ZooKeeperSession): Promise<void> {
  if (members.every(({ note }) => note.zeroCopy === null)) return;
  await barrier(connections, input, members, zookeeper);
  await seenUnchanged(connections, input, members);
  fence();
}

/** No other attempt has come further since the notes were read: what it made anew would be deleted. */
async function seenUnchanged(connections: Connections, input: CleanInput, members: readonly Member[]): Promise<void> {
  await Promise.all(
    members.map(async ({ replica, target, note }) => {
      const now = await readNote(connections.host(target), input.migration, replica);
      if (now.seq === note.seq) return;
      throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is ${now.status} (${now.step}) by now: it is looked at again`);
    }),
  );
}

function namesOf({ replicas }: CleanInput['table']): ReadonlySet<string> {
  return new Set(replicas.map(({ replicaName }) => replicaName));
}

/** {@link sameRecord} of detached replicas, whose parts are those of their saved manifests. */
async function sameRecordAsSaved(connections: Connections, input: CleanInput, members: readonly Member[], zookeeper: ZooKeeperSession): Promise<void> {
  await sameRecord(zookeeper, input.table.zookeeperPath, namesOf(input.table), (name) => async () => {
    const member = members.find(({ replica }) => replica.replicaName === name);
    return member === undefined ? [] : manifestNames(connections.host(member.target), input.migration, member.replica, member.note.detachTake);
  });
}

/**
 * ZooKeeper's own record of the inventory's replicas must be equal: the same parts, nothing but merges to do. Else one of them has what another
 * lacks (an INSERT that only one replica got), and it would be lost for the others. A replica whose host is gone for good
 * is not among them: the plan said what only it had. A lone one must have done what was asked of it. What no server can read counts for nothing.
 *
 * @param held the parts that a replica's server has, or had when its manifest was saved: one that its record lacks all the same is lost there alone
 * @throws MigrationError `REPLICAS_DIFFER`
 */
export async function sameRecord(
  zookeeper: ZooKeeperSession,
  path: string,
  members: ReadonlySet<string>,
  held: (replicaName: string) => () => Promise<readonly string[]>,
): Promise<void> {
  const names = ((await zookeeper.children(`${path}/replicas`)) ?? []).filter((name) => members.has(name));
  const log = ((await zookeeper.children(`${path}/log`)) ?? []).filter(isLogEntry);
  const end = Math.max(-1, ...log.map(indexOf)) + 1;
  const mutations = (await zookeeper.children(`${path}/mutations`)) ?? [];
  const records = await Promise.all(
    names.map(async (name) => {
      const replica = `${path}/replicas/${name}`;
      const [parts, queue, pointer, mutated] = await Promise.all([
        zookeeper.children(`${replica}/parts`),
        zookeeper.children(`${replica}/queue`),
        zookeeper.get(`${replica}/log_pointer`),
        zookeeper.get(`${replica}/mutation_pointer`),
      ]);
      return {
        name,
        parts: new Set(parts ?? []),
        queue: queue ?? [],
        unread: unreadBy(log, pointer?.data.toString() ?? ''),
        mutations: await undoneMutations(zookeeper, path, mutations, mutated?.data.toString() ?? ''),
        whole: parts !== undefined && queue !== undefined && pointer !== undefined,
      };
    }),
  );
  const whole = records.filter((record) => record.whole);
  // What was accepted and not done yet would be gone with the path, and rows that were deleted be there again.
  const undone = whole.filter((record) => record.mutations > 0);
  if (undone.length > 0) {
    const words = undone.map(({ name, mutations: n }) => `"${name}" has ${n} mutation(s) to do`).join('; ');
    throw new MigrationError('REPLICAS_DIFFER', `${path}: what was asked of the table is not done: ${words}`, { details: { behind: undone.map(({ name }) => name), ahead: [] } });
  }
  const owing = await Promise.all(whole.map(async (record) => ({ ...record, owed: await owedBy(zookeeper, path, record) })));
  const [lone] = owing;
  // A record that lost nodes says nothing of its parts: the election takes the most complete baseline, and the proof holds the others to theirs.
  // The same goes for parts that another one would still fetch from it.
  const damaged = whole.length < records.length;
  if (lone !== undefined && records.length === 1) refuseOwed(path, lone, lone.owed, 'its only replica, ');
  for (const record of damaged ? owing : []) refuseOwed(path, record, record.owed.filter((kind) => !FETCHED.has(kind)), '');
  if (damaged || records.length === 1) return;
  const all = new Set(owing.flatMap(({ parts }) => [...parts]));
  const compared = await Promise.all(
    owing.map(async (one) => {
      const lacking = lackingOf(one.parts, all);
      if (lacking.length === 0) return { ...one, lacking };
      const unlisted = new Set(await unlistedParts(zookeeper, `${path}/replicas/${one.name}`, held(one.name)));
      return { ...one, lacking: lacking.filter((part) => !unlisted.has(part)) };
    }),
  );
  const short = compared.filter(({ lacking, owed }) => lacking.length > 0 || owed.length > 0);
  if (short.length === 0) return;
  const words = short.map(
    ({ name, lacking, queue, unread, owed }) =>
      `"${name}" has ${all.size - lacking.length} of ${all.size} parts, ${queue.length} in its queue, ${unread.length} unread in the log (end ${end})${owed.length === 0 ? '' : `, of which it has to do ${owed.length} (${[...new Set(owed)].join(', ')})`}`,
  );
  const ahead = compared.filter(({ lacking }) => lacking.length === 0).map(({ name }) => name);
  if (ahead.length < compared.length) words.push(`what is lacking was written by way of ${ahead.map((name) => `"${name}"`).join(', ') || 'several'}`);
  throw new MigrationError('REPLICAS_DIFFER', `${path}: ZooKeeper's record of the replicas differs: ${words.join('; ')}`, {
    details: { behind: short.map(({ name }) => name), ahead },
  });
}

/** What a record lacks of all parts. A part that a merge put out of use is registered until its server removes it, each at a time of its own. */
function lackingOf(parts: ReadonlySet<string>, all: ReadonlySet<string>): readonly string[] {
  const index = new PartIndex([...parts]);
  return [...all].filter((part) => !index.hasMadeOf(part));
}

/** The entries that bring a part, in words of {@link stillOwed}. */
const FETCHED: ReadonlySet<string> = new Set(['get', 'attach']);

/**
 * What a replica has in its queue, and in the log behind its pointer, that its table lacks. A partition that was dropped, say, would be there
 * again if the entry for it went with the path. A merge changes no row, and is chosen again.
 */
async function owedBy(zookeeper: ZooKeeperSession, path: string, { name, queue, unread }: { readonly name: string; readonly queue: readonly string[]; readonly unread: readonly string[] }): Promise<string[]> {
  const replica = `${path}/replicas/${name}`;
  const nodes = [...queue.map((entry) => `${replica}/queue/${entry}`), ...unread.map((entry) => `${path}/log/${entry}`)];
  if (nodes.length === 0) return [];
  const texts = (await valuesAt(zookeeper, nodes)).flatMap(({ value }) => value ?? []);
  // After the entries: a part and the entry for it are made together.
  const parts = new PartIndex((await zookeeper.children(`${replica}/parts`)) ?? []);
  return texts.flatMap((text) => (isBrokenEntry(text) ? [] : (stillOwed(text, parts) ?? [])));
}

function refuseOwed(path: string, { name }: { readonly name: string }, owed: readonly string[], only: string): void {
  if (owed.length === 0) return;
  throw new MigrationError(
    'REPLICAS_DIFFER',
    `${path}: what was asked of the table is not done: "${name}", ${only}has ${owed.length} entries of its replication queue to do (${[...new Set(owed)].join(', ')})`,
    { details: { behind: [name], ahead: [] } },
  );
}

/** The mutations that a replica has still to do. Ids are numbers of one length; the pointer is empty before the first. Behind a pointer that is no number nobody can tell. */
async function undoneMutations(zookeeper: ZooKeeperSession, path: string, ids: readonly string[], pointer: string): Promise<number> {
  if (!isPointer(pointer)) return 0;
  const values = await valuesAt(zookeeper, ids.filter((id) => id > pointer).map((id) => `${path}/mutations/${id}`));
  return values.filter(({ value }) => value !== undefined && !isBrokenEntry(value)).length;
}
