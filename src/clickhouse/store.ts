import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { InventoryReplica, ReplicaRef } from '../domain/inventory';
import type { OldMetadata, ReplicaStatus } from '../domain/status';
import type { ZeroCopyFacts } from '../domain/zero-copy';
import type { ClickHouseHost } from './host';
import { askTogether, labelOf, ofTables, PACE_MS, rowsOf } from './together';

/** The host's own tables, see design.md "Where state lives". */
export const STORE_DATABASE = '_ch_zk_migrate';

/**
 * Every write is flushed to disk before the server answers, the part's directory included, so that what a later statement destroys
 * is already safe (invariant 5).
 *
 * Source: https://clickhouse.com/docs/operations/settings/merge-tree-settings#fsync_after_insert
 */
const DURABLE =
  'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, parts_to_delay_insert = 100000, parts_to_throw_insert = 100000';

const NEW_COLUMNS = `ALTER TABLE ${STORE_DATABASE}.inventory ADD COLUMN IF NOT EXISTS new_path String, ADD COLUMN IF NOT EXISTS new_replica String,
  ADD COLUMN IF NOT EXISTS take String`;

const SCHEMA: readonly string[] = [
  `CREATE DATABASE IF NOT EXISTS ${STORE_DATABASE}`,
  `CREATE TABLE IF NOT EXISTS ${STORE_DATABASE}.events
   (migration String, at DateTime64(6) DEFAULT now64(6), kind LowCardinality(String), data String)
   ENGINE = MergeTree ORDER BY (migration, at) ${DURABLE}`,
  `CREATE TABLE IF NOT EXISTS ${STORE_DATABASE}.inventory
   (migration String, sort_key String, database String, table String, uuid UUID, zookeeper_name String, zookeeper_path String,
    replica_name String, rows UInt64, bytes UInt64, parts UInt64, create_query String)
   ENGINE = MergeTree ORDER BY (migration, sort_key, database, table) ${DURABLE}`,
  NEW_COLUMNS,
  `CREATE TABLE IF NOT EXISTS ${STORE_DATABASE}.manifests
   (migration String, database String, table String, kind LowCardinality(String), take String, at DateTime64(6) DEFAULT now64(6),
    name String, partition_id String, rows UInt64, bytes_on_disk UInt64, part_type LowCardinality(String),
    disk_name LowCardinality(String), hash_of_all_files String, hash_of_uncompressed_files String)
   ENGINE = MergeTree ORDER BY (migration, database, table, kind, take) ${DURABLE}`,
  `CREATE TABLE IF NOT EXISTS ${STORE_DATABASE}.statuses
   (migration String, database String, table String, seq UInt64, at DateTime64(6) DEFAULT now64(6), status LowCardinality(String),
    step LowCardinality(String), take String, old_metadata LowCardinality(String), rows UInt64, parts UInt64, detail String)
   ENGINE = MergeTree ORDER BY (migration, database, table, seq) ${DURABLE}`,
  `CREATE TABLE IF NOT EXISTS ${STORE_DATABASE}.locks
   (migration String, database String, table String, take String, at DateTime64(6) DEFAULT now64(6), lock_top String, part String, blob String,
    replica String, own UInt8, legacy UInt8, part_value String, blob_value String, value String)
   ENGINE = MergeTree ORDER BY (migration, database, table, take) ${DURABLE}`,
];

/** `strays`: parts in `detached/` that a failed RESTORE left there, by name alone. */
export type ManifestKind = 'detach' | 'baseline' | 'strays';

/** What is noted of a replica, each note whole in itself; the one with the highest `seq` is in force. */
export interface ReplicaNote {
  readonly seq: number;
  readonly status: ReplicaStatus;
  /** What was last proved or begun, see `STEPS`. */
  readonly step: Step;
  /** The manifest in force, by the id of its taking; empty before the first. */
  readonly detachTake: string;
  readonly baselineTake: string;
  readonly oldMetadata: OldMetadata;
  readonly rows: number;
  readonly parts: number;
  /** Present once its way to another path was begun. */
  readonly moved?: true;
  /** What is known of its zero-copy locks; null where it is no zero-copy table. */
  readonly zeroCopy: ZeroCopyFacts | null;
}

/**
 * The steps of a replica. `cleaning` and `restoring` say that something was begun which may have been left half done:
 * whoever comes next knows that nodes are missing by our own hand.
 */
