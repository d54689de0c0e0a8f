import { CODES } from '../clickhouse/errors';
import { statements } from '../clickhouse/sql';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { readNote, type ReplicaNote } from '../clickhouse/store';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import { describeDifference, isEqual, type ManifestDifference } from '../domain/manifest';
import { type Connections, ensembleOf, fence, report, sleep, stopIfCancelled, turnOf } from './deps';
import { startBackground, stopBackground } from './background';
import { updateOf } from './detach';
import { ensureAttached, reattach } from './attach';
import { deleteOfGone } from './gone-replicas';
import { isStillHeld, stillHeld } from './hold';
import { collisionsInDetached, nameableParts, refuseOtherOrder, repairParts, wherePartsLie } from './repair';
import { repairAsPlain } from './repair-plain';
import { compareWithBaseline, lookAtReplica, type ReplicaState, runningStatement, waitingWords, waitWhileRunning } from './look';
import { heldByFirst, insertedSince, lackedOfFirst, proveByRows, proveAgainstFirst, ROW_KEEPING_ENGINES } from './proof';
import { refusalOf, send, type StatementEnd, statementId } from './statement';
import type { ZooKeeperSession } from '../zookeeper/session';
import { sameSetting } from './zero-copy-facts';
import { proveZeroCopy } from './zero-copy-proof';
import { withRoomForLocks } from './zero-copy-room';
import { returnStrays } from './zero-copy-strays';
import type { ReplicaOutcome, RestoreInput } from './types';

/** How long a replica may stand without any progress after its RESTORE before it is said not to have caught up. */
const NO_PROGRESS_LIMIT_MS = 120_000;

/** What is known of a replica's data against its baseline, and of its registration in ZooKeeper. */
export interface Standing {
  readonly difference: ManifestDifference;
  readonly registered: boolean;
  /** Active parts that ZooKeeper does not list, and the other way round. */
  readonly unlisted: number;
  readonly readonly: boolean;
  readonly sessionExpired: boolean;
  readonly queueSize: number;
  readonly active: number;
}

/**
 * Phase restore, one replica: `SYSTEM RESTORE REPLICA`, then proof. RESTORED means that the multiset of its parts equals its baseline,
 * that exactly these parts are registered in ZooKeeper at the expected path, and that it is writable. Nothing else means it: no answer
 * of the statement, no "replica path is present", no empty answer.
 *
 * Source: https://clickhouse.com/docs/sql-reference/statements/system#restore-replica
 */
export async function restoreReplica(connections: Connections, input: RestoreInput): Promise<ReplicaOutcome> {
  try {
    const { note, words, held } = await restoreAndProve(connections, input);
    if (input.alone && held) {
      await startBackground(connections.host(input.host), input.replica, note);
      await noteStarted(connections, input, note);
    }
    return { updates: [updateOf(input.replica, note, words)] };
  } catch (error) {
    // Given up, as far as this run goes: what it failed with is told, whether they start or not.
    if (input.alone && error instanceof MigrationError && error.kind === 'final') await startIfSafe(connections, input).catch(() => undefined);
    throw error;
  }
}

/** That its merges go on again: one that was proved and died before that is not done with. */
export async function noteStarted(connections: Connections, { migration, host, replica }: Pick<RestoreInput, 'migration' | 'host' | 'replica'>, note: ReplicaNote): Promise<void> {
  if (note.status === 'RESTORED' && note.step !== 'started') await connections.notes(host).write(migration, replica, { ...note, seq: note.seq + 1, step: 'started' });
}

/**
 * A zero-copy replica that is not proved may hold blobs that nobody has a lock on: what removes parts stays stopped. So do merges of an
 * engine that does not keep every row: what they change can be proved by nothing any more.
 */
async function startIfSafe(connections: Connections, input: RestoreInput): Promise<void> {
  const host = connections.host(input.host);
  await stillHeld(host, input.migration, input.replica);
  const note = await readNote(host, input.migration, input.replica);
  if (note.zeroCopy !== null || !ROW_KEEPING_ENGINES.has((await lookAtReplica(host, input.replica)).engine)) return;
  await startBackground(host, input.replica, note);
}

interface Proved {
  readonly note: ReplicaNote;
  readonly words?: string;
  /** False of one that the migration let go of, and that was only looked at. */
  readonly held: boolean;
}

