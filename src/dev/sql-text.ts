/** A ClickHouse identifier in backquotes. Source: https://clickhouse.com/docs/sql-reference/syntax#identifiers */
export function quoteIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** A ClickHouse string literal. Source: https://clickhouse.com/docs/sql-reference/syntax#string */
export function quoteString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