export type Step =
  | 'none'
  | 'manifest'
  | 'detached'
  | 'cleaning'
  | 'cleaned'
  | 'baseline'
  | 'restoring'
  | 'repairing'
  | 'restored'
  /** Proved, and its merges go on again. */
  | 'started'
  | 'returned'
  /** An abort found that its table is gone from its server. */
  | 'gone';

export const FIRST_NOTE: ReplicaNote = {
  seq: 0,
  status: 'INIT',
  step: 'none',
  detachTake: '',
  baselineTake: '',
  oldMetadata: 'kept',
  rows: 0,
  parts: 0,
  zeroCopy: null,
};

type Detail = Pick<ReplicaNote, 'moved' | 'zeroCopy'>;

/** What few replicas have stands together in one column, empty for the others. */
function detailText({ moved, zeroCopy }: Detail): string {
  return moved === undefined && zeroCopy === null ? '' : JSON.stringify({ moved, zeroCopy });
}

function detailOf(text: string): Detail {
  return text === '' ? { zeroCopy: null } : (JSON.parse(text) as Detail);
}

interface NoteRow {
  readonly database: string;
  readonly table: string;
  readonly seq: string;
  readonly status: string;
  readonly step: string;
  readonly take: string;
  readonly old_metadata: string;
  readonly rows: string;
  readonly parts: string;
  readonly detail: string;
}

/**
 * SQL's condition for the rows of a migration's inventory that are read: those of the take that was sealed first, as `holdOf` in
 * domain/hold.ts has it; after an abort the next one's, from the claim on. What a try that was given up writes later is in no other's way.
 */
export const SEALED_ROWS = `migration = {migration:String} AND take IN (SELECT JSONExtractString(data, 'take') FROM ${STORE_DATABASE}.events
  WHERE migration = {migration:String} AND kind = 'sealed' AND at > (SELECT max(at) FROM ${STORE_DATABASE}.events
    WHERE migration = {migration:String} AND kind = 'released' AND JSONExtractString(data, 'why') = 'aborted'
      AND at < (SELECT max(at) FROM ${STORE_DATABASE}.events WHERE migration = {migration:String} AND kind = 'claimed'))
  ORDER BY at LIMIT 1)`;

/** SQL for the note in force of each replica of a migration; `filter` further narrows it. */
export function latestNotesSql(filter: string): string {
  return `SELECT database, table, seq, status, step, take, old_metadata, rows, parts, detail FROM ${STORE_DATABASE}.statuses
    WHERE migration = {migration:String} ${filter} ORDER BY seq DESC, length(take) DESC LIMIT 1 BY database, table`;
}

export function noteOfRow(row: NoteRow): ReplicaNote {
  const [detachTake = '', baselineTake = ''] = row.take.split(' ');
  return {
    seq: Number(row.seq),
    status: row.status as ReplicaStatus,
    step: row.step as Step,
    detachTake,
    baselineTake,
    oldMetadata: row.old_metadata as OldMetadata,
    rows: Number(row.rows),
    parts: Number(row.parts),
    ...detailOf(row.detail),
  };
}

export async function createStore(host: ClickHouseHost): Promise<void> {
  for (const statement of SCHEMA) await host.run(statement, { doing: `making the tables of ${STORE_DATABASE}` });
}

const withNewColumns = new WeakSet<ClickHouseHost>();

/** An inventory that an older version made lacks the columns that came since: once a connection, before they are read. */
export async function addNewColumns(host: ClickHouseHost): Promise<void> {
  if (withNewColumns.has(host)) return;
  await host.run(NEW_COLUMNS, { doing: `bringing the tables of ${STORE_DATABASE} up to date` });
  withNewColumns.add(host);
}

/** Whether the host has this program's tables at all. */
export async function hasStore(host: ClickHouseHost): Promise<boolean> {
  const rows = await host.select<{ n: string }>(
    "SELECT count() AS n FROM system.tables WHERE database = {database:String} AND name IN ('events', 'inventory', 'manifests', 'statuses')",
    { params: { database: STORE_DATABASE }, doing: 'looking for its tables' },
  );
  return Number(rows[0]?.n) === 4;
}

/** The note in force of one replica; {@link FIRST_NOTE} when there is none. */
export async function readNote(host: ClickHouseHost, migration: string, { database, table }: ReplicaRef): Promise<ReplicaNote> {
  return askTogether(host, `note ${migration}`, { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await host.select<NoteRow>(latestNotesSql(`AND ${condition('database', 'table')}`), {
      params: { migration, ...params },
      doing: `reading what was noted of ${labelOf(tables)}`,
    });
    const of = rowsOf(rows);
    return tables.map((one) => {
      const [row] = of(one);
      return row === undefined ? FIRST_NOTE : noteOfRow(row);
    });
  });
}

