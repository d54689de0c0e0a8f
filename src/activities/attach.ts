import { statements } from '../clickhouse/sql';
import { countManifest, readNote, STORE_DATABASE, takeManifest, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { replicaLabel, settled } from '../domain/inventory';
import { describeDifference, type ManifestDifference } from '../domain/manifest';
import { areMerged, type CountedPart } from '../domain/part-name';
import { hasReached } from '../domain/status';
import { convertPath } from './convert-path';
import { stopBackground } from './background';
import { type Connections, ensembleOf, report, stopIfCancelled, turnOf } from './deps';
import { updateOf } from './detach';
import { stillHeld } from './hold';
import { compareParts, lookAtReplica, sameTable, type ReplicaState } from './look';
import { proveByRows } from './proof';
import { refusalOf, send, type StatementEnd, statementId } from './statement';
import { sameSetting } from './zero-copy-facts';
import type { AttachInput, ReplicaOutcome } from './types';

/** The notes from which on a baseline stands and the replica's data may be on its way. */
const PAST_BASELINE: ReadonlySet<ReplicaNote['step']> = new Set(['baseline', 'restoring', 'repairing', 'restored', 'started']);

/**
 * Phase restart, one replica: ATTACH, see it readonly on an empty place in ZooKeeper, save the baseline manifest: nothing may be
 * missing against the one from detach.
 */
export async function attachReplica(connections: Connections, given: AttachInput): Promise<ReplicaOutcome> {
  const input = { ...given, replica: settled(given.replica) };
  const { migration, replica } = input;
  const host = connections.host(input.host);
  let note = await readNote(host, migration, replica);
  if (!hasReached(note.status, 'ZK_CLEANED')) {
    throw new MigrationError('INVARIANT', `${replicaLabel(replica)} is ${note.status}, and would be attached before its old nodes are dealt with`);
  }
  // It may be a plain table at this moment: its restore begins with the end of its repair.
  if (note.step === 'repairing') return { updates: [updateOf(replica, note)] };
  if (given.replica.after !== undefined && !PAST_BASELINE.has(note.step)) {
    await stillHeld(host, migration, replica);
    note = await convertPath(connections, given, given.replica.after, note);
  }
  const state = await ensureAttached(connections, input, true);
  if (PAST_BASELINE.has(note.step)) return { updates: [updateOf(replica, note)] };
  await seenReadonly(connections, input, state);
  report({ doing: 'saving the baseline' });
  await stillHeld(host, migration, replica);
  await stopBackground(host, replica, note);
  await sameSetting(connections, input.host, replica, note);
  const baseline = await takeManifest(host, migration, replica, 'baseline');
  await wholeManifest(connections, input, note);
  const lost = await compareParts(host, migration, replica, { kind: 'manifest', take: note.detachTake }, { kind: 'manifest', take: baseline.take });
  const merged = lost.missingParts > 0 && note.zeroCopy === null ? await mergedSince(connections, input, note.detachTake, baseline.take, lost) : undefined;
  if (lost.missingParts > 0 && merged === undefined) {
    throw new MigrationError(
      'PROOF_FAILED',
      `${replicaLabel(replica)} came back from detach short of parts, and is not touched further: ${describeDifference(lost)}`,
    );
  }
  if (merged === undefined && lost.extraParts > 0) await nothingOlder(connections, input, note);
  const next: ReplicaNote = {
    ...note,
    seq: note.seq + 1,
    step: 'baseline',
    baselineTake: baseline.take,
    rows: baseline.rows,
    parts: baseline.parts,
  };
  await connections.notes(input.host).write(migration, replica, next);
  return { updates: [updateOf(replica, next, merged)] };
}

/**
 * Attaches the replica where it is not, and answers how it is then.
 *
 * @param begins it is the first thing that is done to the replica in its phase, and not begun in a migration that was paused meanwhile
 */
export async function ensureAttached(connections: Connections, input: AttachInput, begins = false): Promise<ReplicaState> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const before = await lookAtReplica(host, replica);
  sameTable(replica, before);
  if (before.attached) return before;
  const attach = async (): Promise<StatementEnd> => {
    stopIfCancelled();
    await stillHeld(host, migration, replica);
    report({ doing: 'ATTACH' });
    return send(host, statements.attach(replica), {
      queryId: statementId(migration, replica, 'attach'),
      doing: `attaching ${replicaLabel(replica)}`,
    });
  };
  const turn = { ...turnOf(input), what: 'attach' } as const;
  const sent = await (begins ? connections.turns.take(turn, attach) : connections.turns.finish(turn, attach));
  const state = await lookAtReplica(host, replica);
  sameTable(replica, state);
  if (state.attached) return state;
  if (sent.end === 'refused') throw await refusalOf(host, replica, sent);
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is not attached after ATTACH`);
}

/**
 * Takes the replica out and in again, which gives it a new ZooKeeper session: one whose metadata was not complete when its session
 * expired has nothing that would renew it, and answers `Session expired` for ever.
 */
export async function reattach(connections: Connections, input: AttachInput, note: ReplicaNote): Promise<ReplicaState> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  await stillHeld(host, migration, replica);
  report({ doing: 'DETACH and ATTACH, for a new ZooKeeper session' });
  const sent = await send(host, statements.detachForNow(replica), {
    queryId: statementId(migration, replica, 'detach-for-now'),
    doing: `detaching ${replicaLabel(replica)} for a new ZooKeeper session`,
  });
  const state = await ensureAttached(connections, input);
  if (sent.end === 'refused') throw sent.error;
  // What was said to the table that went is not known to the one that came.
  await stopBackground(host, replica, note);
  return state;
}

/** Against a manifest that lost parts of itself nothing would be missing. @throws MigrationError `MANIFEST_MISSING` */
async function wholeManifest(connections: Connections, { host, migration, replica }: AttachInput, note: ReplicaNote): Promise<void> {
  const saved = await countManifest(connections.host(host), migration, replica, note.detachTake);
  if (saved !== note.parts) throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)}: its saved manifest has ${saved} parts of ${note.parts}`);
}

