/**
 * The words of a ClickHouse statement, as far as the embedded host must tell them apart: enough to
 * find a keyword, an identifier or a `;` outside strings and comments. It is no parser; what it
 * does not know it passes on.
 *
 * Source: https://clickhouse.com/docs/sql-reference/syntax
 */
export interface Token {
  kind: 'word' | 'quoted' | 'string' | 'symbol';
  /** As written, quotes included. */
  text: string;
  start: number;
  end: number;
}

const WORD = /[\p{L}_$\d]/u;

/** Splits a statement; whitespace and comments are left out. An unterminated quote ends with the text. */
export function tokenize(sql: string, limit = Number.POSITIVE_INFINITY): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < sql.length && tokens.length < limit) {
    const skipped = skipBlank(sql, at);
    if (skipped > at) {
      at = skipped;
      continue;
    }
    const token = nextToken(sql, at);
    tokens.push(token);
    at = token.end;
  }
  return tokens;
}

/** The end of the whitespace or comment that begins here, or `at` itself. */
function skipBlank(sql: string, at: number): number {
  const char = sql.charAt(at);
  if (/\s/.test(char)) return at + 1;
  if (sql.startsWith('--', at) || sql.startsWith('#!', at) || sql.startsWith('# ', at)) {
    return endOf(sql, '\n', at);
  }
  return sql.startsWith('/*', at) ? endOf(sql, '*/', at + 2) : at;
}

function endOf(sql: string, mark: string, from: number): number {
  const found = sql.indexOf(mark, from);
  return found === -1 ? sql.length : found + mark.length;
}

function nextToken(sql: string, start: number): Token {
  const char = sql.charAt(start);
  if (char === "'") return cut(sql, 'string', start, quoteEnd(sql, start));
  if (char === '`' || char === '"') return cut(sql, 'quoted', start, quoteEnd(sql, start));
  if (!WORD.test(char)) return cut(sql, 'symbol', start, start + 1);
  let end = start + 1;
  while (end < sql.length && WORD.test(sql.charAt(end))) end += 1;
  return cut(sql, 'word', start, end);
}

function cut(sql: string, kind: Token['kind'], start: number, end: number): Token {
  return { kind, text: sql.slice(start, end), start, end };
}

/** The end of a quoted text: a backslash escapes any character, a doubled quote stands for itself. */
function quoteEnd(sql: string, start: number): number {
  const quote = sql.charAt(start);
  for (let at = start + 1; at < sql.length; at += 1) {
    const char = sql.charAt(at);
    if (char === '\\') at += 1;
    else if (char === quote && sql.charAt(at + 1) === quote) at += 1;
    else if (char === quote) return at + 1;
  }
  return sql.length;
}

/** The bare name of a word or a quoted identifier without escapes, in lower case; undefined for anything else. */
export function nameOf(token: Token | undefined): string | undefined {
  if (token?.kind === 'word') return token.text.toLowerCase();
  if (token?.kind === 'quoted') return token.text.slice(1, -1).toLowerCase();
  return undefined;
}

/** Whether the statement begins with these keywords, in any case. */
export function beginsWith(tokens: readonly Token[], ...keywords: string[]): boolean {
  return keywords.every((keyword, i) => tokens[i]?.kind === 'word' && tokens[i].text.toUpperCase() === keyword);
}
