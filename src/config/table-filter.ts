/**
 * Which tables a spec selects. Pure and free of Node's built-ins, so that a workflow may use it too.
 *
 * Globs are picomatch's (`*`, `?`, `[…]`, `{a,b}`, `@(a|b)`, `!(a)`), but over names, not over files: a slash, a dot, a quote, a line
 * break or a backslash in a name is a character like any other, and a backslash in a pattern takes the next character as it is.
 * What picomatch gives another meaning is replaced, in pattern and name alike, by code units that no valid name contains.
 */
import picomatch from 'picomatch/posix';

import type { TableSelection } from '../domain/spec';

/** What the filter looks at. */
export interface FilterTable {
  readonly host: string;
  readonly database: string;
  readonly table: string;
  /** As in `system.replicas`. */
  readonly zookeeperPath: string;
  /** The auxiliary ensemble's name; absent, empty or `default` for the servers' own. */
  readonly zookeeperName?: string | undefined;
  /** The disks that hold an active part of it. */
  readonly disks: readonly string[];
}

type Match = (text: string) => boolean;

const OPTIONS = { dot: true, nonegate: true, strictBrackets: true, debug: true, fastpaths: false, flags: 's' } as const;
const LONGEST_GLOB = 1000;

/** Characters that are a path's or a shell's to picomatch, and only characters here; replaced by lone surrogates. */
const STAND_INS: Readonly<Record<string, string>> = { '/': '\ud800', '\\': '\ud801', '"': '\ud802', '\0': '\ud803' };

/**
 * A predicate for the tables that the selection takes: in the list (where there is one), matched by `include` (where there is one) and not
 * by `exclude`, with a part on `disk`, at a path that `zkPath` matches (with `name:` in front where it is in an auxiliary ensemble).
 *
 * @throws {SyntaxError} for a pattern that `globFault` finds a fault with
 */
export function createTableFilter(selection: TableSelection): (table: FilterTable) => boolean {
  const included = selection.include.length === 0 ? () => true : anyGlob(selection.include);
  const excluded = anyGlob(selection.exclude);
  const atPath = selection.zkPath === undefined ? () => true : compileGlob(selection.zkPath);
  const listed = selection.list === undefined ? () => true : listMatcher(selection.list);
  return (table) => {
    const name = `${table.database}.${table.table}`;
    const onDisk = selection.disk === undefined || table.disks.includes(selection.disk);
    return onDisk && listed(table) && included(name) && !excluded(name) && atPath(fullPath(table));
  };
}

/**
 * One pattern as a predicate on the whole text.
 *
 * @throws {SyntaxError} for a pattern that cannot be read
 */
export function compileGlob(pattern: string): Match {
  const matches = picomatch(encodePattern(pattern), OPTIONS);
  return (text) => matches(encodeText(text));
}

/** Patterns that picomatch takes for text, or for something that matches nothing, without a word. */
const UNREAD: readonly { readonly looksLike: RegExp; readonly message: string }[] = [
  { looksLike: /^!(?!\()/, message: 'a pattern does not begin with !: put what to leave out into exclude' },
  { looksLike: /^(?:[^\\]|\\[^])*\\$/, message: 'the \\ at the end has nothing to escape' },
  {
    looksLike: /^(?:[^\\]|\\[^])*?[+*]\(/,
    message: 'repeated groups such as +(a|b) are not read: write {a,b}, or \\( for a bracket in a name',
  },
  { looksLike: /^(?:[^\\]|\\[^])*?\{[^{}\\,]*\.\.[^{}\\,]*\}/, message: 'ranges such as {1..3} are not read: write {1,2,3}' },
];

/** What is wrong with a pattern; `undefined` when nothing is. */
export function globFault(pattern: string): string | undefined {
  if (pattern === '') return 'a pattern must not be empty';
  if (pattern.length > LONGEST_GLOB) return `a pattern has at most ${String(LONGEST_GLOB)} characters`;
  const unread = UNREAD.find(({ looksLike }) => looksLike.test(pattern));
  if (unread !== undefined) return unread.message;
  try {
    compileGlob(pattern);
    return undefined;
  } catch {
    return 'cannot be read as a pattern: a bracket has no counterpart; write \\ before a bracket that is part of a name';
  }
}

/** What is wrong with a pattern on `database.table`; `undefined` when nothing is. */
export function tableGlobFault(pattern: string): string | undefined {
  const fault = globFault(pattern);
  if (fault !== undefined) return fault;
  const canMatch = /[.*?[{(\\]/.test(pattern);
  return canMatch ? undefined : 'can never match: patterns are for database.table, such as shop.* or shop.orders';
}

/** A name as a pattern that matches this name alone. */
export function escapeGlob(name: string): string {
  return name.replace(/[\\*?[\]{}()!+@|,^$.-]/g, '\\$&');
}

function fullPath({ zookeeperPath, zookeeperName = '' }: FilterTable): string {
  return zookeeperName === '' || zookeeperName === 'default' ? zookeeperPath : `${zookeeperName}:${zookeeperPath}`;
}

function anyGlob(patterns: readonly string[]): Match {
  const matchers = patterns.map(compileGlob);
  return (text) => matchers.some((matches) => matches(text));
}

function listMatcher(list: NonNullable<TableSelection['list']>): (table: FilterTable) => boolean {
  const key = (host: string | undefined, database: string, table: string) => JSON.stringify([host ?? null, database, table]);
  const keys = new Set(list.map((entry) => key(entry.host, entry.database, entry.table)));
  return ({ host, database, table }) => keys.has(key(undefined, database, table)) || keys.has(key(host, database, table));
}

function encodeText(text: string): string {
  return text.replace(/[/\\"\0]/g, standIn);
}

/**
 * Backslashes are kept only before what picomatch gives a meaning; before a letter it would be the regular expression's. `[!a]` is a
 * shell's `[^a]`.
 */
function encodePattern(pattern: string): string {
  return pattern.replace(/\\([^])|\[!|[/"\0]/g, (whole, escaped: string | undefined) => {
    if (whole === '[!') return '[^';
    if (escaped === undefined || escaped in STAND_INS) return standIn(escaped ?? whole);
    return /[*?[\]{}()!+@|,^$-]/.test(escaped) ? whole : escaped;
  });
}

function standIn(character: string): string {
  return STAND_INS[character] ?? character;
}
