/**
 * SQL text. Names are quoted here and nowhere else; values go as query parameters (`{name:Type}`).
 *
 * Source: https://clickhouse.com/docs/sql-reference/syntax#identifiers
 */

/** A backtick-quoted identifier: any name is safe in it, control characters included. */
export function quoteIdentifier(name: string): string {
  const escaped = name
    .replaceAll('\\', '\\\\')
    .replaceAll('`', '\\`')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
    .replaceAll('\0', '\\0');
  return `\`${escaped}\``;
}

export function quoteTable(table: { readonly database: string; readonly table: string }): string {
  return `${quoteIdentifier(table.database)}.${quoteIdentifier(table.table)}`;
}

/** A string literal, for the places where no parameter is allowed (`ATTACH PART`). */
export function quoteString(text: string): string {
  return `'${text
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "\\'")
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
    .replaceAll('\0', '\\0')}'`;
}

interface TableName {
  readonly database: string;
  readonly table: string;
}

/**
 * Background work on parts beside merges and mutations, which `SYSTEM STOP MERGES` stops both. Source:
 * https://clickhouse.com/docs/sql-reference/statements/system
 */
export const BACKGROUND = ['MOVES', 'CLEANUP'] as const;
export type Background = (typeof BACKGROUND)[number];

/** The statements that change a replica, in one place, so that a plan prints what a run sends. */
export const statements = {
  stopMerges: (table: TableName) => `SYSTEM STOP MERGES ${quoteTable(table)}`,
  startMerges: (table: TableName) => `SYSTEM START MERGES ${quoteTable(table)}`,
  /** What else takes parts away or makes new ones: of zero-copy tables alone, see `BACKGROUND`. */
  stopBackground: (table: TableName, what: Background) => `SYSTEM STOP ${what} ${quoteTable(table)}`,
  startBackground: (table: TableName, what: Background) => `SYSTEM START ${what} ${quoteTable(table)}`,
  /** Of the whole server: the form for one table came later. */
  flushAsyncInserts: () => 'SYSTEM FLUSH ASYNC INSERT QUEUE',
  detach: (table: TableName) => `DETACH TABLE ${quoteTable(table)} PERMANENTLY SYNC`,
  /** Undone by any start of the server: for the moment between it and an ATTACH. */
  detachForNow: (table: TableName) => `DETACH TABLE ${quoteTable(table)} SYNC`,
  attach: (table: TableName) => `ATTACH TABLE ${quoteTable(table)}`,
  /** Makes a plain MergeTree table of it; its metadata in ZooKeeper is not touched. */
  attachPlain: (table: TableName) => `ATTACH TABLE ${quoteTable(table)} AS NOT REPLICATED`,
  /** At the server's present `default_replica_path`. */
  attachReplicated: (table: TableName) => `ATTACH TABLE ${quoteTable(table)} AS REPLICATED`,
  restore: (table: TableName) => `SYSTEM RESTORE REPLICA ${quoteTable(table)}`,
  sync: (table: TableName) => `SYSTEM SYNC REPLICA ${quoteTable(table)}`,
  attachPart: (table: TableName, part: string) => `ALTER TABLE ${quoteTable(table)} ATTACH PART ${quoteString(part)}`,
  shutdown: () => 'SYSTEM SHUTDOWN',
} as const;
