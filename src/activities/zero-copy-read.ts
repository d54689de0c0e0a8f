import { CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { quoteIdentifier, quoteString, statements } from '../clickhouse/sql';
import { MigrationError } from '../domain/failure';
import { replicaLabel, type ReplicaRef } from '../domain/inventory';
import { FOR_MARK_CACHE, grantStatement } from './grants';
import { readSkipIndexes } from './zero-copy-read-indexes';
import { batchesOf, batchesOfBytes, BlobReader, codeOf, ofParts, type Part, proofFailed, slicesOf, unreadWords } from './zero-copy-reader';

/** No granule has more rows, unless `index_granularity` was raised. */
const ROWS_OF_GRANULE = 8_192;
/** Marks that are looked at in one query: the server holds those of a part at once, some 20 bytes each. */
const BATCH_MARKS = 4_000_000;
/** Files of such a column depend on its rows; no index says where each begins. */
const FILES_BY_ROW = /\b(?:JSON|Dynamic|Object|Variant)\b/u;
/** Columns that a part may have beside those of its table, each in files of its own. */
const PERSISTED = ['_row_exists', '_block_number', '_block_offset'];
/** What a server answers that knows no `_part_offset`, or takes it in no PREWHERE (before 24.2). */
const NO_PART_OFFSET: readonly unknown[] = [CODES.NOT_FOUND_COLUMN_IN_BLOCK, CODES.UNKNOWN_IDENTIFIER, CODES.ILLEGAL_PREWHERE];

export interface ReadInput {
  readonly host: ClickHouseHost;
  readonly replica: ReplicaRef;
  /** What is larger is not read whole: of a column the place where each of its files begins to hold anything. */
  readonly wholeBytes: number;
  /** What the ids of its queries begin with, see {@link BlobReader.open}. */
  readonly readId: string;
}

/**
 * Reads an attached replica, so that a blob that is gone is seen: the columns, projections and skip indexes of every active part; what is
 * written beside them (checksums, key, lists of columns) its server read when it attached the part. Nothing is changed, unlike by `CHECK
 * TABLE`, which takes a part that it finds broken away from a replicated table. Answers what could not be read so, in words.
 *
 * Source: https://clickhouse.com/docs/sql-reference/table-functions/mergeTreeIndex,
 * https://clickhouse.com/docs/sql-reference/table-functions/mergeTreeProjection
 *
 * @throws MigrationError `PROOF_FAILED` with what could not be read
 */
export async function readReplica({ host, replica, wholeBytes, readId }: ReadInput): Promise<string[]> {
  const parts = await activeParts(host, replica);
  if (parts.length === 0) return [];
  const reader = await BlobReader.open(host, replica, readId);
  const words = [...reader.words, ...(await emptyMarkCaches(reader))];
  words.push(...(await readColumns(reader, parts, wholeBytes)));
  words.push(...(await readProjections(reader, wholeBytes)));
  words.push(...(await readSkipIndexes(reader, parts)));
  return words;
}

async function activeParts(host: ClickHouseHost, { database, table }: ReplicaRef): Promise<Part[]> {
  const rows = await host.select<PartRow>(
    `SELECT name, rows, marks, bytes_on_disk AS bytes FROM system.parts
     WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String} ORDER BY name`,
    { params: { database, table }, doing: `listing the parts of ${database}.${table}`, timeoutMs: 300_000 },
  );
  return rows.map(partOf);
}

interface PartRow {
  readonly name: string;
  readonly rows: string;
  readonly marks: string;
  readonly bytes: string;
}

function partOf({ name, rows, marks, bytes }: PartRow): Part {
  return { name, rows: Number(rows), marks: Number(marks), bytes: Number(bytes) };
}

function bytesOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Marks that a query read before the DETACH would stand for a file of marks that is gone. */
async function emptyMarkCaches({ host, replica }: BlobReader): Promise<string[]> {
  for (const cache of ['MARK CACHE', 'INDEX MARK CACHE']) {
    try {
      await host.run(`SYSTEM DROP ${cache}`, { doing: `emptying the ${cache.toLowerCase()} before ${replicaLabel(replica)} is read` });
    } catch (error) {
      if (error instanceof MigrationError && error.type === 'ACCESS_DENIED') return [`the mark cache could not be emptied, for lack of ${grantStatement(FOR_MARK_CACHE, host.target.user)}: files of marks may have been read from it`];
      if (!(error instanceof MigrationError) || error.type !== 'UNSUPPORTED') throw error;
    }
  }
  return [];
}

async function readColumns(reader: BlobReader, parts: readonly Part[], wholeBytes: number): Promise<string[]> {
  const beside = await reader.ask<{ name: string }>(
    `SELECT DISTINCT column AS name FROM system.parts_columns
     WHERE active AND database = {database:String} AND table = {table:String} AND column IN (${PERSISTED.map(quoteString).join(', ')}) ORDER BY name`,
    'the columns',
  );
  const all = ['*', ...beside.map(({ name }) => quoteIdentifier(name))];
  if (bytesOf(parts) <= wholeBytes) return unreadWords('columns', await readWhole(reader, 'reading its blobs', parts, all));
  if (!reader.functions.has('mergeTreeIndex')) return readFirstGranules(reader, parts, all);
  const unread = [...(await readBeginnings(reader, parts, all)), ...(await readByRow(reader, parts))];
  return unreadWords('columns', [...new Set(unread)]);
}

/** Every row of these columns. */
async function readWhole(reader: BlobReader, what: string, parts: readonly Part[], columns: readonly string[]): Promise<string[]> {
  return reader.inBatches(what, batchesOfBytes(parts), async (batch, settings) => {
    for (const rows of rangesOf(reader, batch)) {
      await reader.read(`SELECT count() AS n FROM ${reader.table} ${rows} WHERE ${ofParts(batch)} AND NOT ignore(${columns.join(', ')})`, settings);
    }
  });
}

/** A large part is read in pieces, where the server can: with `mergeTreeIndex` came `_part_offset` in PREWHERE. */
function rangesOf({ functions }: BlobReader, batch: readonly Part[]): string[] {
  const [first] = batch;
  if (first === undefined || batch.length > 1 || !functions.has('mergeTreeIndex')) return [''];
  const slices = slicesOf(first);
  return slices.length === 1 ? [''] : slices.map(({ from, to }) => `PREWHERE _part_offset >= ${from} AND _part_offset < ${to}`);
}

async function readFirstGranules(reader: BlobReader, parts: readonly Part[], columns: readonly string[]): Promise<string[]> {
  try {
    const unread = await reader.inBatches('reading the first granule of its columns', batchesOfBytes(parts), async (batch, settings) => {
      await reader.read(`SELECT count() AS n FROM ${reader.table} PREWHERE _part_offset < ${ROWS_OF_GRANULE} WHERE ${ofParts(batch)} AND NOT ignore(${columns.join(', ')})`, settings);
    });
    return ['of its columns the first granule was read: the server has no mergeTreeIndex', ...unreadWords('columns', unread)];
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || !NO_PART_OFFSET.includes(code)) throw error;
    return [`its columns were not read: the server has no mergeTreeIndex, and does not read by _part_offset (code ${code}). With verify.blobs: full they are read`];
  }
}

