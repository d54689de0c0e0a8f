import type { ClickHouseSettings } from '@clickhouse/client';

import { clickHouseCode, CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { quoteIdentifier, quoteString, quoteTable, statements } from '../clickhouse/sql';
import { MigrationError } from '../domain/failure';
import { replicaLabel, type ReplicaRef } from '../domain/inventory';
import { report } from './deps';
import { FOR_MARK_CACHE, grantStatement } from './grants';

const READ_TIMEOUT_MS = 6 * 3_600_000;
/** No granule has more rows, unless `index_granularity` was raised. */
const ROWS_OF_GRANULE = 8_192;
/** Files of such a column depend on its rows; no index says where each begins. */
const FILES_BY_ROW = /\b(?:JSON|Dynamic|Object|Variant)\b/u;
/** Columns that a part may have beside those of its table, each in files of its own. */
const PERSISTED = ['_row_exists', '_block_number', '_block_offset'];

/** What a server's own caches hold is not taken for an answer; a setting that it does not know is left out. */
const READING: ClickHouseSettings & Record<string, number> = {
  asterisk_include_materialized_columns: 1,
  enable_filesystem_cache: 0,
  use_uncompressed_cache: 0,
  use_page_cache_for_disks_without_file_cache: 0,
  use_page_cache_for_object_storage: 0,
  use_query_condition_cache: 0,
  optimize_use_projections: 0,
  apply_deleted_mask: 0,
};
/** Every part is to be looked at, whatever its partition and its key. */
const ANALYSING: ClickHouseSettings & Record<string, number> = {
  use_partition_pruning: 0,
  use_primary_key: 0,
  use_statistics_for_part_pruning: 0,
  use_skip_indexes_on_data_read: 0,
};

interface Reader {
  readonly host: ClickHouseHost;
  readonly replica: ReplicaRef;
  /** What is larger is not read whole: of a column the place where each of its files begins to hold anything. */
  readonly wholeBytes: number;
  readonly known: ReadonlySet<string>;
  readonly functions: ReadonlySet<string>;
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
export async function readReplica(host: ClickHouseHost, replica: ReplicaRef, wholeBytes: number): Promise<string[]> {
  const parts = await activeParts(host, replica);
  if (parts.n === 0) return [];
  const reader: Reader = { host, replica, wholeBytes, ...(await whatItKnows(host)) };
  const words = await emptyMarkCaches(reader);
  words.push(...(await readColumns(reader, parts.bytes <= wholeBytes)));
  words.push(...(await readProjections(reader)));
  words.push(...(await readSkipIndexes(reader, parts.n)));
  return words;
}

async function activeParts(host: ClickHouseHost, replica: ReplicaRef): Promise<{ n: number; bytes: number }> {
  const [row] = await host.select<{ n: string; bytes: string }>(
    'SELECT count() AS n, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}',
    { params: nameOf(replica), doing: `measuring ${replicaLabel(replica)}` },
  );
  return { n: Number(row?.n ?? 0), bytes: Number(row?.bytes ?? 0) };
}

function nameOf({ database, table }: ReplicaRef): { database: string; table: string } {
  return { database, table };
}

async function whatItKnows(host: ClickHouseHost): Promise<Pick<Reader, 'known' | 'functions'>> {
  const doing = 'asking for its settings and table functions';
  const settings = await host.select<{ name: string }>('SELECT name FROM system.settings WHERE name IN ({names:Array(String)})', {
    params: { names: [...Object.keys(READING), ...Object.keys(ANALYSING), 'ignore_data_skipping_indices'] },
    doing,
  });
  const functions = await host.select<{ name: string }>("SELECT name FROM system.table_functions WHERE name IN ('mergeTreeIndex', 'mergeTreeProjection')", { doing });
  return { known: new Set(settings.map(({ name }) => name)), functions: new Set(functions.map(({ name }) => name)) };
}

/** Marks that a query read before the DETACH would stand for a file of marks that is gone. */
async function emptyMarkCaches({ host, replica }: Reader): Promise<string[]> {
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

async function readColumns(reader: Reader, whole: boolean): Promise<string[]> {
  const { host, replica } = reader;
  const table = quoteTable(replica);
  report({ doing: whole ? 'reading its blobs' : 'reading a granule of every file of its columns' });
  const beside = await host.select<{ name: string }>(
    `SELECT DISTINCT column AS name FROM system.parts_columns
     WHERE active AND database = {database:String} AND table = {table:String} AND column IN ({names:Array(String)}) ORDER BY name`,
    { params: { ...nameOf(replica), names: PERSISTED }, doing: `reading the columns of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
  const all = `ignore(${['*', ...beside.map(({ name }) => quoteIdentifier(name))].join(', ')})`;
  if (whole) {
    await read(reader, `SELECT count() AS n FROM ${table} WHERE NOT ${all}`);
    return [];
  }
  if (!reader.functions.has('mergeTreeIndex')) {
    await read(reader, `SELECT count() AS n FROM ${table} PREWHERE _part_offset < ${ROWS_OF_GRANULE} WHERE NOT ${all}`);
    return ['of its columns the first granule was read: the server has no mergeTreeIndex'];
  }
  await read(reader, `SELECT count() AS n FROM ${table} PREWHERE (_part, _part_offset) IN (${await rowsToRead(reader)}) WHERE NOT ${all}`);
  const columns = await host.select<{ name: string; type: string }>(
    "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} AND default_kind NOT IN ('ALIAS', 'EPHEMERAL')",
    { params: nameOf(replica), doing: `reading the columns of ${replicaLabel(replica)}` },
  );
  const byRow = columns.filter(({ type }) => FILES_BY_ROW.test(type)).map(({ name }) => quoteIdentifier(name));
  if (byRow.length > 0) await read(reader, `SELECT count() AS n FROM ${table} WHERE NOT ignore(${byRow.join(', ')})`);
  return [];
}

/**
 * For each part the last rows of those granules in which its files begin to hold anything, by its marks: an array's elements may begin far
 * behind its first row. A granule is read up to the last row that is asked for. The marks of every file are read by this.
 */
async function rowsToRead({ host, replica }: Reader): Promise<string> {
  const index = `mergeTreeIndex(${quoteString(replica.database)}, ${quoteString(replica.table)}, with_marks = 1)`;
  const described = await host.select<{ name: string }>(`DESCRIBE TABLE ${index}`, { doing: `reading the files of ${replicaLabel(replica)}` });
  const streams = described.filter(({ name }) => name.endsWith('.mark')).map(({ name }) => quoteIdentifier(name));
  const differs = streams.map(
    (name, at) => `toString(${name}) != leadInFrame(toString(${name})) OVER (PARTITION BY part_name ORDER BY mark_number ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS d${at}`,
  );
  const rows = ['max(last_row)', ...streams.map((_name, at) => `argMinIf(last_row, mark_number, d${at})`)];
  return `SELECT part_name, arrayJoin(arrayDistinct([${rows.join(', ')}])) FROM (
    SELECT ${['part_name', 'mark_number', 'sum(rows_in_granule) OVER (PARTITION BY part_name ORDER BY mark_number ROWS UNBOUNDED PRECEDING) - 1 AS last_row', ...differs].join(', ')}
    FROM ${index}) GROUP BY part_name`;
}

async function readProjections(reader: Reader): Promise<string[]> {
  const { host, replica, wholeBytes, functions } = reader;
  const columns = await host.select<{ name: string }>("SELECT name FROM system.columns WHERE database = 'system' AND table = 'projection_parts'", {
    doing: 'looking how it lists projections',
  });
  if (columns.length === 0) return [];
  const broken = columns.some(({ name }) => name === 'is_broken') ? 'groupArrayIf(parent_name, is_broken)' : 'emptyArrayString()';
  const projections = await host.select<{ projection: string; n: string; bytes: string; broken: string[] }>(
    `SELECT name AS projection, countIf(rows > 0) AS n, sum(bytes_on_disk) AS bytes, ${broken} AS broken FROM system.projection_parts
     WHERE active AND database = {database:String} AND table = {table:String} GROUP BY projection ORDER BY projection`,
    { params: nameOf(replica), doing: `reading the projections of ${replicaLabel(replica)}` },
  );
  const unread: string[] = [];
  for (const { projection, n, bytes, broken: parts } of projections) {
    const [part] = parts;
    if (part !== undefined) throw failed(replica, `the projection ${projection} of ${parts.length} of its parts cannot be read, such as of ${part} (system.projection_parts). A server keeps to that: once the blobs are there, ${statements.detachForNow(replica)}; ${statements.attach(replica)}; then retry`);
    report({ doing: `reading the projection ${projection}` });
    if (!functions.has('mergeTreeProjection')) {
      unread.push(projection);
      continue;
    }
    const source = `mergeTreeProjection(${[replica.database, replica.table, projection].map(quoteString).join(', ')})`;
    const prewhere = Number(bytes) <= wholeBytes ? '' : `PREWHERE _part_offset < ${ROWS_OF_GRANULE}`;
    const seen = await read(reader, `SELECT uniqExact(_part) AS n FROM ${source} ${prewhere} WHERE NOT ignore(*)`);
    if (seen < Number(n)) throw failed(replica, `the projection ${projection} was read in ${seen} of ${n} parts`);
  }
  return unread.length === 0 ? [] : [`projections that were not read, for the server has no mergeTreeProjection: ${unread.join(', ')}`];
}

/** Each in every part, as a search reads it: nothing but the index. */
async function readSkipIndexes(reader: Reader, parts: number): Promise<string[]> {
  const { host, replica } = reader;
  const indexes = await host.select<{ name: string; expr: string; bytes: string }>(
    'SELECT name, expr, data_compressed_bytes AS bytes FROM system.data_skipping_indices WHERE database = {database:String} AND table = {table:String} ORDER BY name',
    { params: nameOf(replica), doing: `reading the skip indexes of ${replicaLabel(replica)}` },
  );
  const unread: string[] = [];
  for (const index of indexes) {
    report({ doing: `reading the skip index ${index.name}` });
    const others = indexes.filter(({ name }) => name !== index.name).map(({ name }) => quoteIdentifier(name));
    const seen = await searchBy(reader, index, others);
    // An index that was added after a part was written has no file in it, and one with no file at all is searched by nobody.
    if (seen < parts && Number(index.bytes) > 0) unread.push(seen === 0 ? index.name : `${index.name} (read in ${seen} of ${parts} parts)`);
  }
  return unread.length === 0 ? [] : [`skip indexes that were not read: ${unread.join(', ')}`];
}

/** In how many parts the index was used by a search for one of its values; 0 where no search is known that uses it. */
async function searchBy(reader: Reader, index: { readonly name: string; readonly expr: string }, others: readonly string[]): Promise<number> {
  const { host, replica, known } = reader;
  const settings: ClickHouseSettings = {
    ...knownOf(reader, { ...READING, ...ANALYSING }),
    ...(others.length === 0 || !known.has('ignore_data_skipping_indices') ? {} : { ignore_data_skipping_indices: others.join(',') }),
  };
  const doing = `reading the skip index ${index.name} of ${replicaLabel(replica)}`;
  const explain = (condition: string, more: ClickHouseSettings): Promise<{ explain: string }[]> =>
    host.select(`EXPLAIN indexes = 1, json = 1 SELECT count() FROM ${quoteTable(replica)} WHERE ${condition}`, { settings: { ...settings, ...more }, doing, timeoutMs: READ_TIMEOUT_MS });
  for (const condition of await searches(reader, index.expr)) {
    try {
      return partsOf(await explain(condition, { force_data_skipping_indices: quoteIdentifier(index.name) }), index.name);
    } catch (error) {
      if (!isAnswer(error)) throw error;
      if (clickHouseCode(error) === CODES.INDEX_NOT_USED) continue;
      try {
        await explain(condition, { use_skip_indexes: 0 });
      } catch {
        // The search itself is not understood, whatever the index.
        continue;
      }
      throw failed(replica, `its skip index ${index.name} cannot be read: ${error.message}`, error);
    }
  }
  return 0;
}

const LONGEST_VALUE = 200;

/** Searches for a value that is there, in forms of which each kind of index knows one. */
async function searches(reader: Reader, expr: string): Promise<string[]> {
  try {
    const rows = await reader.host.select<{ v: string }>(
      `SELECT v FROM (SELECT formatRowNoNewline('Values', (${expr})) AS v FROM ${quoteTable(reader.replica)} WHERE isNotNull((${expr})) LIMIT ${ROWS_OF_GRANULE})
       WHERE length(v) <= ${LONGEST_VALUE} ORDER BY length(v) DESC LIMIT 1`,
      { settings: { ...knownOf(reader, READING), use_skip_indexes: 0 }, doing: `looking for a value in ${replicaLabel(reader.replica)}`, timeoutMs: READ_TIMEOUT_MS },
    );
    const [value] = rows;
    if (value === undefined) return [`isNull((${expr}))`];
    return [`(${expr}) IN ${value.v}`, `(${expr}) = ${value.v}`, `hasAny((${expr}), ${value.v})`];
  } catch (error) {
    // Its columns were read before: this text is what the server does not understand.
    if (isAnswer(error)) return [];
    throw error;
  }
}

interface ExplainedPlan {
  readonly Indexes?: readonly { readonly Type: string; readonly Name?: string; readonly 'Initial Parts'?: number }[];
  readonly Plans?: readonly ExplainedPlan[];
}

function partsOf(rows: readonly { readonly explain: string }[], index: string): number {
  const explained = JSON.parse(rows.map(({ explain }) => explain).join('\n')) as readonly { readonly Plan?: ExplainedPlan }[];
  const count = ({ Indexes = [], Plans = [] }: ExplainedPlan): number =>
    Math.max(0, ...Indexes.filter(({ Type, Name }) => Type === 'Skip' && Name === index).map((one) => one['Initial Parts'] ?? 0), ...Plans.map(count));
  return Math.max(0, ...explained.map(({ Plan }) => (Plan === undefined ? 0 : count(Plan))));
}

function knownOf({ known }: Reader, settings: Readonly<Record<string, unknown>>): ClickHouseSettings {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => known.has(name))) as ClickHouseSettings;
}

async function read(reader: Reader, query: string): Promise<number> {
  const { host, replica } = reader;
  try {
    const [row] = await host.select<{ n: string }>(query, { settings: knownOf(reader, READING), doing: `reading the blobs of ${replicaLabel(replica)}`, timeoutMs: READ_TIMEOUT_MS });
    return Number(row?.n ?? 0);
  } catch (error) {
    if (!isAnswer(error)) throw error;
    throw failed(replica, error.message, error);
  }
}

/** A server's own answer that says neither that it is busy nor that it may not. */
function isAnswer(error: unknown): error is MigrationError {
  return error instanceof MigrationError && error.type === 'UNKNOWN' && clickHouseCode(error) !== undefined;
}

function failed(replica: ReplicaRef, why: string, cause?: unknown): MigrationError {
  return new MigrationError('PROOF_FAILED', `${replicaLabel(replica)} has its parts, but not all of them can be read: ${why}`, cause === undefined ? {} : { cause });
}
