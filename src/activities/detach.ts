import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { clickHouseCode, CODES } from '../clickhouse/errors';
import { type ReplicaNote, readNote, takeManifest } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type MovedReplica, replicaLabel, settled } from '../domain/inventory';
import { hasReached } from '../domain/status';
import { flushAsyncInserts } from './async-inserts';
import { startBackground, stopBackground } from './background';
import { type Connections, mayBeReplaced, report, stopIfCancelled, turnOf } from './deps';
import { stillHeld } from './hold';
import { lookAtReplica, sameTable, waitWhileRunning } from './look';
import { goneSince, untilMergesEnded } from './merges';
import { send, statementId } from './statement';
import { readFacts } from './zero-copy-facts';
import type { DetachInput, ReplicaOutcome, ReplicaUpdate } from './types';

function placeNow(replica: InventoryReplica): MovedReplica {
  const { zookeeperPath, replicaName } = settled(replica);
  return { zookeeperPath, replicaName };
}

/** The update that a note stands for. */
export function updateOf(replica: InventoryReplica, note: ReplicaNote, words?: string): ReplicaUpdate {
  return {
    host: replica.host,
    database: replica.database,
    table: replica.table,
    status: note.status,
    rows: note.step === 'none' ? replica.rows : note.rows,
    parts: note.step === 'none' ? replica.parts : note.parts,
    oldMetadata: note.oldMetadata,
    at: new Date().toISOString(),
    ...(note.moved === true ? placeNow(replica) : {}),
    ...(words === undefined ? {} : { note: words }),
  };
}

/**
 * Phase detach, one replica: stop merges, have asynchronous INSERTs written, save the manifest, `DETACH … PERMANENTLY SYNC`, see that it is gone. A replica that is past
 * this already is left as it is.
 *
 * A plain DETACH is undone by any start of the server. Source: https://clickhouse.com/docs/sql-reference/statements/detach
 */