async function restoreAndProve(connections: Connections, input: RestoreInput): Promise<Proved> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  await keepFirstStill(connections, input);
  let note = await readNote(host, migration, replica);
  if (note.baselineTake === '') throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)} has no baseline manifest`);
  if (!(await isStillHeld(host, migration, replica))) {
    if (await isRestoredStill(connections, input, note)) return { note, held: false };
    await stillHeld(host, migration, replica);
  }
  // A repair as a plain table that was cut short: until it is over there may be no replica to look at.
  if (note.step === 'repairing') note = await repairAsPlain(connections, input, note);
  let state = await ensureAttached(connections, input);
  const begun = note.step !== 'baseline';
  if (begun) {
    // A server that was killed since started with its merges on: what they change can no longer be compared by hashes.
    await stopBackground(host, replica, note);
    await waitWhileRunning(host, statementId(migration, replica, 'restore'));
    state = await lookAtReplica(host, replica);
  }
  await sameSetting(connections, input.host, replica, note);
  const registered = await isRegistered(connections, input);
  if (note.status === 'RESTORED' && registered) return { note, held: true };
  const words: string[] = [];
  if (!registered) {
    const gone = input.first === undefined ? await deleteOfGone(connections, input) : undefined;
    if (gone !== undefined) words.push(gone);
    // Nothing on the server renews the session of a table without metadata.
    if (state.readonly && state.sessionExpired) state = await reattach(connections, input, note);
    if (input.first === undefined && !ROW_KEEPING_ENGINES.has(state.engine)) state = await inOrder(connections, input, note, state);
    note = await restore(connections, input, note, state);
  }
  let standing = await look(connections, input, note);
  if (!isSettled(standing, input)) {
    await untilQuiet(connections, input);
    standing = await settle(connections, input, note, await look(connections, input, note));
  }
  // On another replica than the first an attached part would be added to the first's as well, and its rows be there twice.
  if (input.first === undefined && standing.difference.missingParts > 0) {
    if (standing.readonly && (await canBeNamed(connections, input, note)) > 0) {
      note = await repairAsPlain(connections, input, note);
      note = await restore(connections, input, note, await lookAtReplica(host, replica));
      words.push('repaired as a plain table for a moment: parts attached from detached/ by the saved manifest');
    } else {
      const repairing = note;
      const repaired = await withRoomForLocks(connections, input, repairing, () => repairParts(connections, input, repairing));
      if (repaired > 0) words.push(`repaired: ${repaired} parts attached from detached/ by the saved manifest`);
    }
    standing = await settle(connections, input, note, await look(connections, input, note));
  }
  if (note.zeroCopy !== null && note.zeroCopy.strays > 0) {
    const returning = note;
    note = await withRoomForLocks(connections, input, returning, () => returnStrays(connections, input, returning));
    words.push('brought back what a failed RESTORE had left in detached/');
    standing = await settle(connections, input, note, await look(connections, input, note));
  }
  const proof = await prove(connections, input, note, standing);
  if (proof !== undefined) words.push(proof);
  words.push(...(await proveZeroCopy(connections, input, note)));
  if (note.zeroCopy !== null) await sameSetting(connections, input.host, replica, note);
  fence();
  note = { ...note, seq: note.seq + 1, status: 'RESTORED', step: 'restored' };
  await connections.notes(input.host).write(migration, replica, note);
  return { note, held: true, ...(words.length === 0 ? {} : { words: words.join('; ') }) };
}

/** Has every part of a table whose rows are chosen by the order of its parts at its place before RESTORE: what a hand has put back the server sees at its next ATTACH. */
async function inOrder(connections: Connections, input: RestoreInput, note: ReplicaNote, state: ReplicaState): Promise<ReplicaState> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const { difference } = await compareWithBaseline(host, migration, replica, note, 'hash_of_all_files');
  if (difference.missingParts === 0) return state;
  await refuseOtherOrder(host, migration, replica, note);
  return reattach(connections, input, note);
}

/**
 * The first replica of a zero-copy table, proved already, is told with each try of another to stop its merges: its server may have started
 * again meanwhile, and what it merges away takes along blobs that this one has no locks on yet.
 */
async function keepFirstStill(connections: Connections, { migration, first, zeroCopy }: RestoreInput): Promise<void> {
  if (first === undefined || zeroCopy !== true) return;
  const host = connections.host(first.host);
  if (await isStillHeld(host, migration, first.replica)) await stopBackground(host, first.replica, { zeroCopy: {} });
}

/** A replica that was proved, and is there with its node as it was then: a run that was reset to before its end has nothing to do to it. */
async function isRestoredStill(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<boolean> {
  return note.status === 'RESTORED' && (await lookAtReplica(connections.host(input.host), input.replica)).attached && (await isRegistered(connections, input));
}

/**
 * Proves a replica that is registered already, by the same rules, and sends nothing: for one that was restored by another's hand.
 *
 * @returns what has to be said beside it
 * @throws MigrationError `PROOF_FAILED`, `NOT_CAUGHT_UP`
 */
export async function proveAsItIs(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<string | undefined> {
  return prove(connections, input, note, await settle(connections, input, note, await look(connections, input, note)));
}

/** How many parts a repair could attach. */
async function canBeNamed(connections: Connections, { host, migration, replica }: RestoreInput, note: ReplicaNote): Promise<number> {
  return (await nameableParts(connections.host(host), migration, replica, note)).length;
}

/** Looks at data and registration together. */
async function look(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<Standing> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const { zookeeper, node } = await nodeOf(connections, input);
  const [state, { difference, names }, listed] = await Promise.all([
    lookAtReplica(host, replica),
    compareWithBaseline(host, migration, replica, note, input.first === undefined ? 'hash_of_all_files' : 'hash_of_uncompressed_files'),
    zookeeper.children(`${node}/parts`),
  ]);
  const active = new Set(names);
  const inZooKeeper = new Set(listed ?? []);
  const beyond = [...inZooKeeper].filter((name) => !active.has(name));
  // What a merge put out of use is registered until the server removes it, minutes later.
  const replaced = beyond.length === 0 ? new Set() : await inactiveParts(host, replica);
  const unlisted = names.filter((name) => !inZooKeeper.has(name)).length + beyond.filter((name) => !replaced.has(name)).length;
  return {
    difference,
    registered: listed !== undefined,
    unlisted,
    readonly: state.readonly,
    sessionExpired: state.sessionExpired,
    queueSize: state.queueSize,
    active: active.size,
  };
}

async function inactiveParts(host: ClickHouseHost, replica: InventoryReplica): Promise<ReadonlySet<string>> {
  const rows = await host.select<{ name: string }>(
    'SELECT name FROM system.parts WHERE NOT active AND database = {database:String} AND table = {table:String}',
    { params: { database: replica.database, table: replica.table }, doing: `reading the parts of ${replicaLabel(replica)} that are out of use` },
  );
  return new Set(rows.map(({ name }) => name));
}

/** The replica's own node, at the place where it must be. */
async function nodeOf(connections: Connections, { host, replica, zookeeper }: RestoreInput): Promise<{ zookeeper: ZooKeeperSession; node: string }> {
  const session = await connections.zookeeper(ensembleOf(host, zookeeper, replica.zookeeperName), zookeeper.digestEnv);
  return { zookeeper: session, node: `${replica.zookeeperPath}/replicas/${replica.replicaName}` };
}

async function isRegistered(connections: Connections, input: RestoreInput): Promise<boolean> {
  const { zookeeper, node } = await nodeOf(connections, input);
  return (await zookeeper.exists(node)) !== undefined;
}

/** A short wait, with cheap looks, until the replica is writable and its queue is empty: what is left then is for {@link settle}. */
async function untilQuiet(connections: Connections, input: RestoreInput): Promise<void> {
  const host = connections.host(input.host);
  const end = Date.now() + QUIET_MS;
  for (let pauseMs = 10; Date.now() < end; pauseMs = Math.min(pauseMs * 2, 500)) {
    const { readonly, queueSize } = await lookAtReplica(host, input.replica);
    if (queueSize === 0 && (!readonly || input.writable === 'report')) return;
    report({ doing: 'becoming active', waitingFor: readonly ? 'writable' : `${queueSize} in its queue` });
    await sleep(pauseMs);
  }
}

async function restore(
  connections: Connections,
  input: RestoreInput,
  before: ReplicaNote,
  state: ReplicaState,
): Promise<ReplicaNote> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  if (!state.readonly) {
    throw new MigrationError('REPLICA_LIVE', `${replicaLabel(replica)} is not readonly, and has no node at ${replica.zookeeperPath}`);
  }
  if (input.first === undefined) await nobodyElse(connections, input);
  const collisions = await collisionsInDetached(host, replica);
  if (collisions.length > 0) {
    throw new MigrationError(
      'DETACHED_COLLISION',
      `${replicaLabel(replica)}: detached/ holds parts with the names of active ones (${collisions.slice(0, 5).join(', ')}${collisions.length > 5 ? ', …' : ''}); RESTORE would take them instead: move them away, then retry`,
    );
  }
  const note: ReplicaNote = { ...before, seq: before.seq + 1, status: 'ZK_CLEANED', step: 'restoring' };
  const statement = async (): Promise<StatementEnd> => {
    stopIfCancelled();
    await connections.notes(input.host).write(migration, replica, note);
    await stopBackground(host, replica, note);
    if (input.first !== undefined && note.zeroCopy !== null) await stopBackground(connections.host(input.first.host), input.first.replica, note);
    report({ doing: 'RESTORE REPLICA', done: 0, total: note.parts });
    const watching = watchProgress(connections, input, note);
    try {
      return await send(host, statements.restore(replica), {
        queryId: statementId(migration, replica, 'restore'),
        doing: `restoring ${replicaLabel(replica)}`,
      });
    } finally {
      watching.stop();
    }
  };
  const sent = await withRoomForLocks(connections, input, note, () => connections.turns.take({ ...turnOf(input), what: 'restore' }, statement));
  // "Replica path is present" says nothing of the parts: what is there is looked at next (engine facts, ClickHouse issue 111628).
  if (sent.end === 'refused' && sent.code !== CODES.BAD_ARGUMENTS) throw await refusalOf(host, replica, sent);
  if (!(await isRegistered(connections, input))) {
    if (sent.end === 'refused') throw new MigrationError('UNKNOWN', sent.error.message, { cause: sent.error });
    throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)}: RESTORE ended and left no node at ${replica.zookeeperPath}`);
  }
  return note;
}

