import { randomUUID } from 'node:crypto';

import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { manifestNames, readNote, STORE_DATABASE, type ReplicaNote, takeManifest } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel, type ReplicaRef } from '../domain/inventory';
import { locksOf, outermostParts, type PartBlobs, type ZeroCopyFacts, type ZeroCopyLock } from '../domain/zero-copy';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, report } from './deps';
import { partBlobsOf } from './zero-copy-blobs';
import { readLocks } from './zero-copy-locks';
import { send, statementId } from './statement';
import type { RestoreInput } from './types';

/**
 * The parts that RESTORE left in `detached/` when it met an old lock (code 49, "Creating shared lock … Node exists"): the replica has no
 * row, each of these lies there under its plain name with this replica's own lock on it, and none is contained in another. Whatever else
 * lies there is none of them.
 */
export function straysAmong(replica: { readonly replicaName: string }, lying: readonly string[], locks: readonly ZeroCopyLock[], blobs: PartBlobs | undefined): string[] {
  const locked = new Set(locksOf(locks, replica.replicaName, new Set(lying), blobs).map(({ part }) => part));
  return outermostParts(lying.filter((name) => locked.has(name))).sort();
}

interface LyingRow {
  readonly name: string;
  readonly n_rows: string;
}

/** The names in `detached/` without a reason in them, of a replica that has no row; empty for one that has any. */
export async function lyingParts(host: ClickHouseHost, replica: ReplicaRef): Promise<string[]> {
  const rows = await host.select<LyingRow>(
    `SELECT name, (SELECT sum(rows) FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}) AS n_rows
     FROM system.detached_parts WHERE database = {database:String} AND table = {table:String} AND reason = '' ORDER BY name`,
    { params: { database: replica.database, table: replica.table }, doing: `looking into detached/ of ${replicaLabel(replica)}` },
  );
  return rows.some((row) => Number(row.n_rows) > 0) ? [] : rows.map(({ name }) => name);
}

/** Notes the strays of a replica by name, before anything is changed, and answers the id of this taking; empty where there are none. */
export async function saveStrays(
  host: ClickHouseHost,
  zookeeper: ZooKeeperSession,
  { migration, replica }: { readonly migration: string; readonly replica: InventoryReplica },
  facts: Pick<ZeroCopyFacts, 'lockRoot' | 'sharedId'>,
): Promise<{ take: string; parts: number }> {
  const lying = await lyingParts(host, replica);
  if (lying.length === 0) return { take: '', parts: 0 };
  const { locks } = await readLocks(zookeeper, facts, replica.zookeeperPath);
  const names = straysAmong(replica, lying, locks, await partBlobsOf(host, replica));
  if (names.length === 0) return { take: '', parts: 0 };
  const take = randomUUID();
  const rows = names.map((name) => ({ migration, database: replica.database, table: replica.table, kind: 'strays', take, name }));
  await host.insert(`${STORE_DATABASE}.manifests`, rows, { doing: `saving which parts of ${replicaLabel(replica)} lie in detached/` });
  return { take, parts: names.length };
}

export async function savedStrays(host: ClickHouseHost, migration: string, replica: ReplicaRef, take: string): Promise<string[]> {
  return take === '' ? [] : manifestNames(host, migration, replica, take);
}

async function straysOf(connections: Connections, migration: string, { host: target, replica }: NonNullable<RestoreInput['first']>): Promise<string[]> {
  const host = connections.host(target);
  const note = await readNote(host, migration, replica);
  return savedStrays(host, migration, replica, note.zeroCopy?.strayTake ?? '');
}

const ATTACHING = 'attaching_';

/**
 * Brings the strays back, once the replica is registered: the first replica attaches each by its saved name; another one takes its own by
 * itself when it catches up with the first. Answers the note with a baseline that was taken from what is there then.
 *
 * @throws MigrationError `NEEDS_HAND`, `PROOF_FAILED` when one is still in `detached/` afterwards
 */
export async function returnStrays(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<ReplicaNote> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const strays = await savedStrays(host, migration, replica, note.zeroCopy?.strayTake ?? '');
  if (input.first === undefined) await attachStrays(host, input, strays);
  // A part of the same name is the same part: one that came from the first replica instead leaves its folder behind, and nothing is lost.
  const broughtByFirst = new Set(input.first === undefined ? [] : await straysOf(connections, migration, input.first));
  const left = (await stillLying(host, replica, strays)).filter((name) => !broughtByFirst.has(name));
  if (left.length > 0) {
    throw new MigrationError('PROOF_FAILED', `${replicaLabel(replica)}: ${left.length} of ${strays.length} parts that are to be brought back lie in detached/ still: ${left.slice(0, 5).join(', ')}`);
  }
  const baseline = await takeManifest(host, migration, replica, 'baseline');
  if (baseline.parts < strays.length) {
    throw new MigrationError('PROOF_FAILED', `${replicaLabel(replica)} has ${baseline.parts} parts, and ${strays.length} were to be brought back`);
  }
  const next: ReplicaNote = { ...note, seq: note.seq + 1, baselineTake: baseline.take, rows: baseline.rows, parts: baseline.parts };
  await connections.notes(input.host).write(migration, replica, next);
  return next;
}

async function attachStrays(host: ClickHouseHost, { migration, replica }: RestoreInput, strays: readonly string[]): Promise<void> {
  const stuck = await stillLying(host, replica, strays.map((name) => `${ATTACHING}${name}`));
  if (stuck.length > 0) {
    throw new MigrationError('NEEDS_HAND', `${replicaLabel(replica)}: ${stuck.join(', ')} in detached/ cannot be named in SQL: take "${ATTACHING}" off the names of these folders on the host, then retry`);
  }
  const lying = await stillLying(host, replica, strays);
  let attached = 0;
  for (const name of lying) {
    report({ doing: 'attaching parts that a failed RESTORE left in detached/', done: attached, total: lying.length });
    const sent = await send(host, statements.attachPart(replica, name), {
      queryId: statementId(migration, replica, `attach-part-${name}`),
      doing: `attaching the part ${name} of ${replicaLabel(replica)}`,
    });
    if (sent.end === 'refused') throw sent.error;
    attached += 1;
  }
}

/** In the order of their blocks: engines that keep the last row of several go by it. */
async function stillLying(host: ClickHouseHost, replica: ReplicaRef, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) return [];
  const rows = await host.select<{ name: string }>(
    'SELECT name FROM system.detached_parts WHERE database = {database:String} AND table = {table:String} AND name IN ({names:Array(String)}) ORDER BY partition_id, min_block_number, max_block_number',
    { params: { database: replica.database, table: replica.table, names }, doing: `looking into detached/ of ${replicaLabel(replica)}` },
  );
  return rows.map(({ name }) => name);
}
