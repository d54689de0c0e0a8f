import fs from 'node:fs';

/** Statements of one kind that a host ran, by its log. */
export interface StatementKind {
  readonly kind: string;
  readonly count: number;
  readonly meanMs: number;
  readonly totalMs: number;
}

interface Ran {
  readonly kind: string;
  readonly start: number;
  readonly end: number;
}

interface Line {
  readonly time: string;
  readonly queryId: string;
  readonly text?: string;
  readonly done?: boolean;
}

/** Statements that began within the time, each with its end. */
function ran(logs: readonly string[], from: number, to: number): Ran[] {
  return logs.flatMap((log) => {
    const begun = new Map<string, { kind: string; start: number }>();
    const all: Ran[] = [];
    for (const text of fs.readFileSync(log, 'utf8').split('\n')) {
      if (text === '') continue;
      const line = JSON.parse(text) as Line;
      const at = Date.parse(line.time);
      const known = begun.get(line.queryId);
      if (line.done === true && known !== undefined) all.push({ ...known, end: at });
      else if (line.text !== undefined && at >= from && at <= to) begun.set(line.queryId, { kind: kindOf(line.text), start: at });
      if (line.done === true) begun.delete(line.queryId);
    }
    return all;
  });
}

/** A statement's first words, and for a SELECT what it reads from. */
function kindOf(text: string): string {
  const plain = text.replace(/\s+/g, ' ').trim();
  if (/^SYSTEM/i.test(plain)) return plain.split(' ').slice(0, 3).join(' ');
  if (/^INSERT/i.test(plain)) return plain.split(' ').slice(0, 3).join(' ').replace('_ch_zk_migrate.', '');
  const tables = [...plain.matchAll(/FROM (?:_ch_zk_migrate|system)\.(\w+)/gi)].map(([, name]) => name);
  return tables.length === 0 ? plain.slice(0, 40) : `SELECT ${[...new Set(tables)].join('+')}`;
}

/** The kinds of statements that began within the time, those that took longest together first. */
export function statementKinds(logs: readonly string[], from: number, to: number): StatementKind[] {
  const kinds = new Map<string, { count: number; totalMs: number }>();
  for (const { kind, start, end } of ran(logs, from, to)) {
    const known = kinds.get(kind) ?? { count: 0, totalMs: 0 };
    kinds.set(kind, { count: known.count + 1, totalMs: known.totalMs + (end - start) });
  }
  return [...kinds]
    .map(([kind, { count, totalMs }]) => ({ kind, count, totalMs, meanMs: totalMs / count }))
    .sort((a, b) => b.totalMs - a.totalMs);
}

/** How many RESTOREs ran, from the first one's start to the last one's end. */
export function restoresIn(logs: readonly string[], from: number, to: number): { count: number; start: number; end: number } {
  const restores = ran(logs, from, to).filter(({ kind }) => kind === 'SYSTEM RESTORE REPLICA');
  return {
    count: restores.length,
    start: Math.min(...restores.map(({ start }) => start)),
    end: Math.max(...restores.map(({ end }) => end)),
  };
}