/** A pending note and how its writer is told. */
interface PendingNote {
  readonly row: object;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Writes notes, several in one INSERT: whoever comes while one is under way, or right after it, goes with the next (group commit, as databases do with
 * their logs), since each INSERT is flushed to disk.
 */
export class NoteWriter {
  private pending: PendingNote[] = [];
  private writing = false;

  constructor(private readonly host: ClickHouseHost) {}

  /** Resolves when the note is on disk. */
  async write(migration: string, replica: ReplicaRef, note: ReplicaNote): Promise<void> {
    const row = {
      migration,
      database: replica.database,
      table: replica.table,
      seq: note.seq,
      status: note.status,
      step: note.step,
      take: `${note.detachTake} ${note.baselineTake}`,
      old_metadata: note.oldMetadata,
      rows: note.rows,
      parts: note.parts,
      detail: detailText(note),
    };
    await new Promise<void>((resolve, reject) => {
      this.pending.push({ row, resolve, reject });
      if (!this.writing) void this.drain();
    });
  }

  private async drain(): Promise<void> {
    this.writing = true;
    while (this.pending.length > 0) {
      const batch = this.pending;
      this.pending = [];
      const paced = sleep(PACE_MS);
      try {
        await this.host.insert(`${STORE_DATABASE}.statuses`, batch.map((one) => one.row), {
          doing: 'noting what was proved',
        });
        for (const one of batch) one.resolve();
      } catch (error) {
        for (const one of batch) one.reject(error);
      }
      await paced;
    }
    this.writing = false;
  }
}

/**
 * Saves a replica's active parts as they are now, by the server itself, and answers the id of this taking with its counts as they
 * stand on disk. A taking is never written twice: a reply that was lost makes a new one, and the old one is never named.
 */
export async function takeManifest(
  host: ClickHouseHost,
  migration: string,
  replica: ReplicaRef,
  kind: ManifestKind,
): Promise<{ take: string; parts: number; rows: number }> {
  const take = randomUUID();
  const params = { migration, database: replica.database, table: replica.table, kind, take };
  const label = `${replica.database}.${replica.table}`;
  await host.run(
    `INSERT INTO ${STORE_DATABASE}.manifests
      (migration, database, table, kind, take, name, partition_id, rows, bytes_on_disk, part_type, disk_name, hash_of_all_files, hash_of_uncompressed_files)
     SELECT {migration:String}, database, table, {kind:String}, {take:String}, name, partition_id, rows, bytes_on_disk, part_type, disk_name,
      hash_of_all_files, hash_of_uncompressed_files
     FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}`,
    {
      params,
      settings: { max_insert_block_size: '1000000000', min_insert_block_size_rows: '1000000000', min_insert_block_size_bytes: '0', max_insert_threads: '1' },
      doing: `saving the manifest of ${label}`,
      timeoutMs: 600_000,
    },
  );
  const rows = await host.select<{ n_parts: string; n_rows: string }>(
    `SELECT count() AS n_parts, sum(rows) AS n_rows FROM ${STORE_DATABASE}.manifests
     WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND kind = {kind:String} AND take = {take:String}`,
    { params, doing: `reading the manifest of ${label} back` },
  );
  return { take, parts: Number(rows[0]?.n_parts ?? 0), rows: Number(rows[0]?.n_rows ?? 0) };
}

/** How many parts a saved manifest has. */
export async function countManifest(host: ClickHouseHost, migration: string, { database, table }: ReplicaRef, take: string): Promise<number> {
  return askTogether(host, `manifest ${migration}`, { database, table, take }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await host.select<{ database: string; table: string; take: string; n: string }>(
      `SELECT database, table, take, count() AS n FROM ${STORE_DATABASE}.manifests
       WHERE migration = {migration:String} AND ${condition('database', 'table')} AND take IN {takes:Array(String)} GROUP BY database, table, take`,
      { params: { ...params, migration, takes: tables.map((one) => one.take) }, doing: `counting the manifests of ${labelOf(tables)}` },
    );
    const of = rowsOf(rows);
    return tables.map((one) => Number(of(one).find((row) => row.take === one.take)?.n ?? 0));
  });
}

/** The names of the parts in a saved manifest, in their order. */
export async function manifestNames(host: ClickHouseHost, migration: string, { database, table }: ReplicaRef, take: string): Promise<string[]> {
  const rows = await host.select<{ name: string }>(
    `SELECT name FROM ${STORE_DATABASE}.manifests
     WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND take = {take:String} ORDER BY name`,
    { params: { migration, database, table, take }, doing: `reading the manifest of ${database}.${table}`, timeoutMs: 120_000 },
  );
  return rows.map(({ name }) => name);
}