/**
 * A table that was a plain one for a moment may have merged in it, and a merged part may have come right before the DETACH, after the last look.
 * The names are what they were then, and say of each part what it was made of. Answers the words to be recorded, or undefined.
 */
async function mergedSince(connections: Connections, { host: target, migration, replica }: AttachInput, then: string, now: string, difference: ManifestDifference): Promise<string | undefined> {
  const host = connections.host(target);
  const words = await proveByRows(connections, { host: target, migration, replica }, { baselineTake: then }, { difference });
  if (words === undefined) return undefined;
  const rows = await host.select<{ name: string; n_rows: string; late: number }>(
    `SELECT name, any(rows) AS n_rows, any(take) = {now:String} AS late FROM ${STORE_DATABASE}.manifests
     WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND take IN ({then:String}, {now:String}) AND rows > 0
     GROUP BY name, hash_of_all_files HAVING uniqExact(take) = 1`,
    { params: { migration, database: replica.database, table: replica.table, then, now }, doing: `comparing the manifests of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  const of = (late: number): CountedPart[] => rows.filter((row) => row.late === late).map(({ name, n_rows: n }) => ({ name, rows: Number(n) }));
  return areMerged(of(0), of(1)) ? words : undefined;
}

/** Clocks of files and of rows agree within this. */
const CLOCK_MARGIN_S = 2;

/**
 * An INSERT that ended between the manifest and its DETACH is in the replica's parts and not in the manifest. What is older than the manifest
 * and not in it was brought back: by hand, or by a server that had not removed yet what was dropped. With it rows would be there twice.
 */
async function nothingOlder(connections: Connections, { host, migration, replica }: AttachInput, note: ReplicaNote): Promise<void> {
  const params = { migration, database: replica.database, table: replica.table, take: note.detachTake, margin: CLOCK_MARGIN_S };
  const older = await connections.host(host).select<{ path: string; n_rows: string }>(
    `WITH (SELECT if(count() = 0, (SELECT max(at) FROM ${STORE_DATABASE}.events WHERE migration = {migration:String} AND kind = 'sealed'), min(at))
         FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String} AND take = {take:String}) AS taken
     SELECT path, rows AS n_rows FROM system.parts WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}
       AND toUnixTimestamp(modification_time) + {margin:UInt32} < toUnixTimestamp(toDateTime(taken))
       AND name NOT IN (SELECT name FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String}
         AND database = {database:String} AND table = {table:String} AND take = {take:String})
     ORDER BY path`,
    { params, doing: `looking what came back with ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  if (older.length === 0) return;
  const rows = older.reduce((sum, { n_rows: n }) => sum + Number(n), 0);
  throw new MigrationError(
    'NEEDS_HAND',
    `${replicaLabel(replica)} came back with ${older.length} parts (${rows} rows) that are older than its manifest and not in it, and is not touched further: dropped before, put there by hand, or attached (ALTER TABLE … ATTACH) or inserted slowly between the manifest and the DETACH. Compare their rows with the rest; what is there twice move out of its data while it is DETACHed, and retry; where it is new, abort, and start again: ${older.slice(0, 5).map(({ path }) => path).join(' ')}${older.length > 5 ? ' …' : ''}`,
  );
}

/** Readonly alone proves nothing (a server that starts is readonly too, ClickHouse issue 40148): its node must be absent as well. */
async function seenReadonly(connections: Connections, input: AttachInput, state: ReplicaState): Promise<void> {
  const { replica } = input;
  const ensemble = ensembleOf(input.host, input.zookeeper, replica.zookeeperName);
  const zookeeper = await connections.zookeeper(ensemble, input.zookeeper.digestEnv);
  const node = `${replica.zookeeperPath}/replicas/${replica.replicaName}`;
  if ((await zookeeper.exists(node)) !== undefined) {
    throw new MigrationError(
      'REPLICA_LIVE',
      `${replicaLabel(replica)}: ${ensemble.root}${node} exists already where its metadata is to be made anew`,
    );
  }
  if (!state.readonly) {
    throw new MigrationError(
      'REPLICA_LIVE',
      `${replicaLabel(replica)} is attached and not readonly: it has metadata somewhere else than at ${ensemble.root}${node}`,
    );
  }
}
