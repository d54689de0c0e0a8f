/** Which tables somebody chose to leave out. Pure and free of Node's built-ins: a workflow uses it too. */
import { compileGlob } from './table-filter';

/** A glob on `database.table` that leaves tables out, or takes back what earlier ones left out: the last one that matches a table decides. */
export type SkipRule = string | { readonly unskip: string };

/** What a retry asks for; where a table is matched by both, it is left out. */
export interface SkipRequest {
  readonly skip?: readonly string[];
  readonly unskip?: readonly string[];
}

interface TableName {
  readonly database: string;
  readonly table: string;
}

/** Whether a table is left out; a glob that cannot be read matches nothing. */
export function skippedBy(rules: readonly SkipRule[]): (table: TableName) => boolean {
  const latestFirst = rules.flatMap(compiled).reverse();
  if (latestFirst.length === 0) return () => false;
  return ({ database, table }) => latestFirst.find(({ matches }) => matches(`${database}.${table}`))?.skips === true;
}

/** The rules in force after a request: bounded by the number of different globs, and empty where nothing is left out. */
export function withRequest(rules: readonly SkipRule[], { skip = [], unskip = [] }: SkipRequest): SkipRule[] {
  let all: SkipRule[] = [...rules];
  for (const rule of [...unskip.map((glob) => ({ unskip: glob })), ...skip]) {
    all = matchesAll(rule) ? [] : all.filter((one) => globOf(one) !== globOf(rule));
    all.push(rule);
  }
  const first = all.findIndex((rule) => typeof rule === 'string');
  return first < 0 ? [] : all.slice(first);
}

/** For people. */
export function skipWords(rule: SkipRule): string {
  return typeof rule === 'string' ? rule : `but not ${rule.unskip}`;
}

function globOf(rule: SkipRule): string {
  return typeof rule === 'string' ? rule : rule.unskip;
}

function matchesAll(rule: SkipRule): boolean {
  return ['*', '*.*', '**'].includes(globOf(rule));
}

function compiled(rule: SkipRule): { readonly matches: (text: string) => boolean; readonly skips: boolean }[] {
  try {
    return [{ matches: compileGlob(globOf(rule)), skips: typeof rule === 'string' }];
  } catch {
    return [];
  }
}
