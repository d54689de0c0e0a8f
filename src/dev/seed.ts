import { randomUUID } from 'node:crypto';
import { ClickHouseError, ClickHouseLogLevel, createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';
import { waitFor } from './processes';
import { quoteIdentifier } from './sql-text';

/** A host to seed; `active` false: its replicas stay readonly, and that is not waited for. */
export interface SeedHost {
  name: string;
  url: string;
  active?: boolean;
}

/** A table as it shall be on every replica of a shard. */
export interface SeedTable {
  database: string;
  name: string;
  /** Column definitions in SQL: `day Date, value UInt64`. */
  columns: string;
  /** SQL; no partitions when left out. */
  partitionBy?: string;
  /** SQL; `tuple()` for none. */
  orderBy: string;
  /** Settings of the table, for example `storage_policy`. Merges are off by default, so that part counts stay. */
  settings?: Readonly<Record<string, string | number>>;
  /** Each one INSERT: a query, or rows as JSON. Must be the same on each run, for replicas are filled one by one. */
  data: readonly SeedData[];
}

export type SeedData = { select: string } | { rows: readonly object[] };

export interface SeedOptions {
  /** Tables at a time. @default 8 */
  concurrency?: number;
  /**
   * Fill the first replica only, and have the others fetch: about half as fast, and what makes the
   * replicas of a zero-copy table share their blobs. @default false
   */
  replicate?: boolean;
  /** Of the user `default`. @default '' */
  password?: string;
  /** How long to wait for the replicas of one table to be active. @default 120 000 */
  activeTimeoutMs?: number;
  /** Called after each table. */
  onTable?: (table: SeedTable) => void;
}

/** ClickHouse's TABLE_ALREADY_EXISTS. */
const IN_USE = '57';
const ATTACH_ATTEMPTS = 20;

/** A part is only ever merged when it and its neighbours are smaller than this many bytes together. */
const NO_MERGES = { max_bytes_to_merge_at_max_space_in_pool: 1, max_bytes_to_merge_at_min_space_in_pool: 1 };

/** The same data gives the same parts on every replica (one thread, one block), and equal inserts are kept. */
const DETERMINISTIC: ClickHouseSettings = {
  insert_deduplicate: 0,
  max_threads: 1,
  max_insert_threads: '1',
  input_format_parallel_parsing: 0,
  min_insert_block_size_rows: '100000000',
  min_insert_block_size_bytes: '10000000000',
  max_insert_block_size: '100000000',
  max_partitions_per_insert_block: '0',
};

/**
 * Makes replicated tables with the same data on every host of one shard, under one UUID.
 *
 * Each replica gets its data on its own, which is the faster way and works for readonly replicas
 * too: a MergeTree table is filled, detached, attached AS REPLICATED and restored on one host after
 * the other; the second finds its parts in `detached/` by their checksums.
 * Source: https://clickhouse.com/docs/sql-reference/statements/attach#attach-mergetree-table-as-replicatedmergetree
 *
 * Contract: the tables do not exist yet; afterwards every replica is active (where that can be) and
 * has nothing queued.
 *
 * @throws Error naming the host and table that failed
 */
export async function seedTables(hosts: readonly SeedHost[], tables: readonly SeedTable[], options: SeedOptions = {}): Promise<void> {
  const seeders = hosts.map((host) => new Seeder(host, options.password ?? ''));
  try {
    await makeDatabases(seeders, tables);
    const queue = tables.values();
    const worker = async (): Promise<void> => {
      for (const table of queue) {
        await seedTable(seeders, table, options);
        options.onTable?.(table);
      }
    };
    const results = await Promise.allSettled(Array.from({ length: options.concurrency ?? 8 }, worker));
    for (const result of results) {
      if (result.status === 'rejected') throw result.reason;
    }
  } finally {
    await Promise.all(seeders.map((seeder) => seeder.close()));
  }
}

async function makeDatabases(seeders: readonly Seeder[], tables: readonly SeedTable[]): Promise<void> {
  for (const database of new Set(tables.map((table) => table.database))) {
    await Promise.all(seeders.map((seeder) => seeder.run(`CREATE DATABASE IF NOT EXISTS ${quoteIdentifier(database)}`)));
  }
}

async function seedTable(seeders: readonly Seeder[], table: SeedTable, options: SeedOptions): Promise<void> {
  const uuid = randomUUID();
  const [first, ...others] = seeders;
  if (options.replicate === true) {
    await Promise.all(seeders.map((seeder) => seeder.run(createStatement(table, uuid, 'ReplicatedMergeTree'))));
    await first?.insert(table);
    await Promise.all(others.map((seeder) => seeder.run(`SYSTEM SYNC REPLICA ${nameOf(table)}`)));
  } else {
    await Promise.all(seeders.map((seeder) => seeder.fillAlone(table, uuid)));
    for (const seeder of seeders) await seeder.run(`SYSTEM RESTORE REPLICA ${nameOf(table)}`);
  }
  await Promise.all(seeders.map((seeder) => seeder.waitUntilActive(table, seeders.length, options.activeTimeoutMs ?? 120_000)));
}

/** The table's name in SQL. */
function nameOf(table: SeedTable): string {
  return `${quoteIdentifier(table.database)}.${quoteIdentifier(table.name)}`;
}

function createStatement(table: SeedTable, uuid: string, engine: 'MergeTree' | 'ReplicatedMergeTree'): string {
  const settings = Object.entries({ ...NO_MERGES, ...table.settings });
  return [
    `CREATE TABLE ${nameOf(table)} UUID '${uuid}' (${table.columns}) ENGINE = ${engine}`,
    ...(table.partitionBy === undefined ? [] : [`PARTITION BY ${table.partitionBy}`]),
    `ORDER BY ${table.orderBy}`,
    `SETTINGS ${settings.map(([name, value]) => `${name} = ${typeof value === 'number' ? value : `'${value}'`}`).join(', ')}`,
  ].join(' ');
}

/** One host while it is seeded. */
class Seeder {
  readonly #host: SeedHost;
  readonly #client: ClickHouseClient;

  constructor(host: SeedHost, password: string) {
    this.#host = host;
    this.#client = createClient({
      ...{ url: host.url, password, request_timeout: 600_000, max_open_connections: 32 },
      ...{ log: { level: ClickHouseLogLevel.OFF }, clickhouse_settings: DETERMINISTIC },
    });
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async run(query: string): Promise<void> {
    try {
      await this.#client.command({ query });
    } catch (error) {
      throw new Error(`${this.#host.name}: ${query.slice(0, 200)}: ${String(error)}`, { cause: error });
    }
  }

  async insert(table: SeedTable): Promise<void> {
    for (const each of table.data) {
      if ('select' in each) await this.run(`INSERT INTO ${nameOf(table)} ${each.select}`);
      else await this.#client.insert({ table: nameOf(table), values: each.rows, format: 'JSONEachRow' });
    }
  }

  /** The old table may still be in use for a moment by what the engine does beside (code 57). */
  private async attachAsReplicated(table: SeedTable): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.run(`ATTACH TABLE ${nameOf(table)} AS REPLICATED`);
        return;
      } catch (error) {
        const { cause } = error as Error;
        if (!(cause instanceof ClickHouseError) || cause.code !== IN_USE || attempt === ATTACH_ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100 * attempt));
      }
    }
  }

  /** Makes the table, fills it, and turns it into a replicated one that is not restored yet. */
  async fillAlone(table: SeedTable, uuid: string): Promise<void> {
    await this.run(createStatement(table, uuid, 'MergeTree'));
    await this.insert(table);
    await this.run(`DETACH TABLE ${nameOf(table)} SYNC`);
    await this.attachAsReplicated(table);
  }

  /** Until all replicas are active, nothing is queued, and nothing is left detached. */
  async waitUntilActive(table: SeedTable, replicas: number, timeoutMs: number): Promise<void> {
    if (this.#host.active === false) return;
    const up = await waitFor(() => this.#isActive(table, replicas), timeoutMs, 250);
    if (!up) {
      throw new Error(`${this.#host.name}: ${nameOf(table)} has not ${replicas} active replicas after ${timeoutMs / 1000} s`);
    }
  }

  async #isActive(table: SeedTable, replicas: number): Promise<boolean> {
    const answer = await this.#client.query({
      query: `SELECT is_readonly = 0 AND active_replicas = {replicas:UInt32} AND queue_size = 0 AND
          (SELECT count() FROM system.detached_parts WHERE database = {database:String} AND table = {table:String}) = 0 AS ready
        FROM system.replicas WHERE database = {database:String} AND table = {table:String}`,
      query_params: { replicas, database: table.database, table: table.name },
      format: 'JSONEachRow',
    });
    const [row] = await answer.json<{ ready: number }>();
    return row?.ready === 1;
  }
}
