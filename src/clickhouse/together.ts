import { setTimeout as sleep } from 'node:timers/promises';

import DataLoader from 'dataloader';

import type { ClickHouseHost } from './host';

/** More tables in one query make its text long, and one slow table holds up more others. */
const MOST_TABLES = 100;

/**
 * A host is asked the same question no more often than this: a query costs it much the same for one table and for twenty, and those who
 * come within this time share the next one. The first never waits.
 */
export const PACE_MS = 60;

interface TableName {
  readonly database: string;
  readonly table: string;
}

const loaders = new WeakMap<ClickHouseHost, Map<string, unknown>>();

/**
 * Asks a host one question of many tables in one query: whoever asks while an answer is under way, or within {@link PACE_MS} of the last
 * query, goes with the next one. A query that fails fails all who asked with it, for it says something of the host. Answers are never kept.
 *
 * @param question names the question together with everything that must be equal to be asked in one query
 * @param ask answers in the order of the tables
 */
export async function askTogether<K extends TableName, A>(
  host: ClickHouseHost,
  question: string,
  table: K,
  ask: (tables: readonly K[]) => Promise<readonly A[]>,
): Promise<A> {
  const known = loaders.get(host) ?? new Map<string, unknown>();
  loaders.set(host, known);
  const loader = (known.get(question) as DataLoader<K, A> | undefined) ?? makeLoader(ask);
  known.set(question, loader);
  return loader.load(table);
}

function makeLoader<K, A>(ask: (tables: readonly K[]) => Promise<readonly A[]>): DataLoader<K, A> {
  let free: Promise<unknown> = Promise.resolve();
  return new DataLoader<K, A>(
    (tables) => {
      const answers = ask(tables);
      free = Promise.all([answers.catch(() => undefined), sleep(PACE_MS)]);
      return answers;
    },
    { cache: false, maxBatchSize: MOST_TABLES, batchScheduleFn: (dispatch) => void free.then(dispatch) },
  );
}

/** A query's condition that takes exactly these tables, with what it needs in `params`. */
export function ofTables(tables: readonly TableName[]): {
  readonly condition: (database: string, table: string) => string;
  readonly params: Readonly<Record<string, unknown>>;
} {
  return {
    // Each name by itself too: system tables leave out by their own columns what they need not look at.
    condition: (database, table) =>
      `${database} IN {databases:Array(String)} AND ${table} IN {tables:Array(String)}
       AND (${database}, ${table}) IN arrayZip({databases:Array(String)}, {tables:Array(String)})`,
    params: { databases: tables.map(({ database }) => database), tables: tables.map(({ table }) => table) },
  };
}

/** Rows by the table they are of. */
export function rowsOf<R extends TableName>(rows: readonly R[]): (table: TableName) => readonly R[] {
  const byTable = new Map<string, R[]>();
  for (const row of rows) {
    const key = JSON.stringify([row.database, row.table]);
    const those = byTable.get(key);
    if (those === undefined) byTable.set(key, [row]);
    else those.push(row);
  }
  return ({ database, table }) => byTable.get(JSON.stringify([database, table])) ?? [];
}

/** The tables in words. */
export function labelOf(tables: readonly TableName[]): string {
  const [first] = tables;
  const name = `${first?.database ?? ''}.${first?.table ?? ''}`;
  return tables.length === 1 ? name : `${name} and ${tables.length - 1} more`;
}
