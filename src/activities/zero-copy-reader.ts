import type { ClickHouseSettings } from '@clickhouse/client';

import { clickHouseCode, CODES, serverWords } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { sortSettings } from '../clickhouse/pinned-settings';
import { quoteString, quoteTable } from '../clickhouse/sql';
import { MigrationError } from '../domain/failure';
import { replicaLabel, type ReplicaRef } from '../domain/inventory';
import { report, sleep, stopIfCancelled } from './deps';
import { waitWhileRunning } from './look';

/** A batch takes minutes; one that takes this long hangs. */
const READ_TIMEOUT_MS = 6 * 3_600_000;
/** What is read at once, so that an hour's fault costs no day: at 5 MB/s one hour. */
const BATCH_BYTES = 16 * 1024 ** 3;
/** Their names stand in the query, whose text is limited (`max_query_size`, 256 KiB). */
const BATCH_PARTS = 500;
/** How long a part is left for which a server had not the memory, before each further try. */
const MEMORY_PAUSES_MS = [2_000, 15_000];

export type ReadSettings = Readonly<Record<string, number | string>>;

/** What a server's own caches hold is not taken for an answer; a setting that it does not know is left out. */
const READING: ReadSettings = {
  asterisk_include_materialized_columns: 1,
  enable_filesystem_cache: 0,
  use_uncompressed_cache: 0,
  use_page_cache_for_disks_without_file_cache: 0,
  use_page_cache_for_object_storage: 0,
  use_query_condition_cache: 0,
  optimize_use_projections: 0,
  apply_deleted_mask: 0,
};
/** Asked for by some queries only. */
const FOR_SOME: ReadSettings = {
  use_partition_pruning: 0,
  use_primary_key: 0,
  use_statistics_for_part_pruning: 0,
  use_skip_indexes_on_data_read: 0,
  use_skip_indexes: 0,
  ignore_data_skipping_indices: 'none',
  force_data_skipping_indices: 'none',
  max_threads: 1,
};

/** The codes of a server that finds a file missing, cut off or broken, and of nothing else. */
const BROKEN: ReadonlySet<number> = new Set([
  CODES.ATTEMPT_TO_READ_AFTER_EOF,
  CODES.CANNOT_READ_ALL_DATA,
  CODES.CHECKSUM_DOESNT_MATCH,
  CODES.CANNOT_READ_FROM_FILE_DESCRIPTOR,
  CODES.CANNOT_OPEN_FILE,
  CODES.UNKNOWN_COMPRESSION_METHOD,
  CODES.FILE_DOESNT_EXIST,
  CODES.INCORRECT_DATA,
  CODES.NO_FILE_IN_DATA_PART,
  CODES.UNEXPECTED_FILE_IN_DATA_PART,
  CODES.BAD_SIZE_OF_FILE_IN_DATA_PART,
  CODES.CORRUPTED_DATA,
  CODES.CANNOT_DECOMPRESS,
  CODES.POTENTIALLY_BROKEN_DATA_PART,
]);
/** The codes for whatever an object storage answers: what it was is in the text alone. */
const OF_STORAGE: ReadonlySet<number> = new Set([CODES.S3_ERROR, CODES.AZURE_BLOB_STORAGE_ERROR, CODES.RECEIVED_ERROR_FROM_REMOTE_IO_SERVER]);
const NOT_THERE = /\b(?:NoSuchKey|BlobNotFound|404|specified (?:key|blob) does not exist)\b/u;

/** An active part, or the part of a projection by the name of the part that it belongs to. */
export interface Part {
  readonly name: string;
  readonly rows: number;
  readonly marks: number;
  readonly bytes: number;
}

/** Sends the queries that read one attached replica, part after part, past the server's caches. */
export class BlobReader {
  private sent = 0;

  private constructor(
    readonly host: ClickHouseHost,
    readonly replica: ReplicaRef,
    private readonly readId: string,
    private readonly settings: { readonly usable: ReadonlySet<string>; readonly forbidden: readonly string[] },
    readonly functions: ReadonlySet<string>,
  ) {}

  /**
   * @param readId what the ids of its queries begin with, the same for each try: what another left running is waited for
   */
  static async open(host: ClickHouseHost, replica: ReplicaRef, readId: string): Promise<BlobReader> {
    await waitForOthers(host, readId);
    const functions = await host.select<{ name: string }>("SELECT name FROM system.table_functions WHERE name IN ('mergeTreeIndex', 'mergeTreeProjection')", {
      doing: 'asking for its table functions',
    });
    return new BlobReader(host, replica, readId, await usableSettings(host), new Set(functions.map(({ name }) => name)));
  }

