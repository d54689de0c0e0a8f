import { CODES } from '../clickhouse/errors';
import { statements } from '../clickhouse/sql';
import { type ReplicaNote, takeManifest } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { replicaLabel } from '../domain/inventory';
import { describeDifference } from '../domain/manifest';
import type { ZooKeeperSession } from '../zookeeper/session';
import { lookAtEngine } from './convert-path';
import { type Connections, ensembleOf, fenced, report, stopIfCancelled } from './deps';
import { STALL_LIMIT_MS } from './fence';
import { compareWithBaseline } from './look';
import { untilMergesEnded } from './merges';
import { refuseTree } from './path-guard';
import { stillGoesTo } from './path-move';
import { proveByRows } from './proof';
import { attachParts, nameableParts } from './repair';
import { refusalOf, send, statementId } from './statement';
import type { AttachInput, RestoreInput } from './types';

/** Statements that one try may need, with room for one that was interrupted. */
const MOST_STEPS = 10;

/**
 * Repairs a replica whose RESTORE died, and which stays readonly, so that ATTACH PART is refused: it becomes a plain table, gets its parts
 * from `detached/` by the saved manifest, its nodes are deleted behind the barrier, and it is attached AS REPLICATED, readonly and without
 * nodes, as before its RESTORE. It looks before each step, so that it goes on from wherever an earlier try was cut short.
 *
 * @returns the note in force, with the step `repairing`: what follows is a RESTORE and its proof
 * @throws MigrationError `NEEDS_HAND` where this way is not open, with the statements that an operator can run instead
 */
export async function repairAsPlain(connections: Connections, input: RestoreInput, before: ReplicaNote): Promise<ReplicaNote> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  let note = before;
  if (note.step !== 'repairing') {
    await refuseWhereClosed(connections, input, note);
    note = { ...note, seq: note.seq + 1, status: 'ZK_CLEANED', step: 'repairing' };
    await connections.notes(input.host).write(migration, replica, note);
  }
  const zookeeper = await sessionOf(connections, input);
  const sent = async (step: string, sql: string): Promise<boolean> => {
    stopIfCancelled();
    report({ doing: `${step}, to repair it as a plain table` });
    const end = await send(host, sql, { queryId: statementId(migration, replica, `repair ${step}`.replaceAll(' ', '-')), doing: `${step} of ${replicaLabel(replica)}` });
    // Refused as incorrect: it is a plain table already.
    if (end.end === 'refused' && end.code !== CODES.INCORRECT_QUERY) throw await refusalOf(host, replica, end);
    return end.end !== 'refused';
  };
  let whole = false;
  let plain = false;
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const seen = await lookAtEngine(host, replica);
    if (seen?.kind === 'replicated' && seen.path !== replica.zookeeperPath) {
      throw new MigrationError('WRONG_PATH', `${replicaLabel(replica)} has the path ${seen.path} now, and not ${replica.zookeeperPath}`);
    } else if (seen?.kind === 'replicated' && (await zookeeper.exists(replica.zookeeperPath)) === undefined) {
      return note;
    } else if (seen?.kind === 'replicated') {
      await sent('DETACH', statements.detach(replica));
    } else if (seen?.kind === 'plain') {
      await host.run(statements.stopMerges(replica), { doing: `stopping merges of ${replicaLabel(replica)}` });
      await untilMergesEnded(host, replica);
      await attachParts(host, migration, replica, await nameableParts(host, migration, replica, note));
      note = await wholeAsPlain(connections, input, note);
      whole = true;
      await sent('DETACH plain', statements.detach(replica));
    } else if (whole) {
      // Nothing of it is attached, and all that it has lies on its disk.
      await stillGoesTo(host, replica, replica);
      await deleteOwnNodes(zookeeper, input);
      await sent('ATTACH AS REPLICATED', statements.attachReplicated(replica));
    } else if (plain) {
      await sent('ATTACH', statements.attach(replica));
    } else {
      plain = !(await sent('ATTACH AS NOT REPLICATED', statements.attachPlain(replica)));
    }
  }
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is not repaired yet`);
}

/** Attaches a replica whose repair was cut short, as a plain table or a replicated one. */
export async function attachAsItIs(connections: Connections, { migration, host: target, replica }: AttachInput): Promise<void> {
  const host = connections.host(target);
  if ((await lookAtEngine(host, replica)) !== undefined) return;
  const sent = await send(host, statements.attach(replica), { queryId: statementId(migration, replica, 'repair-ATTACH'), doing: `attaching ${replicaLabel(replica)}` });
  if ((await lookAtEngine(host, replica)) !== undefined) return;
  if (sent.end === 'refused') throw sent.error;
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is not attached after ATTACH`);
}

async function sessionOf(connections: Connections, { host, replica, zookeeper }: RestoreInput): Promise<ZooKeeperSession> {
  return connections.zookeeper(ensembleOf(host, zookeeper, replica.zookeeperName), zookeeper.digestEnv);
}

