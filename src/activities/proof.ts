import type { ClickHouseHost } from '../clickhouse/host';
import { readNote, STORE_DATABASE, type ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type ReplicaRef, replicaLabel } from '../domain/inventory';
import { balanceOf, compareManifests, describeDifference, differenceOf, type ManifestPart, NO_DIFFERENCE, partKey } from '../domain/manifest';
import { type Connections, sleep } from './deps';
import type { Standing } from './restore';
import type { RestoreInput } from './types';

const LOOKS = 6;
const BETWEEN_LOOKS_MS = 500;

/**
 * The replica equals the first by `(partition_id, rows, hash_of_uncompressed_files)`: compression may differ between replicas. The
 * digests are compared first; only where they differ are the parts fetched, to say how.
 */
export async function proveAgainstFirst(
  connections: Connections,
  input: RestoreInput,
  first: NonNullable<RestoreInput['first']>,
): Promise<void> {
  const ours = connections.host(input.host);
  const theirs = connections.host(first.host);
  let difference = NO_DIFFERENCE;
  // Both are writable: an INSERT that one has and the other gets in a moment is no difference, however many of them follow each other.
  let lasting: ReadonlySet<string> | undefined;
  for (let looks = 0; looks < LOOKS; looks += 1) {
    if (looks > 0) await sleep(BETWEEN_LOOKS_MS);
    const [mine, other] = await Promise.all([digestOfActive(ours, input.replica), digestOfActive(theirs, first.replica)]);
    if (mine === other) return;
    const [mineParts, otherParts] = await Promise.all([activeParts(ours, input.replica), activeParts(theirs, first.replica)]);
    const balance = balanceOf(otherParts, mineParts, 'hashOfUncompressedFiles');
    if (balance.size === 0) return;
    difference = differenceOf(balance);
    const here = new Set(mineParts.map((part) => partKey(part, 'hashOfUncompressedFiles')));
    // What one had at an earlier look both have by now; of what is in neither any more nothing is known.
    lasting = new Set([...(lasting ?? balance.keys())].filter((content) => balance.has(content) || !here.has(content)));
    if (lasting.size === 0) return;
  }
  throw new MigrationError(
    'PROOF_FAILED',
    `${replicaLabel(input.replica)} differs from the first replica on ${first.host.name}: ${describeDifference(difference)}`,
  );
}

/** What the replica lacks of the first one now, and what its queue says of it, in words that end a sentence; nothing where it lacks nothing. */
export async function lackedOfFirst(connections: Connections, { host, replica, first }: Pick<RestoreInput, 'host' | 'replica' | 'first'>): Promise<string> {
  if (first === undefined) return '';
  const ours = connections.host(host);
  const [mine, other] = await Promise.all([activeParts(ours, replica), activeParts(connections.host(first.host), first.replica)]);
  const { missingParts, missingRows } = compareManifests(other, mine, 'hashOfUncompressedFiles');
  if (missingParts === 0) return '';
  const [entry] = await ours.select<{ part: string; why: string }>(
    `SELECT new_part_name AS part, if(last_exception != '', last_exception, postpone_reason) AS why FROM system.replication_queue
     WHERE database = {database:String} AND table = {table:String} AND why != '' ORDER BY create_time, part LIMIT 1`,
    { params: { database: replica.database, table: replica.table }, doing: `reading the queue of ${replicaLabel(replica)}` },
  );
  return `; ${missingParts} parts with ${missingRows} rows of it are on the first replica (${first.host.name}) alone${entry === undefined ? '' : `; ${entry.part} does not come: ${entry.why}`}`;
}

async function digestOfActive(host: ClickHouseHost, replica: ReplicaRef): Promise<string> {
  const rows = await host.select<{ digest: string; parts: string }>(
    `SELECT count() AS parts, sum(sipHash64(partition_id, rows, hash_of_uncompressed_files)) AS digest FROM system.parts
     WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}`,
    { params: { database: replica.database, table: replica.table }, doing: `reading the parts of ${replicaLabel(replica)}` },
  );
  const row = rows[0];
  if (row === undefined) throw new MigrationError('INVARIANT', 'a digest without an answer');
  return `${row.parts} ${row.digest}`;
}

async function activeParts(host: ClickHouseHost, replica: ReplicaRef): Promise<ManifestPart[]> {
  const rows = await host.select<Record<'name' | 'partition_id' | 'rows' | 'a' | 'u', string>>(
    `SELECT name, partition_id, rows, hash_of_all_files AS a, hash_of_uncompressed_files AS u FROM system.parts
     WHERE active AND database = {database:String} AND table = {table:String}`,
    { params: { database: replica.database, table: replica.table }, doing: `reading the parts of ${replicaLabel(replica)}` },
  );
  return rows.map(partOf);
}

/** Engines whose merges keep every row; the second is what the first is for a moment, as a plain table. */
export const ROW_KEEPING_ENGINES: ReadonlySet<string> = new Set(['ReplicatedMergeTree', 'MergeTree']);

/**
 * The second way of proof, where a server that was killed started with merges on: parts were merged since, so hashes cannot be equal.
 * It holds only for an engine whose merges keep every row, when each partition has exactly the baseline's rows, and every active part
 * that the baseline does not know is the outcome of a merge (level above 0). Answers the words to be recorded, or undefined.
 */