/** The marks of every file, and of every file the granule where its data begin. */
async function readBeginnings(reader: BlobReader, parts: readonly Part[], columns: readonly string[]): Promise<string[]> {
  const { database, table } = reader.replica;
  const index = `mergeTreeIndex(${quoteString(database)}, ${quoteString(table)}, with_marks = 1)`;
  const described = await reader.ask<{ name: string }>(`DESCRIBE TABLE ${index}`, 'the files');
  const streams = described.filter(({ name }) => name.endsWith('.mark')).map(({ name }) => quoteIdentifier(name));
  const batches = batchesOf(parts, ({ marks }) => marks * streams.length, BATCH_MARKS);
  return reader.inBatches('reading a granule of every file of its columns', batches, async (batch, settings) => {
    for (const some of streamsTogether(streams, batch)) {
      const rows = rowsToRead(`${index} WHERE ${ofParts(batch, 'part_name')}`, some);
      await reader.read(`SELECT count() AS n FROM ${reader.table} PREWHERE (_part, _part_offset) IN (${rows}) WHERE ${ofParts(batch)} AND NOT ignore(${columns.join(', ')})`, settings);
    }
  });
}

/** So many streams of a batch that their marks are not too many: fewer than all of a large part. */
function streamsTogether(streams: readonly string[], batch: readonly Part[]): string[][] {
  const marks = batch.reduce((sum, part) => sum + part.marks, 0);
  const most = Math.max(1, Math.floor(BATCH_MARKS / Math.max(1, marks)));
  return Array.from({ length: Math.max(1, Math.ceil(streams.length / most)) }, (_, at) => streams.slice(at * most, (at + 1) * most));
}