  get table(): string {
    return quoteTable(this.replica);
  }

  get name(): { database: string; table: string } {
    const { database, table } = this.replica;
    return { database, table };
  }

  /** What has to be said of settings that the user's profile keeps from being changed. */
  get words(): string[] {
    const deciding = this.settings.forbidden.filter((name) => name !== 'max_threads');
    if (deciding.length === 0) return [];
    return [`settings that the user's profile forbids to change were left as they are (${deciding.join(', ')}): caches may have answered for blobs, or rows been passed over`];
  }

  /** Whether a query may bring this setting. */
  canSet(name: string): boolean {
    return this.settings.usable.has(name);
  }

  /** A question that reads no blob. */
  async ask<T>(query: string, what: string): Promise<T[]> {
    return this.host.select(query, { params: this.name, doing: `reading ${what} of ${replicaLabel(this.replica)}`, timeoutMs: 300_000 });
  }

  /** The number `n` that a query answers. */
  async read(query: string, settings: ReadSettings): Promise<number> {
    const [row] = await this.select<{ n: string }>(query, settings);
    return Number(row?.n ?? 0);
  }

  /** @throws MigrationError `PROOF_FAILED` when a blob is missing or broken; any other keeps its type, and has no value of a row in its words */
  async select<T>(query: string, settings: ReadSettings): Promise<T[]> {
    this.sent += 1;
    const queryId = `${this.readId}-${this.sent}`;
    const usable = Object.fromEntries(Object.entries({ ...READING, ...settings }).filter(([name]) => this.canSet(name))) as ClickHouseSettings;
    try {
      return await this.host.select<T>(query, { settings: usable, queryId, doing: `reading the blobs of ${replicaLabel(this.replica)}`, timeoutMs: READ_TIMEOUT_MS });
    } catch (error) {
      throw this.told(error, queryId);
    }
  }

  /**
   * Reads parts in batches. Where a server has too little memory for a batch it gets fewer parts, and each alone in the end.
   *
   * @param what is read, in words
   * @returns the parts that it had too little memory for even alone
   */
  async inBatches(what: string, batches: readonly (readonly Part[])[], work: (batch: readonly Part[], settings: ReadSettings) => Promise<void>): Promise<string[]> {
    const total = batches.reduce((sum, { length }) => sum + length, 0);
    const unread: string[] = [];
    let done = 0;
    for (const batch of batches) {
      report({ doing: what, done, total });
      unread.push(...(await workThrough(batch, work)));
      done += batch.length;
    }
    return unread;
  }

  private told(error: unknown, queryId: string): unknown {
    const code = clickHouseCode(error);
    if (!(error instanceof MigrationError) || code === undefined) return error;
    if (isBroken(code, error)) return proofFailed(this.replica, withoutQuery(error.message));
    const said = error.type === 'UNKNOWN' ? `code ${code}; its words may hold a value of the table, and are in system.query_log (query_id ${queryId})` : withoutQuery(error.message);
    return new MigrationError(error.type, `${this.host.name}: ${replicaLabel(this.replica)} could not be read: ${said}`, { details: { host: this.host.name, code } });
  }
}

/** The code of an error that a {@link BlobReader} threw. */
export function codeOf(error: unknown): number | undefined {
  return error instanceof MigrationError && typeof error.options.details?.['code'] === 'number' ? error.options.details['code'] : undefined;
}

/** A server's own answer that says neither that a blob is gone, nor that it is busy, nor that it may not. */
export function isAnswer(error: unknown): boolean {
  return error instanceof MigrationError && error.type === 'UNKNOWN' && codeOf(error) !== undefined;
}

export function proofFailed(replica: ReplicaRef, why: string): MigrationError {
  return new MigrationError('PROOF_FAILED', `${replicaLabel(replica)} has its parts, but not all of them can be read: ${why}`);
}

/** The condition for these parts, by which a server looks at no other. */
export function ofParts(parts: readonly Part[], column = '_part'): string {
  return `${column} IN (${parts.map(({ name }) => quoteString(name)).join(', ')})`;
}