/** The first replica makes its path anew: somebody who is there already would take its parts for strangers, or have their rows twice. */
async function nobodyElse(connections: Connections, input: RestoreInput): Promise<void> {
  const { zookeeper } = await nodeOf(connections, input);
  const others = (await zookeeper.children(`${input.replica.zookeeperPath}/replicas`)) ?? [];
  if (others.length === 0) return;
  throw new MigrationError('REPLICA_LIVE', `${input.replica.zookeeperPath} has the replicas ${others.slice(0, 5).join(', ')} already, and ${replicaLabel(input.replica)} was to be the first: see who made them`);
}

const PROGRESS_EVERY_MS = 2_000;
/** Without a part for so long, RESTORE is said to be waited for, with what finds it on the server. */
const STANDS_AFTER_MS = 30_000;

/** Tells the true progress while RESTORE runs: parts registered in ZooKeeper against parts expected. */
function watchProgress(connections: Connections, input: RestoreInput, note: ReplicaNote): { stop: () => void } {
  const host = connections.host(input.host);
  const id = statementId(input.migration, input.replica, 'restore');
  let last = { done: 0, at: Date.now() };
  const timer = setInterval(() => {
    void (async () => {
      const { zookeeper, node } = await nodeOf(connections, input);
      const parts = await zookeeper.exists(`${node}/parts`);
      const done = parts?.numChildren ?? 0;
      if (done !== last.done) last = { done, at: Date.now() };
      const stands = Date.now() - last.at > STANDS_AFTER_MS ? await runningStatement(host, id).catch(() => undefined) : undefined;
      report({ doing: stands === undefined ? 'RESTORE REPLICA' : waitingWords(host, id, stands), done, total: note.parts });
    })().catch(() => {
      report({ doing: 'RESTORE REPLICA; ZooKeeper does not answer the worker', total: note.parts });
    });
  }, PROGRESS_EVERY_MS);
  return {
    stop: () => {
      clearInterval(timer);
    },
  };
}

