import type { ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import { locksOf, type ZeroCopyFacts, type ZeroCopyLock } from '../domain/zero-copy';
import { type Connections, ensembleOf, sleep } from './deps';
import { partBlobsOf } from './zero-copy-blobs';
import { readLocks, readSharedId, savedLocks } from './zero-copy-locks';
import { statementId } from './statement';
import { readReplica } from './zero-copy-read';
import { storageOf } from './zero-copy-storage';
import type { HostTarget, RestoreInput, ZooKeeperTarget } from './types';

/** With `verify.blobs: read` what is not larger is read whole. */
const READ_WHOLE_BYTES = 1024 ** 3;
/** A lock is made together with its part: what is not there after this is missing. */
const LOCKS_WITHIN_MS = 10_000;

/** Where the locks of a replica are proved. */
export interface LockProof {
  readonly migration: string;
  readonly host: HostTarget;
  readonly replica: InventoryReplica;
  readonly zookeeper: ZooKeeperTarget;
}

/**
 * A zero-copy replica is proved when every active part on an object storage has this replica's lock, and its blobs can be read. Answers
 * what has to be said beside it.
 */
export async function proveZeroCopy(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<string[]> {
  if (note.zeroCopy === null) return [];
  const words = await proveLocks(connections, input, note.zeroCopy);
  if (input.blobs === 'locks') return words;
  const read = await readReplica({
    host: connections.host(input.host),
    replica: input.replica,
    wholeBytes: input.blobs === 'full' ? Infinity : READ_WHOLE_BYTES,
    readId: statementId(input.migration, input.replica, 'read'),
  });
  return [...words, ...read];
}

/** @throws MigrationError `PROOF_FAILED` with the parts that have no lock */
export async function proveLocks(connections: Connections, input: LockProof, facts: ZeroCopyFacts): Promise<string[]> {
  const { replica } = input;
  const host = connections.host(input.host);
  const before = new Set((await savedLocks(host, input.migration, replica, facts.locksTake)).map(({ blob }) => blob));
  const end = Date.now() + LOCKS_WITHIN_MS;
  for (;;) {
    const parts = await partsOnBlobs(connections, input);
    const { missing, others } = await unlockedParts(connections, input, await ownLocksNow(connections, input, facts, new Set(parts)), parts, before);
    if (missing.length === 0) return others === 0 || facts.locksTake === '' ? [] : [`${others} parts are on other blobs than before`];
    if (Date.now() > end) {
      throw new MigrationError(
        'PROOF_FAILED',
        `${replicaLabel(replica)}: ${missing.length} of ${parts.length} active parts have no zero-copy lock (${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}): another replica could delete their blobs`,
      );
    }
    await sleep(200);
  }
}

/**
 * The parts without a lock, and how many have theirs on a blob that is none of before. A lock on a blob that was this replica's before can
 * be no other table's; of any other lock the host's own files tell whether it is this part's.
 */
async function unlockedParts(
  connections: Connections,
  { host, replica }: LockProof,
  locks: readonly ZeroCopyLock[],
  parts: readonly string[],
  before: ReadonlySet<string>,
): Promise<{ missing: string[]; others: number }> {
  const held = new Set(locks.filter(({ blob }) => before.has(blob)).map(({ part }) => part));
  const open = parts.filter((name) => !held.has(name));
  if (open.length === 0) return { missing: [], others: 0 };
  // These parts have blobs: a server that names none of them does not tell, and names decide.
  const told = await partBlobsOf(connections.host(host), replica);
  const blobs = told?.size === 0 ? undefined : told;
  const found = new Set(locksOf(locks, replica.replicaName, new Set(open), blobs).map(({ part }) => part));
  return { missing: open.filter((name) => !found.has(name)), others: found.size };
}

async function partsOnBlobs(connections: Connections, { host: target, replica }: LockProof): Promise<string[]> {
  const host = connections.host(target);
  const { remoteDisks } = await storageOf(host);
  const rows = await host.select<{ name: string }>(
    `SELECT name FROM system.parts WHERE active AND database = {database:String} AND table = {table:String} AND disk_name IN ({disks:Array(String)})`,
    { params: { database: replica.database, table: replica.table, disks: [...remoteDisks] }, doing: `reading the parts of ${replicaLabel(replica)}` },
  );
  return rows.map(({ name }) => name);
}

/** The locks of this replica's name on these parts, where its locks are now. */
async function ownLocksNow(connections: Connections, input: LockProof, facts: ZeroCopyFacts, parts: ReadonlySet<string>): Promise<ZeroCopyLock[]> {
  const { replica } = input;
  const zookeeper = await connections.zookeeper(ensembleOf(input.host, input.zookeeper, replica.zookeeperName), input.zookeeper.digestEnv);
  const sharedId = (await readSharedId(zookeeper, replica.zookeeperPath)) ?? replica.uuid;
  const { locks } = await readLocks(zookeeper, { lockRoot: facts.lockRoot, sharedId }, replica.zookeeperPath);
  return locksOf(locks, replica.replicaName, parts, undefined);
}