export async function proveByRows(
  connections: Connections,
  input: Pick<RestoreInput, 'migration' | 'host' | 'replica'>,
  note: Pick<ReplicaNote, 'baselineTake'>,
  standing: Pick<Standing, 'difference'>,
): Promise<string | undefined> {
  const { migration, replica } = input;
  if (standing.difference.missingRows !== standing.difference.extraRows || standing.difference.missingParts === 0) return undefined;
  const host = connections.host(input.host);
  const params = { migration, database: replica.database, table: replica.table, take: note.baselineTake };
  const rows = await host.select<{ engine: string; unequal: string; unmerged: string }>(
    `WITH baseline AS (SELECT partition_id, rows, hash_of_all_files FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String}
        AND database = {database:String} AND table = {table:String} AND take = {take:String} AND rows > 0),
      now AS (SELECT partition_id, rows, hash_of_all_files, level FROM system.parts WHERE active AND rows > 0
        AND database = {database:String} AND table = {table:String})
     SELECT
      (SELECT any(engine) FROM system.tables WHERE database = {database:String} AND name = {table:String}) AS engine,
      (SELECT count() FROM (SELECT partition_id, sum(n) AS d FROM (SELECT partition_id, toInt64(rows) AS n FROM baseline
        UNION ALL SELECT partition_id, -toInt64(rows) FROM now) GROUP BY partition_id HAVING d != 0)) AS unequal,
      (SELECT count() FROM now WHERE level = 0 AND (partition_id, rows, hash_of_all_files) NOT IN
        (SELECT partition_id, rows, hash_of_all_files FROM baseline)) AS unmerged`,
    { params, doing: `comparing the rows of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  const row = rows[0];
  if (row === undefined || !ROW_KEEPING_ENGINES.has(row.engine) || Number(row.unequal) !== 0 || Number(row.unmerged) !== 0) return undefined;
  return `proved by the rows of each partition: ${standing.difference.missingParts} parts were merged into ${standing.difference.extraParts} since`;
}

/**
 * The third way of proof, for another than the first replica, whose parts were merged while somebody wrote: after a failure that came before
 * its proof merges went on. The first one is proved, and so has all that its own baseline had; where this one's baseline has nothing beyond
 * that, being equal to the first ({@link proveAgainstFirst}, which follows) is having every row. Answers the words to be recorded, or undefined.
 */
export async function heldByFirst(
  connections: Connections,
  { migration, replica, host, first }: Pick<RestoreInput, 'migration' | 'replica' | 'host' | 'first'>,
  note: Pick<ReplicaNote, 'baselineTake'>,
): Promise<string | undefined> {
  if (first === undefined) return undefined;
  const theirs = connections.host(first.host);
  const theirNote = await readNote(theirs, migration, first.replica);
  if (theirNote.status !== 'RESTORED' || theirNote.baselineTake === '') return undefined;
  const [expected, had] = await Promise.all([
    savedParts(connections.host(host), migration, replica, note.baselineTake),
    savedParts(theirs, migration, first.replica, theirNote.baselineTake),
  ]);
  if (expected.length === 0 || compareManifests(expected, had, 'hashOfUncompressedFiles').missingParts > 0) return undefined;
  return `proved by the first replica on ${first.host.name}: its parts were merged since, all that its baseline has was in that one's, and both have the same now`;
}

async function savedParts(host: ClickHouseHost, migration: string, replica: ReplicaRef, take: string): Promise<ManifestPart[]> {
  const rows = await host.select<Record<'name' | 'partition_id' | 'rows' | 'a' | 'u', string>>(
    `SELECT name, partition_id, rows, hash_of_all_files AS a, hash_of_uncompressed_files AS u FROM ${STORE_DATABASE}.manifests
     WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND take = {take:String}`,
    { params: { migration, database: replica.database, table: replica.table, take }, doing: `reading the baseline of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  return rows.map(partOf);
}

function partOf(row: Record<'name' | 'partition_id' | 'rows' | 'a' | 'u', string>): ManifestPart {
  return { name: row.name, partitionId: row.partition_id, rows: Number(row.rows), hashOfAllFiles: row.a, hashOfUncompressedFiles: row.u };
}

/**
 * The first replica is writable from its RESTORE on, and a writer that waited may be there before the proof. The baseline is whole, and
 * whatever is there beyond it was written after the RESTORE had been asked for: no merge, no content that the baseline has, which would be a
 * doubled part. Answers the words to be recorded, or undefined.
 */
export async function insertedSince(
  connections: Connections,
  { migration, replica, host, first }: RestoreInput,
  note: Pick<ReplicaNote, 'baselineTake'>,
  { difference }: Pick<Standing, 'difference'>,
): Promise<string | undefined> {
  if (first !== undefined || difference.missingParts > 0 || difference.extraParts === 0) return undefined;
  const [row] = await connections.host(host).select<{ n: string; earlier: string }>(
    `WITH (SELECT min(at) FROM ${STORE_DATABASE}.statuses WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String}
        AND step = 'restoring' AND seq > (SELECT max(seq) FROM ${STORE_DATABASE}.statuses WHERE migration = {migration:String}
          AND database = {database:String} AND table = {table:String} AND step = 'baseline')) AS restoring
     SELECT count() AS n, countIf(level > 0 OR modification_time < toStartOfSecond(restoring)) AS earlier FROM system.parts
     WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}
       AND (partition_id, rows, hash_of_all_files) NOT IN (SELECT partition_id, rows, hash_of_all_files FROM ${STORE_DATABASE}.manifests
         WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND take = {take:String})`,
    {
      params: { migration, database: replica.database, table: replica.table, take: note.baselineTake },
      doing: `looking what was inserted into ${replicaLabel(replica)}`,
      timeoutMs: 300_000,
    },
  );
  if (row === undefined || Number(row.n) !== difference.extraParts || Number(row.earlier) > 0) return undefined;
  return `the baseline is whole; ${difference.extraParts} parts with ${difference.extraRows} rows were inserted since its RESTORE`;
}