/**
 * For each part the last rows of those granules in which its files begin to hold anything: an array's elements may begin far behind its
 * first row. By its marks that is the last granule whose mark is the first one's. A granule is read up to the last row that is asked for.
 *
 * @param index the index of some parts
 */
function rowsToRead(index: string, streams: readonly string[]): string {
  const begins = streams.map((stream) => `argMin(mark_number, (${stream}, -toInt64(mark_number)))`);
  return `SELECT part_name, last_row FROM (
      SELECT part_name, mark_number, sum(rows_in_granule) OVER (PARTITION BY part_name ORDER BY mark_number ROWS UNBOUNDED PRECEDING) - 1 AS last_row FROM ${index})
    WHERE (part_name, mark_number) IN (SELECT part_name, arrayJoin([${['max(mark_number)', ...begins].join(', ')}]) FROM ${index} GROUP BY part_name)`;
}

async function readByRow(reader: BlobReader, parts: readonly Part[]): Promise<string[]> {
  const columns = await reader.ask<{ name: string; type: string }>(
    "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} AND default_kind NOT IN ('ALIAS', 'EPHEMERAL')",
    'the columns',
  );
  const byRow = columns.filter(({ type }) => FILES_BY_ROW.test(type)).map(({ name }) => quoteIdentifier(name));
  return byRow.length === 0 ? [] : readWhole(reader, 'reading columns whose files depend on their rows', parts, byRow);
}

async function readProjections(reader: BlobReader, wholeBytes: number): Promise<string[]> {
  const unread: string[] = [];
  const words: string[] = [];
  for (const { projection, broken } of await projectionsOf(reader)) {
    if (broken.length > 0) throw brokenProjection(reader.replica, projection, broken);
    if (reader.functions.has('mergeTreeProjection')) words.push(...(await readProjection(reader, projection, wholeBytes)));
    else unread.push(projection);
  }
  return unread.length === 0 ? words : [...words, `projections that were not read, for the server has no mergeTreeProjection: ${unread.join(', ')}`];
}

/** The table's projections, with the parts whose projection the server holds for broken. */
async function projectionsOf(reader: BlobReader): Promise<{ projection: string; broken: string[] }[]> {
  const columns = await reader.ask<{ name: string }>("SELECT name FROM system.columns WHERE database = 'system' AND table = 'projection_parts'", 'the list of projections');
  if (columns.length === 0) return [];
  const broken = columns.some(({ name }) => name === 'is_broken') ? 'groupArrayIf(parent_name, is_broken)' : 'emptyArrayString()';
  return reader.ask(
    `SELECT name AS projection, ${broken} AS broken FROM system.projection_parts
     WHERE active AND database = {database:String} AND table = {table:String} GROUP BY projection ORDER BY projection`,
    'the projections',
  );
}

function brokenProjection(replica: ReplicaRef, projection: string, broken: readonly string[]): MigrationError {
  return proofFailed(replica, `the projection ${projection} of ${broken.length} of its parts cannot be read, such as of ${broken[0] ?? ''} (system.projection_parts). A server keeps to that: once the blobs are there, ${statements.detachForNow(replica)}; ${statements.attach(replica)}; then retry`);
}

async function projectionParts(reader: BlobReader, projection: string): Promise<Part[]> {
  const rows = await reader.ask<PartRow>(
    `SELECT one.parent_name AS name, rows, marks, bytes_on_disk AS bytes FROM system.projection_parts AS one
     WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String} AND one.name = ${quoteString(projection)} ORDER BY one.parent_name`,
    `the projection ${projection}`,
  );
  return rows.map(partOf);
}

async function readProjection(reader: BlobReader, projection: string, wholeBytes: number): Promise<string[]> {
  const parts = await projectionParts(reader, projection);
  const { database, table } = reader.replica;
  const source = `mergeTreeProjection(${[database, table, projection].map(quoteString).join(', ')})`;
  const whole = bytesOf(parts) <= wholeBytes;
  const unread = await reader.inBatches(`reading the projection ${projection}`, batchesOfBytes(parts), async (batch, settings) => {
    const rows = whole ? rangesOf(reader, batch) : [`PREWHERE _part_offset < ${ROWS_OF_GRANULE}`];
    for (const prewhere of rows) {
      const seen = await reader.read(`SELECT uniqExact(_part) AS n FROM ${source} ${prewhere} WHERE ${ofParts(batch)} AND NOT ignore(*)`, settings);
      if (seen < batch.length) throw proofFailed(reader.replica, `the projection ${projection} was read in ${seen} of ${batch.length} parts`);
    }
  });
  return unreadWords(`the files of the projection ${projection}`, unread);
}
