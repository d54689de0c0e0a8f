/** What follows from a seed: numbers, and tables of random shape. */
import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import { type SeedTable, seedTables } from '../../src/dev/seed';
import { type Ground, run, sql } from '../support/stack';

/** mulberry32: a small generator whose numbers follow from its seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export class Dice {
  private readonly next: () => number;
  constructor(seed: number) {
    this.next = generator(seed);
  }

  /** A whole number from `low` to `high`. */
  number(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  one<T>(of: readonly T[]): T {
    return of[this.number(0, of.length - 1)] as T;
  }
}

/** Ends the name of a table from which rows are deleted once it is filled (a lightweight delete). */
const DELETED_FROM = ' deleted';
/** Ends the name of a table one of whose partitions has lost its rows and kept its parts. */
const EMPTIED = ' emptied';
/** Ends the name of a table that is filled on one replica and fetched by the other: with merges on, or sharing its blobs. */
const FETCHED = ' fetched';

export async function seedRandom(ground: Ground, tables: readonly SeedTable[]): Promise<void> {
  await ground.seed(tables.filter(({ name }) => !name.endsWith(FETCHED)));
  await seedTables(ground.hosts, tables.filter(({ name }) => name.endsWith(FETCHED)), { replicate: true });
  const named = ({ database, name }: SeedTable): string => quoteTable({ database, table: name });
  for (const table of tables.filter(({ name }) => name.endsWith(DELETED_FROM))) {
    await run(ground.firstHost.url, `DELETE FROM ${named(table)} WHERE user < 10 SETTINGS mutations_sync = 2, lightweight_deletes_sync = 2`);
  }
  const emptied = tables.filter(({ name }) => name.endsWith(EMPTIED));
  for (const table of emptied) {
    await run(ground.firstHost.url, `ALTER TABLE ${named(table)} DELETE WHERE p = 1 SETTINGS mutations_sync = 2`);
  }
  for (const { url } of ground.hosts) {
    const rows = await sql<{ name: string }>(url, `SELECT DISTINCT table AS name FROM system.parts WHERE active AND rows = 0 AND endsWith(table, '${EMPTIED}')`);
    assert.equal(rows.length, emptied.length, 'no part without rows');
  }
}

/** Tables of a random shape. */
export function randomTables(dice: Dice, database: string): SeedTable[] {
  const columns = 'day Date, user UInt32, note String';
  const merging = { max_bytes_to_merge_at_max_space_in_pool: 161_061_273_600, max_bytes_to_merge_at_min_space_in_pool: 1_048_576 };
  const shapes: ((name: string) => SeedTable)[] = [
    (name) => ({ database, name, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 300, number % 97, toString(number) FROM numbers(${dice.number(1, 3_000)})` }] }),
    (name) => ({ database, name, columns, partitionBy: 'day', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % ${dice.number(30, 200)}, number, 'x' FROM numbers(${dice.number(200, 2_000)})` }] }),
    (name) => ({ database, name, columns, orderBy: 'user', data: [] }),
    (name) => ({ database, name, columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x', data: Array.from({ length: dice.number(2, 5) }, () => ({ select: 'SELECT number % 2, number FROM numbers(9)' })) }),
    (name) => ({ database, name, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', settings: { min_bytes_for_wide_part: 0 }, data: [{ select: `SELECT toDate('2024-01-01') + number % 90, number, repeat('w', number % 40) FROM numbers(${dice.number(10, 900)})` }] }),
    // Merged while the migration runs, wherever the server may: the only shape with merges on.
    (name) => ({ database, name: `${name}${FETCHED}`, columns: 'x UInt64', orderBy: 'x', settings: merging, data: Array.from({ length: dice.number(3, 7) }, (_, i) => ({ select: `SELECT number + ${i * 10} FROM numbers(${dice.number(1, 400)})` })) }),
    (name) => ({ database, name, columns: 'day Date, user UInt32, note String TTL day + INTERVAL 90 YEAR', partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 60, number, 't' FROM numbers(${dice.number(10, 600)})` }] }),
    (name) => ({ database, name: `${name}${DELETED_FROM}`, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 120, number % 50, 'd' FROM numbers(${dice.number(50, 900)})` }] }),
    (name) => ({ database, name: `${name}${FETCHED}`, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', settings: { storage_policy: 'object_storage' }, data: [{ select: `SELECT toDate('2024-01-01') + number % 200, number, 'z' FROM numbers(${dice.number(50, 900)})` }] }),
    (name) => ({ database, name: `${name}${EMPTIED}`, columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x', settings: { remove_empty_parts: 0 }, data: Array.from({ length: dice.number(1, 3) }, () => ({ select: `SELECT number % 3, number FROM numbers(${dice.number(9, 90)})` })) }),
    (name) => ({ database, name, columns: `${columns}, PROJECTION sums (SELECT user, count() GROUP BY user)`, orderBy: 'user', data: [{ select: `SELECT today(), number % 7, 'p' FROM numbers(${dice.number(10, 900)})` }] }),
  ];
  // Each shape once, in an order of its own, before any comes again.
  const order = shapes.map((shape) => ({ shape, at: dice.number(0, 1_000_000) })).sort((a, b) => a.at - b.at);
  return Array.from({ length: dice.number(6, 14) }, (_, i) => order[i % order.length]?.shape(`t ${i}`) ?? assert.fail());
}