/** Waits while the replica still gets nearer to its baseline: parts come, the queue empties, it becomes writable. */
async function settle(connections: Connections, input: RestoreInput, note: ReplicaNote, from: Standing): Promise<Standing> {
  let standing = from;
  let best = progressOf(standing);
  let since = Date.now();
  let renewed = false;
  let fetched = '';
  for (let pauseMs = 20; !isSettled(standing, input); pauseMs = Math.min(pauseMs * 1.5, 2_000)) {
    // Nothing is on its way any more, yet parts are missing: waiting longer brings none.
    if (standing.queueSize === 0 && !standing.readonly && Date.now() - since > QUIET_MS) return standing;
    if (Date.now() - since > (staysReadonly(standing, input) ? READONLY_LIMIT_MS : NO_PROGRESS_LIMIT_MS)) return standing;
    if (!renewed && canBeRenewed(standing, input) && Date.now() - since > SESSION_RENEWED_WITHIN_MS) {
      await reattach(connections, input, note);
      renewed = true;
      since = Date.now();
    }
    report({ doing: 'catching up', done: standing.active, total: note.parts });
    await sleep(pauseMs);
    standing = await look(connections, input, note);
    const progress = progressOf(standing);
    const now = standing.queueSize > 0 ? await fetchedSoFar(connections.host(input.host), input.replica) : '';
    if (progress > best || now !== fetched) {
      best = Math.max(best, progress);
      since = Date.now();
    }
    fetched = now;
  }
  return standing;
}