export async function detachReplica(connections: Connections, input: DetachInput): Promise<ReplicaOutcome> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  let note = await readNote(host, migration, replica);
  let words: string | undefined;
  const comesBack = input.forNow === true && note.status === 'INIT';
  if (hasReached(note.status, 'ZK_CLEANED') || note.step === 'cleaning') return { updates: [updateOf(replica, note)] };
  let state = await lookAtReplica(host, replica);
  sameTable(replica, state);
  if (state.attached) {
    await connections.turns.take({ ...turnOf(input), what: 'detach' }, async () => {
      stopIfCancelled();
      await stillHeld(host, migration, replica);
      ({ note, words } = await saveAndDetach(connections, input, note));
    });
    state = await lookAtReplica(host, replica);
    if (state.attached) throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is still attached after DETACH`);
  }
  if (note.detachTake === '') {
    throw new MigrationError(
      'MANIFEST_MISSING',
      `${replicaLabel(replica)} is not attached, and no manifest of it was saved: ATTACH it, then retry`,
    );
  }
  if (note.status !== 'DETACHED' && !comesBack) {
    note = { ...note, seq: note.seq + 1, status: 'DETACHED', step: 'detached' };
    await connections.notes(input.host).write(migration, replica, note);
  }
  return { updates: [updateOf(replica, note, words)] };
}

/** The note in force, and what somebody should know of the rows that were on their way. */
interface Detached {
  readonly note: ReplicaNote;
  readonly words?: string | undefined;
}

async function saveAndDetach(connections: Connections, input: DetachInput, before: ReplicaNote): Promise<Detached> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const queryId = statementId(migration, replica, 'detach');
  report({ doing: 'saving the manifest' });
  const [zeroCopy] = await Promise.all([readFacts(connections, input, before), flushAsyncInserts(host, replica)]);
  try {
    if (before.seq > 0) {
      await waitWhileRunning(host, queryId);
      // A DETACH that another attempt had sent: the manifest that was noted before it is the one in force.
      if (!(await lookAtReplica(host, replica)).attached) return { note: await detachedByAnother(host, input) };
    }
    // Noted before, so that whoever ends the migration knows whose merges to start again.
    const stopping: ReplicaNote = { ...before, seq: before.seq + 1, zeroCopy };
    await connections.notes(input.host).write(migration, replica, stopping);
    await stopBackground(host, replica, { zeroCopy });
    await untilMergesEnded(host, replica);
    const { note, words } = await saveManifest(connections, input, stopping);
    report({ doing: 'DETACH' });
    const sent = await send(host, statements.detach(replica), {
      queryId,
      doing: `detaching ${replicaLabel(replica)}`,
    });
    if (mayBeReplaced()) await putBack(host, input, note);
    if (sent.end === 'refused' && (await lookAtReplica(host, replica)).attached) throw sent.error;
    return { note, words };
  } catch (error) {
    // Still attached, for all that is known: its merges go on. A table that is gone has none, so a refusal here says nothing.
    if (!mayBeReplaced()) await startBackground(host, replica, { zeroCopy }).catch(() => undefined);
    throw error;
  }
}

/** Each is taken because a part of the one before went: with the merges stopped that is somebody's hand, or what was being committed. */
const MANIFESTS_AT_MOST = 5;

/**
 * Saves the manifest, has what came into the server's memory since then written, and sees that all of the manifest is there still: else it
 * is taken again. A part that it does not know is in the baseline; one that it names and that is gone would be missed for good.
 */
async function saveManifest(connections: Connections, input: DetachInput, stopping: ReplicaNote): Promise<Detached> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  for (let taken = 1; taken <= MANIFESTS_AT_MOST; taken += 1) {
    const manifest = await takeManifest(host, migration, replica, 'detach');
    // Of a table that went while its parts were read the list says nothing: it is not noted.
    if (!(await lookAtReplica(host, replica)).attached) {
      throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} went while its manifest was saved: it is looked at again`);
    }
    const note: ReplicaNote = {
      ...stopping,
      seq: stopping.seq + taken,
      status: 'INIT',
      step: 'manifest',
      detachTake: manifest.take,
      baselineTake: '',
      rows: manifest.rows,
      parts: manifest.parts,
    };
    await connections.notes(input.host).write(migration, replica, note);
    const lookAgain = async (): Promise<number> => (await Promise.all([goneSince(host, migration, replica, manifest.take), stillOurs(host, input, note)]))[0];
    const [late, soon] = await Promise.all([flushAsyncInserts(host, replica), lookAgain()]);
    const gone = late.waited ? await lookAgain() : soon;
    if (gone === 0) return { note, words: late.words };
    report({ doing: `saving the manifest again: ${gone} of its parts went meanwhile` });
  }
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)}: parts went each time its manifest was saved: it is looked at again`);
}

/**
 * A DETACH that was on its way while this process stood still may have come after another attempt, and the phases behind it, had done their
 * work: the table they had attached goes back. Whoever still works on it sees for itself whether it is attached.
 */
async function putBack(host: ClickHouseHost, { migration, replica }: DetachInput, mine: ReplicaNote): Promise<void> {
  const now = await readNote(host, migration, replica);
  if (now.seq === mine.seq || !ATTACHED_AFTER.includes(now.step) || (await lookAtReplica(host, replica)).attached) return;
  await host.run(statements.attach(replica), { doing: `attaching ${replicaLabel(replica)} again`, timeoutMs: 600_000 }).catch((error: unknown) => {
    if (clickHouseCode(error) !== CODES.TABLE_ALREADY_EXISTS) throw error;
  });
  throw new MigrationError('STILL_RUNNING', `this attempt stood still while its DETACH of ${replicaLabel(replica)} was on its way, and it came late: it is attached again`);
}

/** Steps at which a replica that nobody works on is attached. */
const ATTACHED_AFTER: readonly ReplicaNote['step'][] = ['baseline', 'restoring', 'restored', 'started', 'returned'];

async function detachedByAnother(host: ClickHouseHost, { migration, replica }: DetachInput): Promise<ReplicaNote> {
  const now = await readNote(host, migration, replica);
  if (now.step === 'manifest' || now.step === 'detached') return now;
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} went while it was looked at: it is looked at again`);
}

/**
 * Looks once more, with the manifest on disk: it is of the table as it is still attached, and no other attempt has come further meanwhile. A
 * DETACH that was sent before may end while the parts are read, and the manifest of a table that went is empty.
 */
async function stillOurs(host: ClickHouseHost, { migration, replica }: DetachInput, mine: ReplicaNote): Promise<void> {
  const [now, state] = await Promise.all([readNote(host, migration, replica), lookAtReplica(host, replica)]);
  sameTable(replica, state);
  if (now.detachTake === mine.detachTake && now.seq === mine.seq && state.attached) return;
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} changed while its manifest was saved: it is looked at again`);
}