/**
 * All of its baseline is there, or was merged between its ATTACH and their stop. RESTORE renames every part, and a merged one could not be
 * told from a strange one afterwards: what is there now, proved by its rows, is the baseline from here on.
 *
 * @returns the note in force
 */
async function wholeAsPlain(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<ReplicaNote> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const { difference } = await compareWithBaseline(host, migration, replica, note, 'hash_of_all_files');
  if (difference.missingParts === 0) return note;
  if ((await proveByRows(connections, input, note, { difference })) === undefined) {
    throw new MigrationError('PROOF_FAILED', `${replicaLabel(replica)} is attached as a plain table, its nodes kept: ${describeDifference(difference)}, against its baseline`);
  }
  const baseline = await takeManifest(host, migration, replica, 'baseline');
  const next: ReplicaNote = { ...note, seq: note.seq + 1, baselineTake: baseline.take, rows: baseline.rows, parts: baseline.parts };
  await connections.notes(input.host).write(migration, replica, next);
  return next;
}

/** The barrier of a table with one replica, detached by this hand: nobody else may be registered below its path, or active. */
async function deleteOwnNodes(zookeeper: ZooKeeperSession, { replica }: RestoreInput): Promise<void> {
  const path = replica.zookeeperPath;
  await zookeeper.sync(path);
  const children = await zookeeper.children(path);
  if (children === undefined) return;
  const other = await strangerAt(zookeeper, path, replica.replicaName);
  if (other !== undefined) throw new MigrationError('REPLICA_LIVE', `${path}: ${other}`);
  const refusal = await refuseTree(zookeeper, path, children, true);
  if (refusal !== undefined) throw new MigrationError('UNSAFE_PATH', `${path} is not deleted: ${refusal}`);
  await zookeeper.deleteTree(path, { patienceMs: STALL_LIMIT_MS, oneSession: true, mayGoOn: fenced() });
  if ((await zookeeper.exists(path)) !== undefined) throw new MigrationError('REPLICA_LIVE', `${path} is there again after its nodes were deleted: something lives on it`);
}

async function strangerAt(zookeeper: ZooKeeperSession, path: string, own: string): Promise<string | undefined> {
  const registered = (await zookeeper.children(`${path}/replicas`)) ?? [];
  const other = registered.find((name) => name !== own);
  if (other !== undefined) return `the replica "${other}" is registered there too`;
  return (await zookeeper.exists(`${path}/replicas/${own}/is_active`)) === undefined ? undefined : `the replica "${own}" is active in ZooKeeper`;
}

/** Before its first statement: what speaks against the way, with the statements that lead on. */
async function refuseWhereClosed(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<void> {
  const { migration, replica, host: target } = input;
  const why = await closedBecause(connections, input, note);
  if (why === undefined) return;
  const parts = await nameableParts(connections.host(target), migration, replica, note);
  const words = `${replicaLabel(replica)} is short of ${parts.length} parts that lie in its detached/, and as it stays readonly they cannot be attached to it; ${why}. Where it becomes active after all, retry attaches them`;
  // A plain table on blobs removes parts without asking for locks: no statements are known to be safe.
  const hand = note.zeroCopy === null ? `; where it cannot, by hand, in this order: ${byHand(input, parts.map(({ name }) => name)).join('; ')}; then retry` : '';
  throw new MigrationError('NEEDS_HAND', `${words}${hand}`);
}

async function closedBecause(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<string | undefined> {
  const { replica } = input;
  if (note.zeroCopy !== null) return 'it is a zero-copy table, which cannot be a plain one for a moment';
  if (!input.alone) return 'its other replicas would have to be detached first (DETACH TABLE on each host)';
  const stranger = await strangerAt(await sessionOf(connections, input), replica.zookeeperPath, replica.replicaName);
  if (stranger !== undefined) return `${stranger} (${replica.zookeeperPath}), and has to be gone first`;
  try {
    await stillGoesTo(connections.host(input.host), replica, replica);
    return undefined;
  } catch (error) {
    if (!(error instanceof MigrationError) || (error.type !== 'WRONG_PATH' && error.type !== 'UNSUPPORTED')) throw error;
    return `its server would attach it at another path (${error.message}): set default_replica_path to ${replica.zookeeperPath} and default_replica_name to ${replica.replicaName} for that time`;
  }
}

const PARTS_SHOWN = 20;

/** What {@link repairAsPlain} would do, for a hand. */
function byHand({ host, replica }: RestoreInput, parts: readonly string[]): string[] {
  const more = parts.length > PARTS_SHOWN ? [`the same for the other ${parts.length - PARTS_SHOWN} parts of the baseline in detached/ (docs/operations.md says how to list them)`] : [];
  return [
    statements.detach(replica),
    statements.attachPlain(replica),
    statements.stopMerges(replica),
    ...parts.slice(0, PARTS_SHOWN).map((part) => statements.attachPart(replica, part)),
    ...more,
    statements.detach(replica),
    `delete ${host.zookeeper.root}${replica.zookeeperPath} in ZooKeeper (zkCli.sh: deleteall)`,
    statements.attachReplicated(replica),
    statements.restore(replica),
  ];
}