/** Parts in their order, as many together as `most` allows; one that is larger stands alone. */
export function batchesOf(parts: readonly Part[], size: (part: Part) => number, most: number): Part[][] {
  const batches: Part[][] = [];
  let room = 0;
  for (const part of parts) {
    const last = batches.at(-1);
    room -= size(part);
    if (last !== undefined && room >= 0 && last.length < BATCH_PARTS) {
      last.push(part);
      continue;
    }
    batches.push([part]);
    room = most - size(part);
  }
  return batches;
}

/** By what is read when all of a part is. */
export function batchesOfBytes(parts: readonly Part[]): Part[][] {
  return batchesOf(parts, ({ bytes }) => bytes, BATCH_BYTES);
}

/** Ranges of rows, the end excluded, so that each of a large part is about as much as a batch. */
export function slicesOf({ rows, bytes }: Part): { from: number; to: number }[] {
  const n = Math.max(1, Math.min(rows, Math.ceil(bytes / BATCH_BYTES)));
  const each = Math.ceil(rows / n);
  return Array.from({ length: n }, (_, at) => ({ from: at * each, to: Math.min(rows, (at + 1) * each) }));
}

/** What is said of parts that were not read; nothing of none. */
export function unreadWords(what: string, parts: readonly string[]): string[] {
  if (parts.length === 0) return [];
  return [`${what} were not read in ${parts.length} parts, for which the server has too little memory (code ${CODES.MEMORY_LIMIT_EXCEEDED}): ${parts.slice(0, 5).join(', ')}${parts.length > 5 ? ', …' : ''}`];
}

async function workThrough(batch: readonly Part[], work: (batch: readonly Part[], settings: ReadSettings) => Promise<void>): Promise<string[]> {
  stopIfCancelled();
  try {
    await work(batch, {});
    return [];
  } catch (error) {
    if (codeOf(error) !== CODES.MEMORY_LIMIT_EXCEEDED) throw error;
  }
  const [first] = batch;
  if (first === undefined) return [];
  if (batch.length === 1) return (await worksSparingly(() => work(batch, { max_threads: 1 }))) ? [] : [first.name];
  const half = Math.ceil(batch.length / 2);
  return [...(await workThrough(batch.slice(0, half), work)), ...(await workThrough(batch.slice(half), work))];
}

/** Tries once more, and again: whatever else needs the memory may let go of it. */
async function worksSparingly(work: () => Promise<void>): Promise<boolean> {
  for (const pauseMs of MEMORY_PAUSES_MS) {
    await sleep(pauseMs);
    stopIfCancelled();
    try {
      await work();
      return true;
    } catch (error) {
      if (codeOf(error) !== CODES.MEMORY_LIMIT_EXCEEDED) throw error;
    }
  }
  return false;
}

async function waitForOthers(host: ClickHouseHost, readId: string): Promise<void> {
  const left = await host.select<{ id: string }>('SELECT query_id AS id FROM system.processes WHERE startsWith(query_id, {start:String})', {
    params: { start: `${readId}-` },
    doing: 'looking for a reading that was left',
  });
  for (const { id } of left) await waitWhileRunning(host, id);
}

/** Those that the server knows and the user may change, and those that the user may not. */
async function usableSettings(host: ClickHouseHost): Promise<{ usable: Set<string>; forbidden: readonly string[] }> {
  const wanted: ReadSettings = { ...READING, ...FOR_SOME };
  const rows = await host.select<{ name: string }>('SELECT name FROM system.settings WHERE name IN ({names:Array(String)}) ORDER BY name', {
    params: { names: Object.keys(wanted) },
    doing: 'asking for its settings',
  });
  // Only those: what a server does not know would cost more questions, for every table.
  const known = Object.fromEntries(rows.map(({ name }) => [name, wanted[name]])) as ClickHouseSettings;
  const { accepted, forbidden } = await sortSettings((settings) => host.select('SELECT 1', { settings, doing: 'asking which settings may be changed' }), known);
  return { usable: new Set(Object.keys(accepted)), forbidden };
}

function isBroken(code: number, error: MigrationError): boolean {
  if (BROKEN.has(code)) return true;
  return OF_STORAGE.has(code) && NOT_THERE.test(error.cause instanceof Error ? error.cause.message : error.message);
}

/** A server may quote the query, and in it a value that is searched for. */
function withoutQuery(message: string): string {
  return serverWords(message).replace(/[:\s]*\b(?:In scope|in scope|While processing|SELECT|EXPLAIN)\b.*$/u, '');
}
