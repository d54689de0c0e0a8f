import { NO_SUCH_TABLE } from '../clickhouse/errors';
import { statements } from '../clickhouse/sql';
import { addEvent, latestNotesSql, noteOfRow, type ReplicaNote, SEALED_ROWS, type Step, STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { replicaLabel } from '../domain/inventory';
import { placeWords } from '../domain/restart-words';
import { startBackground } from './background';
import { type Connections, report } from './deps';
import { readHold, stillHeld } from './hold';
import { tallyTargets } from './inventory';
import { lookAtReplica, waitWhileRunning } from './look';
import { begunToLeave } from './restart';
import { send, statementId } from './statement';
import { detachedTables } from './take-over-look';
import { blobsLeft, locksLeft } from './zero-copy-left';
import type { FinishInput, FinishOutcome, HostTarget, LooseEnd } from './types';

const LEFTOVER_TABLES_SHOWN = 100;
const LEFTOVER_NAMES_SHOWN = 10;

/**
 * Looks once more at what the hosts' own tables say of every replica, lists what lies in `detached/` (nothing there was dropped), and
 * lets go of the replicas when the migration is over. A migration is completed only when every replica is RESTORED or SKIPPED.
 */
export async function finishMigration(connections: Connections, input: FinishInput): Promise<FinishOutcome> {
  report({ doing: 'counting what was proved' });
  const { counts, replicas } = await tallyTargets(connections, input.migration, input.hosts, input.skip);
  if (input.replicas !== undefined && replicas !== input.replicas) {
    throw new MigrationError(
      'INVARIANT',
      `the hosts' own tables have an inventory of ${replicas} replicas, and the migration was begun with ${input.replicas}: it lets go of nothing`,
    );
  }
  if (input.release === 'completed' && counts.RESTORED + counts.SKIPPED !== replicas) {
    throw new MigrationError(
      'INVARIANT',
      `the hosts' own tables have ${counts.RESTORED} of ${replicas} replicas RESTORED: the migration is not complete`,
      { details: { ...counts } },
    );
  }
  const holds = await Promise.all(input.hosts.map((target) => readHold(connections.host(target), input.migration)));
  // What an earlier try has let go of may be another migration's by now.
  const holding = input.hosts.filter((_, index) => holds[index]?.held === true);
  let endings = await allEndings(connections, input);
  if (input.release === 'aborted') {
    if (await attachWhatWent(connections, { ...input, hosts: holding }, endings)) endings = await allEndings(connections, input);
    refuseUnfinished(endings.filter(({ host }) => holding.some(({ name }) => name === host)));
  }
  const leftovers = (await Promise.all(input.hosts.map((target) => leftoversOf(connections, input.migration, target)))).flat();
  // What is only told stops no migration that is over. It may take long, and comes first: another one may have the tables once they are let go of.
  const locks = await locksLeft(connections, input).catch(() => undefined);
  const blobs = await blobsLeft(connections, input, holds[0]?.unnamedBlobs);
  if (input.release !== 'no') {
    await Promise.all(holding.map((target) => letGoOn(connections, target, endings)));
    for (const target of holding) await addEvent(connections.host(target), input.migration, 'released', { why: input.release });
  }
  const begun = input.release === 'aborted' ? await begunToMove(connections, input) : [];
  const loose = endings.flatMap((ending) => looseEnds(ending, input)).slice(0, LEFTOVER_TABLES_SHOWN);
  return { counts, leftovers: leftovers.slice(0, LEFTOVER_TABLES_SHOWN), leftoversTotal: leftovers.length, loose, ...(begun.length === 0 ? {} : { begun }), ...(locks === undefined ? {} : { locks: locks.slice(0, LEFTOVER_TABLES_SHOWN) }), ...(blobs === undefined ? {} : { blobs }) };
}

/** Hosts that run where they ran before, and whose configuration may name the new place by now. */
async function begunToMove(connections: Connections, { migration, before = [] }: FinishInput): Promise<NonNullable<FinishOutcome['begun']>> {
  const hosts = await Promise.all(before.map(async (target) => ({ target, to: await begunToLeave(connections.host(target), migration, target.zookeeper) })));
  return hosts.flatMap(({ target, to }) => (to === undefined ? [] : [{ host: target.name, from: placeWords(target.zookeeper), to }]));
}

interface Ending {
  readonly host: string;
  readonly database: string;
  readonly table: string;
  readonly status: ReplicaNote['status'];
  readonly step: ReplicaNote['step'];
  readonly attached: boolean;
  readonly readonly: boolean;
  readonly replicated: boolean;
  readonly zeroCopy: boolean;
  /** A manifest was saved: it may have been detached. */
  readonly manifest: boolean;
}

/** Merges of a replica stand still from its ATTACH, which comes before its baseline, to its proof: these are the steps between them, and `started` ends it. */
const STANDS_STILL: readonly Step[] = ['cleaned', 'baseline', 'restoring', 'repairing', 'restored'];

/** Stopped before the manifest was saved, and never detached, or attached again since. */
const HERE_AGAIN: readonly Step[] = ['none', 'manifest', 'returned'];

/**
 * Starts the merges of what was left out (`--skip`) before it was proved: nobody proves it any more, and a table without merges fills up
 * with parts. Those of a zero-copy table stay stopped: its blobs may have no lock, and a merge could delete what another replica needs.
 */
async function letGoOn(connections: Connections, target: HostTarget, endings: readonly Ending[]): Promise<void> {
  const here = endings.filter(({ host, attached }) => host === target.name && attached);
  const still = here.filter(({ zeroCopy, step }) => HERE_AGAIN.includes(step) || (!zeroCopy && STANDS_STILL.includes(step)));
  for (const one of still) await startBackground(connections.host(target), one, { zeroCopy: one.zeroCopy ? {} : null });
}

async function allEndings(connections: Connections, { migration, hosts }: FinishInput): Promise<Ending[]> {
  return (await Promise.all(hosts.map((target) => endingsOf(connections, migration, target)))).flat();
}

/** How each replica that was touched ends: what was noted of it, and how its server has it now. */
async function endingsOf(connections: Connections, migration: string, target: HostTarget): Promise<Ending[]> {
  const rows = await connections.host(target).select<Parameters<typeof noteOfRow>[0] & { attached: number; readonly: number; replicated: number }>(
    `SELECT *, (database, table) IN (SELECT database, name FROM system.tables) AS attached,
       (database, table) IN (SELECT database, table FROM system.replicas WHERE is_readonly) AS readonly,
       (database, table) IN (SELECT database, name FROM system.tables WHERE startsWith(engine, 'Replicated')) AS replicated FROM (${latestNotesSql('')}) ORDER BY database, table`,
    { params: { migration }, doing: 'looking how its tables end', timeoutMs: 120_000 },
  );
  return rows.map((row) => {
    const { status, step, zeroCopy, detachTake } = noteOfRow(row);
    return { host: target.name, database: row.database, table: row.table, status, step, attached: row.attached === 1, readonly: row.readonly === 1, replicated: row.replicated === 1, zeroCopy: zeroCopy !== null, manifest: detachTake !== '' };
  });
}

/**
 * Attaches once more what an abort had attached and what is detached again: a DETACH of a worker that died may lie unread at a server that
 * hangs, and is done after the replica was noted as returned (invariant 10). What was dropped since holds up nobody.
 *
 * @returns whether anything was sent, and has to be looked at again
 * @throws MigrationError `INVARIANT` when a server has the table, and does not attach it
 */
async function attachWhatWent(connections: Connections, { migration, hosts }: FinishInput, endings: readonly Ending[]): Promise<boolean> {
  let sent = false;
  for (const target of hosts) {
    const went = endings.filter(({ host, step, attached }) => host === target.name && step === 'returned' && !attached);
    for (const one of await stillThere(connections, migration, target, went)) {
      await attachOnceMore(connections, migration, target, one);
      sent = true;
    }
  }
  return sent;
}

/** Those that their server lists as detached, by the uuid of the inventory; all of them, where it cannot say what is detached. */
async function stillThere(connections: Connections, migration: string, target: HostTarget, went: readonly Ending[]): Promise<readonly Ending[]> {
  if (went.length === 0) return [];
  const host = connections.host(target);
  for (const one of went) await waitWhileRunning(host, statementId(migration, one, 'detach'));
  const detached = await detachedTables(host);
  if (detached === undefined) return went;
  const frozen = await host.select<{ database: string; table: string; uuid: string }>(
    `SELECT database, table, toString(uuid) AS uuid FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}`,
    { params: { migration }, doing: 'reading its inventory', timeoutMs: 120_000 },
  );
  const key = (of: { database: string; table: string; uuid: string }): string => JSON.stringify([of.database, of.table, of.uuid]);
  const ours = new Set(frozen.map(key));
  const names = new Set(detached.filter((one) => ours.has(key(one))).map(({ database, table }) => JSON.stringify([database, table])));
  return went.filter(({ database, table }) => names.has(JSON.stringify([database, table])));
}

async function attachOnceMore(connections: Connections, migration: string, target: HostTarget, one: Ending): Promise<void> {
  const host = connections.host(target);
  const label = replicaLabel(one);
  await stillHeld(host, migration, one);
  report({ doing: `ATTACH of ${label}, which went after it had been attached` });
  const sent = await send(host, statements.attach(one), { queryId: statementId(migration, one, 'attach'), doing: `attaching ${label} once more` });
  if ((await lookAtReplica(host, one)).attached) return;
  if (sent.end === 'refused' && NO_SUCH_TABLE.includes(sent.code)) return;
  if (sent.end !== 'refused') throw new MigrationError('STILL_RUNNING', `${label} is not attached after ATTACH`);
  if (sent.error.kind === 'passing') throw sent.error;
  throw new MigrationError('INVARIANT', `the abort has not ended: ${label} was attached, is detached again, and its server does not attach it (${sent.error.message}): ATTACH it, then abort again`, { cause: sent.error });
}

/** After an abort a replica is restored, or was never changed, or is as it was before (invariant 10), or its table is gone. */
function refuseUnfinished(endings: readonly Ending[]): void {
  const open = endings.filter(
    ({ status, step, attached, manifest }) => status !== 'RESTORED' && step !== 'returned' && step !== 'gone' && !(status === 'INIT' && (attached || (step === 'none' && !manifest))),
  );
  if (open.length === 0) return;
  const names = open.slice(0, LEFTOVER_NAMES_SHOWN).map((one) => `${replicaLabel(one)} (${one.status}, ${one.attached ? 'attached' : 'detached'})`);
  throw new MigrationError('INVARIANT', `the abort has not ended: ${names.join(', ')}${open.length > names.length ? ` and ${open.length - names.length} more` : ''}: abort again`);
}

/** What somebody should know of a replica that counts as done. */
function looseEnds(ending: Ending, { writable }: FinishInput): FinishOutcome['loose'][number][] {
  const { host, database, table, status, step, attached, readonly, replicated, zeroCopy } = ending;
  const says = (what: LooseEnd): FinishOutcome['loose'][number] => ({ host, db: database, table, what });
  if (!attached) return [says('not attached')];
  if (!replicated) return [says('not replicated')];
  return [
    ...(status === 'ZK_CLEANED' && step !== 'returned' ? [says('without metadata')] : []),
    ...(step === 'returned' && readonly ? [says('readonly')] : []),
    ...(status === 'RESTORED' && readonly && writable !== 'report' ? [says('restored and readonly')] : []),
    ...(zeroCopy && STANDS_STILL.includes(step) ? [says('without merges')] : []),
  ];
}

async function leftoversOf(connections: Connections, migration: string, target: HostTarget): Promise<FinishOutcome['leftovers'][number][]> {
  const rows = await connections.host(target).select<{ database: string; table: string; n: string; names: string[]; on_blobs: number }>(
    `SELECT database, table, count() AS n, arraySlice(arraySort(groupArray(name)), 1, ${LEFTOVER_NAMES_SHOWN}) AS names,
       max(disk IN (SELECT name FROM system.disks WHERE lower(type) NOT IN ('local', 'memory'))) AS on_blobs FROM system.detached_parts
     WHERE (database, table) IN (SELECT database, table FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS})
     GROUP BY database, table ORDER BY database, table`,
    { params: { migration }, doing: 'looking what lies in detached/', timeoutMs: 300_000 },
  );
  return rows.map((row) => ({ host: target.name, db: row.database, table: row.table, parts: Number(row.n), names: row.names, onBlobs: row.on_blobs === 1 }));
}
