/** What a server writes of itself into the node `host` of a replica when that becomes active; it stays there when the table is detached. */
export interface ReplicaAddress {
  /** Host and port of the server's interserver side: the same for all its replicas. */
  readonly server: string;
  readonly database: string;
  readonly table: string;
}

/**
 * Reads a replica's `host` node; undefined for one that was never written, or not as servers write it.
 *
 * Source: ClickHouse, `ReplicatedMergeTreeAddress::writeText`; lines `host`, `port`, `tcp_port`, `database`, `table`, `scheme`, escaped.
 */
export function parseAddress(text: string): ReplicaAddress | undefined {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^(\w+): (.*)$/u.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values.set(name, unescape(value));
  }
  const [host = '', port = '', database = '', table = ''] = ['host', 'port', 'database', 'table'].map((name) => values.get(name));
  return host === '' || port === '' ? undefined : { server: `${host}:${port}`, database, table };
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', 0: '\0' };

function unescape(text: string): string {
  return text.replace(/\\([^])/gu, (_, letter: string) => ESCAPES[letter] ?? letter);
}

/** A name of a table on a server. */
interface Names {
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
}

/**
 * The path that a table would have if it were made as another one was: the other's path with this one's names and uuid in place of its own.
 * Undefined where nothing of the other's path comes from its names, or where this one's fit into no path.
 */
export function pathLike(path: string, other: Names, names: Names): string | undefined {
  const put = (component: string): string => {
    if (component === other.uuid) return names.uuid;
    if (component === other.table) return names.table;
    return component === other.database ? names.database : component;
  };
  const parts = path.split('/').slice(1).map(put);
  const guess = `/${parts.join('/')}`;
  return guess === path || parts.some((part) => part === '' || part === '.' || part === '..' || /[\p{C}/]/u.test(part)) ? undefined : guess;
}
