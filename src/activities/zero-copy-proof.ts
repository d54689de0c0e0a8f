import { quoteTable } from '../clickhouse/sql';
import { clickHouseCode } from '../clickhouse/errors';
import type { ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import { type ZeroCopyFacts, locksOf } from '../domain/zero-copy';
import { type Connections, ensembleOf, report, sleep } from './deps';
import { readLocks, readSharedId, savedLocks } from './zero-copy-locks';
import { storageOf } from './zero-copy-storage';
import type { HostTarget, RestoreInput, ZooKeeperTarget } from './types';

/** A table up to this size is read whole; of a larger one, the first granule of every part. */
const READ_WHOLE_BYTES = 1024 ** 3;
const READ_TIMEOUT_MS = 6 * 3_600_000;
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
  if (input.blobs !== 'locks') await readBlobs(connections, input);
  return words;
}

/** @throws MigrationError `PROOF_FAILED` with the parts that have no lock */
export async function proveLocks(connections: Connections, input: LockProof, facts: ZeroCopyFacts): Promise<string[]> {
  const { replica } = input;
  const host = connections.host(input.host);
  const end = Date.now() + LOCKS_WITHIN_MS;
  for (;;) {
    const parts = await partsOnBlobs(connections, input);
    const blobs = await lockedBlobs(connections, input, facts, new Set(parts));
    const missing = parts.filter((name) => !blobs.has(name));
    if (missing.length === 0) {
      const before = new Set((await savedLocks(host, input.migration, replica, facts.locksTake)).map(({ blob }) => blob));
      const others = [...blobs.values()].filter((blob) => !before.has(blob)).length;
      return others === 0 || facts.locksTake === '' ? [] : [`${others} parts are on other blobs than before`];
    }
    if (Date.now() > end) {
      throw new MigrationError(
        'PROOF_FAILED',
        `${replicaLabel(replica)}: ${missing.length} of ${parts.length} active parts have no zero-copy lock (${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}): another replica could delete their blobs`,
      );
    }
    await sleep(200);
  }
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

/** The blob of each part that has this replica's lock, where its locks are now. */
async function lockedBlobs(connections: Connections, input: LockProof, facts: ZeroCopyFacts, parts: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
  const { replica } = input;
  const zookeeper = await connections.zookeeper(ensembleOf(input.host, input.zookeeper, replica.zookeeperName), input.zookeeper.digestEnv);
  const sharedId = (await readSharedId(zookeeper, replica.zookeeperPath)) ?? replica.uuid;
  const { locks } = await readLocks(zookeeper, { lockRoot: facts.lockRoot, sharedId }, replica.zookeeperPath);
  return new Map(locksOf(locks, replica.replicaName, parts).map(({ part, blob }) => [part, blob]));
}

/**
 * Reads the replica's data, so that a blob that is gone is seen: all of it up to 1 GiB, of a larger table every column's first granule in
 * each part. What the server's own caches hold is not taken for an answer.
 */
async function readBlobs(connections: Connections, { host: target, replica }: RestoreInput): Promise<void> {
  const host = connections.host(target);
  const [size] = await host.select<{ bytes: string }>(
    'SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}',
    { params: { database: replica.database, table: replica.table }, doing: `measuring ${replicaLabel(replica)}` },
  );
  const whole = Number(size?.bytes ?? 0) <= READ_WHOLE_BYTES;
  report({ doing: whole ? 'reading its blobs' : 'reading the beginning of every part' });
  try {
    await host.select(`SELECT count() FROM ${quoteTable(replica)} ${whole ? '' : 'PREWHERE _part_offset = 0 '}WHERE NOT ignore(*)`, {
      settings: { asterisk_include_materialized_columns: 1, enable_filesystem_cache: 0, use_uncompressed_cache: 0 },
      doing: `reading the blobs of ${replicaLabel(replica)}`,
      timeoutMs: READ_TIMEOUT_MS,
    });
  } catch (error) {
    if (!(error instanceof MigrationError) || error.type !== 'UNKNOWN' || clickHouseCode(error) === undefined) throw error;
    throw new MigrationError('PROOF_FAILED', `${replicaLabel(replica)} has its parts, but they cannot be read: ${error.message}`, { cause: error });
  }
}
