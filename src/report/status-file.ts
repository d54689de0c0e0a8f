/**
 * The YAML status file: a mirror for auditors and scripts, never read back but by an explicit take-over. A list, an entry a replica, in
 * the order host, database, table; the first four keys are the reference's (chadmin's `zero-copy-migration migrate`).
 */
import { randomBytes } from 'node:crypto';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

import { parseDocument, LineCounter, isMap, isSeq, type Node } from 'yaml';

import type { OldMetadata, ReplicaStatus } from '../domain/status';
import { isReplicaStatus, STATUSES } from '../domain/status';
import type { MigrationSummary } from '../domain/summary';
import type { ReplicaRecord } from '../history/fold';
import { makeFolder } from './make-folder';
import { quoteYaml, yamlText } from './yaml-text';

/** What the comment at the top names. */
export interface StatusFileHeader {
  readonly migration: string;
  readonly phase: string;
  readonly outcome?: string;
  /** What it waits for, where it does. */
  readonly waitingFor?: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

/** An entry as the file has it. */
export interface StatusFileEntry {
  readonly db: string;
  readonly table: string;
  readonly status: ReplicaStatus;
  readonly zk_path: string;
  readonly host: string;
  readonly replica: string;
  readonly rows: number;
  readonly parts: number;
  readonly updated: string;
  readonly old_metadata: OldMetadata;
  readonly error?: string;
}

/** An entry as it was read: the reference's own has the first four only. */
export type ParsedStatusEntry = Pick<StatusFileEntry, 'db' | 'table' | 'status' | 'zk_path'> & Partial<StatusFileEntry>;

/** A status file that cannot be used, with every fault found. */
export class StatusFileError extends Error {
  override readonly name = 'StatusFileError';
  constructor(readonly faults: readonly { readonly path: string; readonly line?: number; readonly message: string }[]) {
    super(
      [
        'not a status file',
        ...faults.map(({ path, line, message }) => `${line === undefined ? '' : `line ${String(line)}  `}${path}: ${message}`),
      ].join('\n  '),
    );
  }
}

/** A record as an entry; also what `status --tables --json` shows. */
export function statusEntry(record: ReplicaRecord): StatusFileEntry {
  return {
    db: record.database,
    table: record.table,
    status: record.status,
    zk_path: record.zookeeperPath,
    host: record.host,
    replica: record.replica,
    rows: record.rows,
    parts: record.parts,
    updated: record.updated,
    old_metadata: record.oldMetadata,
    ...(record.error === undefined ? {} : { error: record.error }),
  };
}

/** A record that did not change is not rendered again: the mirror writes thousands of them every few seconds. */
const rendered = new WeakMap<ReplicaRecord, string>();

/** The file's text. `records` are taken in the order given: {@link HistoryView.replicas} has the right one. */
export function renderStatusFile(header: StatusFileHeader, records: readonly ReplicaRecord[]): string {
  const entries = records.map((record) => {
    const text = rendered.get(record) ?? renderEntry(statusEntry(record));
    rendered.set(record, text);
    return text;
  });
  return `${headerComment(header)}${entries.length === 0 ? '[]\n' : entries.join('')}`;
}

function renderEntry(entry: StatusFileEntry): string {
  const lines = Object.entries(entry).map(
    ([key, value]: [string, string | number]) => `${key}: ${typeof value === 'number' ? String(value) : yamlText(value)}`,
  );
  return `- ${lines.join('\n  ')}\n`;
}

/**
 * Reads a status file of this program, or the reference's own (`status` 1 to 4, no host).
 *
 * @throws {StatusFileError} with every fault, for anything else
 */
export function parseStatusFile(text: string): ParsedStatusEntry[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineOf = (offset: number | undefined) => (offset === undefined ? {} : { line: lines.linePos(offset).line });
  if (document.errors.length > 0) {
    throw new StatusFileError(document.errors.map((error) => ({ path: '', ...lineOf(error.pos[0]), message: error.message })));
  }
  if (!isSeq(document.contents)) throw new StatusFileError([{ path: '', line: 1, message: 'must be a list, an entry a replica' }]);
  const faults: { path: string; line?: number; message: string }[] = [];
  const entries = document.contents.items.map((item, index) => {
    const place = lineOf((item as Node).range?.[0]);
    const value: unknown = isMap(item) ? item.toJS(document) : undefined;
    return parseEntry(value, (key, message) =>
      faults.push({ path: key === '' ? `[${String(index)}]` : `[${String(index)}].${key}`, ...place, message }),
    );
  });
  if (faults.length > 0) throw new StatusFileError(faults);
  return entries.filter((entry) => entry !== undefined);
}

/**
 * Writes the file whole or not at all: beside it, flushed, then renamed over it. Makes its folder.
 * (write-file-atomic does not: it takes a short write, as on a disk that fills up, for a whole one.)
 *
 * @throws {Error} with the system's `code` (ENOSPC, EACCES, …); what was there before is still there
 */
export async function writeStatusFile(path: string, text: string): Promise<void> {
  await makeFolder(dirname(resolve(path)));
  const target = await realpath(path).catch(() => resolve(path));
  const beside = `${target}.${String(process.pid)}.${randomBytes(4).toString('hex')}.tmp`;
  const mode = await stat(target).then(
    (found) => found.mode & 0o777,
    () => 0o644,
  );
  try {
    const file = await open(beside, 'wx', mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, target);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncFolder(dirname(target));
}

/** So that the rename outlives a power cut too; some file systems cannot, which is no failure of the write. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r');
    await folder.sync().finally(() => folder.close());
  } catch {
    return;
  }
}

/** The header of a migration as its history has it. */
export function statusFileHeader({ id, phase, outcome, waitingFor }: Pick<MigrationSummary, 'id' | 'phase' | 'outcome' | 'waitingFor'>, at: string): StatusFileHeader {
  return { migration: id, phase, outcome, at, ...(waitingFor === null ? {} : { waitingFor: waitingFor.reason }) };
}

function headerComment({ migration, phase, outcome, waitingFor, at }: StatusFileHeader): string {
  const name = oneLineComment(migration);
  const why = waitingFor === undefined ? '' : ` (${oneLineComment(waitingFor)})`;
  const state = outcome === undefined ? phase : `${phase}, ${outcome}${why}`;
  return [
    `# Migration ${name}, phase ${state}, ${at}.`,
    '# Written by ch-zk-migrate from the history of the migration; a mirror: changing it changes nothing.',
    '',
  ].join('\n');
}

/** A line break in it would end the comment. */
function oneLineComment(text: string): string {
  return quoteYaml(text).slice(1, -1);
}

const OPTIONAL_TEXT = ['host', 'replica', 'updated', 'error'] as const;
const OPTIONAL_NUMBERS = ['rows', 'parts'] as const;

type Fault = (key: string, message: string) => void;

function parseEntry(value: unknown, fault: Fault): ParsedStatusEntry | undefined {
  if (typeof value !== 'object' || value === null) {
    fault('', 'must be a mapping with db, table, status and zk_path');
    return undefined;
  }
  const entry = value as Record<string, unknown>;
  for (const key of ['db', 'table', 'zk_path']) {
    if (typeof entry[key] !== 'string' || entry[key] === '') fault(key, 'must be a text (in quotes, where it looks like a number)');
  }
  const status = parseStatus(entry['status']);
  if (status === undefined) fault('status', `must be one of ${STATUSES.join(', ')}, SKIPPED, or the reference's 1 to 4`);
  checkOptional(entry, fault);
  return { ...entry, status: status ?? 'INIT' } as ParsedStatusEntry;
}

function checkOptional(entry: Readonly<Record<string, unknown>>, fault: Fault): void {
  for (const key of OPTIONAL_TEXT) {
    if (entry[key] !== undefined && typeof entry[key] !== 'string') fault(key, 'must be a text');
  }
  for (const key of OPTIONAL_NUMBERS) {
    if (entry[key] !== undefined && typeof entry[key] !== 'number') fault(key, 'must be a number');
  }
  const metadata = entry['old_metadata'];
  if (metadata !== undefined && metadata !== 'kept' && metadata !== 'deleted') fault('old_metadata', 'must be kept or deleted');
}

/** The reference counts from 1, in the same order. */
function parseStatus(value: unknown): ReplicaStatus | undefined {
  if (typeof value === 'number') return STATUSES[value - 1];
  return isReplicaStatus(value) ? value : undefined;
}
