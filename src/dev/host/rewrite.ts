import { beginsWith, nameOf, tokenize, type Token } from './tokens';

/**
 * What the embedded engine cannot do as a server does, and how the host makes up for it.
 *
 * The engine gives each statement an id of its own and takes none from outside. The host therefore
 * carries the caller's `query_id` in a setting that has no effect of its own (`query_cache_tag`)
 * and that `system.processes` shows, and reads it back from there: in statements that read
 * `system.processes`, and in `KILL QUERY WHERE query_id = …`.
 */
export const ID_SETTING = 'query_cache_tag';

const CALLERS_ID = `if(empty(Settings['${ID_SETTING}']), query_id, Settings['${ID_SETTING}'])`;
const PROCESSES =
  `(SELECT * REPLACE (${CALLERS_ID} AS query_id, ` +
  `if(empty(Settings['${ID_SETTING}']), initial_query_id, Settings['${ID_SETTING}']) AS initial_query_id, ` +
  `mapFilter((k, v) -> k != '${ID_SETTING}', Settings) AS Settings) FROM system.processes)`;

/** A statement as the engine gets it, and what the host itself must do about it. */
export interface Prepared {
  sql: string;
  /** `shutdown`: SYSTEM SHUTDOWN or KILL; `kill-sync`: KILL QUERY … SYNC, run as ASYNC and waited for by the host. */
  kind: 'insert' | 'shutdown' | 'kill-sync' | 'plain';
  /** More than one statement in the text: ClickHouse's HTTP interface refuses it. */
  several: boolean;
}

/** Prepares a statement for the engine. */
export function prepare(sql: string): Prepared {
  const head = tokenize(sql, 2);
  if (beginsWith(head, 'INSERT')) {
    return { sql, kind: 'insert', several: false };
  }
  if (beginsWith(head, 'SYSTEM', 'SHUTDOWN') || beginsWith(head, 'SYSTEM', 'KILL')) {
    return { sql, kind: 'shutdown', several: false };
  }
  const tokens = tokenize(sql);
  const semicolon = tokens.findIndex((token) => token.kind === 'symbol' && token.text === ';');
  const several = semicolon !== -1 && tokens.slice(semicolon).some((token) => token.text !== ';');
  if (beginsWith(head, 'KILL', 'QUERY')) {
    return { ...killQuery(sql, tokens), several };
  }
  return { sql: replaceProcesses(sql, tokens), kind: 'plain', several };
}

/** The engine's own KILL … SYNC never returns, so it becomes ASYNC. */
function killQuery(sql: string, tokens: readonly Token[]): Pick<Prepared, 'sql' | 'kind'> {
  const edits = tokens.flatMap((token): Edit[] => {
    if (nameOf(token) === 'query_id') return [{ ...token, text: CALLERS_ID }];
    return token.kind === 'word' && token.text.toUpperCase() === 'SYNC' ? [{ ...token, text: 'ASYNC' }] : [];
  });
  const sync = tokens.some((token) => token.kind === 'word' && token.text.toUpperCase() === 'SYNC');
  return { sql: apply(sql, edits), kind: sync ? 'kill-sync' : 'plain' };
}

function replaceProcesses(sql: string, tokens: readonly Token[]): string {
  const edits = tokens.flatMap((token, i): Edit[] => {
    const after = tokens[i + 2];
    const before = tokens[i - 1];
    const read = before?.kind === 'word' && /^(from|join)$/i.test(before.text);
    return read && nameOf(token) === 'system' && tokens[i + 1]?.text === '.' && nameOf(after) === 'processes'
      ? [{ start: token.start, end: after?.end ?? token.end, text: PROCESSES }]
      : [];
  });
  return beginsWith(tokens, 'SHOW') || beginsWith(tokens, 'DESCRIBE') || beginsWith(tokens, 'DESC') ? sql : apply(sql, edits);
}

interface Edit {
  start: number;
  end: number;
  text: string;
}

function apply(sql: string, edits: readonly Edit[]): string {
  let at = 0;
  let out = '';
  for (const edit of edits) {
    out += sql.slice(at, edit.start) + edit.text;
    at = edit.end;
  }
  return out + sql.slice(at);
}