/**
 * Adds an event of a migration: `claimed`, `sealed`, `released`, `restart`. Their order is what counts, and the server's clock may be set
 * back between two of them: an event is never earlier than the one before it.
 */
export async function addEvent(host: ClickHouseHost, migration: string, kind: string, data: object): Promise<void> {
  await insertEvent(host, { migration, kind, data: JSON.stringify(data) }, '');
}

/** SQL's condition: nothing was sealed or let go of since the migration was seen at {@link Hold.turns} on this host. */
const UNTURNED = `(SELECT count() FROM ${STORE_DATABASE}.events WHERE migration = {migration:String} AND kind IN ('sealed', 'released')) = {turns:UInt64}`;

/** Adds an event as {@link addEvent} does, unless the migration was sealed or let go of since: what was seen before stands no more. */
export async function addEventUnlessTurned(host: ClickHouseHost, migration: string, turns: number, kind: string, data: object): Promise<void> {
  await insertEvent(host, { migration, kind, data: JSON.stringify(data), turns }, `WHERE ${UNTURNED}`);
}

async function insertEvent(host: ClickHouseHost, params: { migration: string; kind: string; data: string; turns?: number }, where: string): Promise<void> {
  await host.run(
    `INSERT INTO ${STORE_DATABASE}.events (migration, at, kind, data)
     SELECT {migration:String}, greatest(now64(6), (SELECT max(at) FROM ${STORE_DATABASE}.events) + toIntervalMicrosecond(1)), {kind:String}, {data:String} ${where}`,
    { params, doing: `noting the event ${params.kind}` },
  );
}

export async function readEvents(
  host: ClickHouseHost,
  migration: string,
): Promise<{ kind: string; data: Record<string, unknown> }[]> {
  const rows = await host.select<{ kind: string; data: string }>(
    `SELECT kind, data FROM ${STORE_DATABASE}.events WHERE migration = {migration:String} ORDER BY at`,
    { params: { migration }, doing: 'reading the events of the migration' },
  );
  return rows.map((row) => ({ kind: row.kind, data: JSON.parse(row.data) as Record<string, unknown> }));
}

/**
 * Removes what was noted of a migration's replicas in a run that was aborted: nothing of it stands. The server looks by itself whether the
 * migration is where it was seen, and a mutation leaves alone what is written after it was sent: notes of a run that began meanwhile stay.
 *
 * Source: https://clickhouse.com/docs/sql-reference/statements/alter#mutations
 */
export async function removeNotes(host: ClickHouseHost, migration: string, turns: number): Promise<void> {
  const rows = await host.select<{ n: string }>(`SELECT count() AS n FROM ${STORE_DATABASE}.statuses WHERE migration = {migration:String}`, {
    params: { migration },
    doing: 'looking for notes of an aborted run',
  });
  if (Number(rows[0]?.n ?? 0) === 0) return;
  await host.run(
    `ALTER TABLE ${STORE_DATABASE}.statuses DELETE WHERE migration = {migration:String} AND ${UNTURNED} SETTINGS mutations_sync = 1`,
    { params: { migration, turns }, doing: 'removing notes that stand no more' },
  );
}

/** Stores a host's part of the inventory in one INSERT; it is read once its take is sealed, see {@link SEALED_ROWS}. */
export async function writeInventory(
  host: ClickHouseHost,
  migration: string,
  take: string,
  replicas: readonly { readonly sortKey: string; readonly replica: InventoryReplica; readonly createQuery: string }[],
): Promise<void> {
  if (replicas.length === 0) return;
  const rows = replicas.map(({ sortKey, replica, createQuery }) => ({
    migration,
    take,
    sort_key: sortKey,
    database: replica.database,
    table: replica.table,
    uuid: replica.uuid,
    zookeeper_name: replica.zookeeperName,
    zookeeper_path: replica.zookeeperPath,
    replica_name: replica.replicaName,
    rows: replica.rows,
    bytes: replica.bytes,
    parts: replica.parts,
    create_query: createQuery,
    new_path: replica.after?.zookeeperPath ?? '',
    new_replica: replica.after?.replicaName ?? '',
  }));
  await host.insert(`${STORE_DATABASE}.inventory`, rows, { doing: 'freezing the inventory', timeoutMs: 600_000 });
}
