/** Who writes into a table, from what a server tells of its INSERTs: best effort, in words that end a sentence. */

/** One way in by which a table was written. */
export interface Writer {
  readonly user: string;
  /** The client's address as the server saw it; empty where it did not. */
  readonly address: string;
  /** What the client calls itself; may be empty. */
  readonly client: string;
  /** How many INSERTs of it were seen. */
  readonly inserts: number;
}

interface TableName {
  readonly database: string;
  readonly table: string;
}

/** A name as it may stand in a statement: quoted with backticks or double quotes, or bare. */
const NAME = /(?:`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|[\p{L}_][\p{L}\p{N}_]*)/u.source;
const TARGET = new RegExp(`^(?:\\s|--[^\\n]*\\n|/\\*[^]*?\\*/)*INSERT\\s+INTO\\s+(?:TABLE\\s+)?(${NAME})(?:\\s*\\.\\s*(${NAME}))?(?!\\s*\\.)`, 'iu');

/** Whether a statement is an INSERT right into the table: what views and Distributed tables pass on is not seen in its text. */
export function insertsInto(statement: string, currentDatabase: string, { database, table }: TableName): boolean {
  const [, first, second] = TARGET.exec(statement) ?? [];
  if (first === undefined) return false;
  return second === undefined
    ? currentDatabase === database && unquoted(first) === table
    : unquoted(first) === database && unquoted(second) === table;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', 0: '\0', b: '\b', f: '\f', a: '\u0007', v: '\v' };

function unquoted(name: string): string {
  const quote = name[0] ?? '';
  if (quote !== '`' && quote !== '"') return name;
  return name.slice(1, -1).replace(/\\([^])|(["`])\2/gu, (_all, escaped: string | undefined, doubled: string) => (escaped === undefined ? doubled : (ESCAPES[escaped] ?? escaped)));
}

/** The table's names as `system.query_log.tables` may have them: each part bare, or in backticks. */
export function loggedNames({ database, table }: TableName): readonly string[] {
  const forms = (name: string): string[] => [name, `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``];
  return forms(database).flatMap((db) => forms(table).map((name) => `${db}.${name}`));
}

/** The same user, address and client is one writer, the busiest first. */
export function together(writers: readonly Writer[]): readonly Writer[] {
  const all = new Map<string, Writer>();
  for (const writer of writers) {
    const key = JSON.stringify([writer.user, writer.address, writer.client]);
    all.set(key, { ...writer, inserts: writer.inserts + (all.get(key)?.inserts ?? 0) });
  }
  return [...all.values()].sort((a, b) => b.inserts - a.inserts || (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

const WRITERS_SHOWN = 5;

/** `by user "etl" from 10.0.0.7 (clickhouse-go), 3 INSERTs; …`; empty for nobody. */
export function writerWords(writers: readonly Writer[]): string {
  const words = writers.slice(0, WRITERS_SHOWN).map(({ user, address, client, inserts }) => {
    const from = address === '' ? '' : ` from ${address}`;
    return `by user "${user}"${from}${client === '' ? '' : ` (${client})`}, ${inserts} INSERT${inserts === 1 ? '' : 's'}`;
  });
  return [...words, ...(writers.length > WRITERS_SHOWN ? [`and ${writers.length - WRITERS_SHOWN} more`] : [])].join('; ');
}
