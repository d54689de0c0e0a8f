import { CODES } from '../clickhouse/errors';
import { quoteIdentifier } from '../clickhouse/sql';
import { batchesOfBytes, type BlobReader, codeOf, isAnswer, ofParts, type Part, type ReadSettings, unreadWords } from './zero-copy-reader';

/** Every part is to be looked at, whatever its partition and its key. */
const ANALYSING: ReadSettings = {
  use_partition_pruning: 0,
  use_primary_key: 0,
  use_statistics_for_part_pruning: 0,
  use_skip_indexes_on_data_read: 0,
};
const LONGEST_VALUE = 200;
/** A value is looked for in so many rows of a batch. */
const ROWS_TO_LOOK_AT = 8_192;

interface SkipIndex {
  readonly name: string;
  readonly expr: string;
  readonly bytes: string;
}

/** Each in every part, as a search reads it: nothing but the index. Answers what could not be read so, in words. */
export async function readSkipIndexes(reader: BlobReader, parts: readonly Part[]): Promise<string[]> {
  const indexes = await reader.ask<SkipIndex>(
    'SELECT name, expr, data_compressed_bytes AS bytes FROM system.data_skipping_indices WHERE database = {database:String} AND table = {table:String} ORDER BY name',
    'the skip indexes',
  );
  const unread: string[] = [];
  const words: string[] = [];
  for (const index of indexes) {
    const { seen, tooLarge } = await readOne(reader, index, indexes, parts);
    words.push(...unreadWords(`the files of the skip index ${index.name}`, tooLarge));
    const rest = parts.length - tooLarge.length;
    // An index that was added after a part was written has no file in it, and one with no file at all is searched by nobody.
    if (seen < rest && Number(index.bytes) > 0) unread.push(seen === 0 ? index.name : `${index.name} (read in ${seen} of ${rest} parts)`);
  }
  return unread.length === 0 ? words : [...words, `skip indexes that were not read: ${unread.join(', ')}`];
}

/** In how many parts the index was used by a search for one of its values; 0 where no search is known that uses it. */
async function readOne(reader: BlobReader, index: SkipIndex, indexes: readonly SkipIndex[], parts: readonly Part[]): Promise<{ seen: number; tooLarge: string[] }> {
  const batches = batchesOfBytes(parts);
  if (!reader.canSet('force_data_skipping_indices')) return { seen: 0, tooLarge: [] };
  const conditions = await searches(reader, index.expr, batches);
  const others = indexes.filter(({ name }) => name !== index.name).map(({ name }) => quoteIdentifier(name));
  const settings: ReadSettings = { ...ANALYSING, ...(others.length === 0 ? {} : { ignore_data_skipping_indices: others.join(',') }) };
  let seen = 0;
  const tooLarge = await reader.inBatches(`reading the skip index ${index.name}`, batches, async (batch, more) => {
    seen += await searchBy(reader, index.name, conditions.map((condition) => `(${condition}) AND ${ofParts(batch)}`), { ...settings, ...more });
  });
  return { seen, tooLarge };
}

async function searchBy(reader: BlobReader, index: string, conditions: readonly string[], settings: ReadSettings): Promise<number> {
  const explain = (condition: string, more: ReadSettings): Promise<{ explain: string }[]> =>
    reader.select(`EXPLAIN indexes = 1, json = 1 SELECT count() FROM ${reader.table} WHERE ${condition}`, { ...settings, ...more });
  for (const condition of conditions) {
    try {
      return partsOf(await explain(condition, { force_data_skipping_indices: quoteIdentifier(index) }), index);
    } catch (error) {
      if (!isAnswer(error)) throw error;
      if (codeOf(error) === CODES.INDEX_NOT_USED) continue;
      // A search that is not understood without the index either tells nothing of it.
      if (await isUnderstood(() => explain(condition, { use_skip_indexes: 0 }))) throw error;
    }
  }
  return 0;
}

async function isUnderstood(explain: () => Promise<unknown>): Promise<boolean> {
  try {
    await explain();
    return true;
  } catch (error) {
    if (isAnswer(error)) return false;
    throw error;
  }
}

/** Searches for a value that is there, in forms of which each kind of index knows one. */
async function searches(reader: BlobReader, expr: string, batches: readonly (readonly Part[])[]): Promise<string[]> {
  let value: string | undefined;
  try {
    for (const batch of batches) {
      value ??= await someValue(reader, expr, batch);
      if (value !== undefined) break;
    }
  } catch (error) {
    // This text is what the server does not understand, or has too little memory for.
    if (isAnswer(error) || codeOf(error) === CODES.MEMORY_LIMIT_EXCEEDED) return [];
    throw error;
  }
  if (value === undefined) return [`isNull((${expr}))`];
  return [`(${expr}) IN ${value}`, `(${expr}) = ${value}`, `hasAny((${expr}), ${value})`];
}

async function someValue(reader: BlobReader, expr: string, batch: readonly Part[]): Promise<string | undefined> {
  const rows = await reader.select<{ v: string }>(
    `SELECT v FROM (SELECT formatRowNoNewline('Values', (${expr})) AS v FROM ${reader.table} WHERE ${ofParts(batch)} AND isNotNull((${expr})) LIMIT ${ROWS_TO_LOOK_AT})
     WHERE length(v) <= ${LONGEST_VALUE} ORDER BY length(v) DESC LIMIT 1`,
    { use_skip_indexes: 0 },
  );
  return rows[0]?.v;
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