/** How far the fetches of a replica are: one of a large part takes longer than anything else that is waited for. */
async function fetchedSoFar(host: ClickHouseHost, { database, table }: InventoryReplica): Promise<string> {
  const rows = await askTogether(host, 'fetches', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const all = await host.select<{ database: string; table: string; part: string; bytes: string }>(
      `SELECT database, table, result_part_name AS part, bytes_read_compressed AS bytes FROM system.replicated_fetches WHERE ${condition('database', 'table')} ORDER BY part`,
      { params, doing: `looking what ${labelOf(tables)} fetch` },
    );
    return tables.map(rowsOf(all));
  });
  return rows.map(({ part, bytes }) => `${part} ${bytes}`).join(' ');
}

/** Where replicas need not become active, one that is short of parts and has nothing to do gets no more by itself. */
const READONLY_LIMIT_MS = 20_000;

function staysReadonly({ readonly, queueSize, sessionExpired }: Standing, { writable }: RestoreInput): boolean {
  return writable === 'report' && readonly && queueSize === 0 && !sessionExpired;
}

/** A server renews the session of a replica by itself within seconds, once its metadata is complete. */
const SESSION_RENEWED_WITHIN_MS = 20_000;

/**
 * Where a new session makes a readonly replica active: its session has expired, or its RESTORE failed at a part, after which the server
 * does not start a replica whose metadata may be complete. Active, it takes the parts that are missing.
 */
function canBeRenewed({ readonly, sessionExpired, queueSize, registered, difference }: Standing, { writable }: RestoreInput): boolean {
  if (!readonly || sessionExpired) return readonly;
  return registered && queueSize === 0 && difference.missingParts > 0 && writable === 'required';
}

/** A replica with an empty queue that stays short of parts for this long has all that it gets by itself. */
const QUIET_MS = 3_000;

function progressOf(standing: Standing): number {
  return standing.active - standing.queueSize - standing.unlisted + (standing.readonly ? 0 : 1);
}

function isSettled(standing: Standing, input: RestoreInput): boolean {
  const active = !standing.readonly || input.writable === 'report';
  // What is there beyond the baseline is judged by the proof.
  return active && standing.queueSize === 0 && standing.unlisted === 0 && standing.difference.missingParts === 0;
}

/** The first replica equals its baseline; another holds its own, and may have more: it is compared with the first as well. */
function holdsBaseline({ difference }: Standing, { first }: RestoreInput): boolean {
  return first === undefined ? isEqual(difference) : difference.missingParts === 0;
}

/** Throws unless the replica is proved; answers what has to be said beside it. */
async function prove(
  connections: Connections,
  input: RestoreInput,
  note: ReplicaNote,
  standing: Standing,
): Promise<string | undefined> {
  const label = replicaLabel(input.replica);
  const words: string[] = [];
  if (!holdsBaseline(standing, input)) {
    const otherwise = (await proveByRows(connections, input, note, standing)) ?? (await insertedSince(connections, input, note, standing)) ?? (await heldByFirst(connections, input, note));
    if (otherwise === undefined) {
      const lying = await wherePartsLie(connections.host(input.host), input.migration, input.replica, note);
      throw new MigrationError(
        'PROOF_FAILED',
        `${label} is not restored: ${describeDifference(standing.difference)}, against its baseline${lying}`,
        { details: { ...standing.difference } },
      );
    }
    words.push(otherwise);
  }
  if (standing.unlisted > 0) {
    throw new MigrationError('PROOF_FAILED', `${label}: ${standing.unlisted} parts differ between the server and ZooKeeper's record of it`);
  }
  if (standing.queueSize > 0) {
    throw new MigrationError('NOT_CAUGHT_UP', `${label} has not caught up: ${standing.queueSize} entries in its queue${await lackedOfFirst(connections, input)}`);
  }
  if (standing.readonly && input.writable === 'required') {
    throw new MigrationError('NOT_CAUGHT_UP', `${label} has its parts, but is still readonly${await lackedOfFirst(connections, input)}`);
  }
  if (standing.readonly) words.push('it is readonly (verify.writable: report)');
  if (input.first !== undefined) await proveAgainstFirst(connections, input, input.first);
  return words.length === 0 ? undefined : words.join('; ');
}
