import { isBrokenEntry } from '../domain/queue-entry';
import type { ZooKeeperSession } from '../zookeeper/session';
import type { Findings, InspectedTable } from './preflight';
import { isLogEntry, isPointer, unreadBy, valuesAt } from './replication-log';

const MOST_NAMED = 5;

/** Says whether a node's value is one that a server writes. */
type Rule = (value: string) => boolean;

const begins = (words: string): Rule => (value) => value.startsWith(words);

/** Of the nodes whose form is the same in every version that knows RESTORE: what has another one is broken. */
const TABLE_RULES: Readonly<Record<string, Rule>> = { metadata: begins('metadata format version: '), columns: begins('columns format version: ') };
const REPLICA_RULES: Readonly<Record<string, Rule>> = {
  ...TABLE_RULES,
  metadata_version: (value) => /^\d+$/u.test(value),
  is_lost: (value) => /^[01]$/u.test(value),
  log_pointer: isPointer,
  mutation_pointer: isPointer,
};
/** Without one of these of its own a table is readonly, or its server cannot load it at all. */
const NEEDED = ['columns', 'host', 'metadata', 'metadata_version'];

/** What of a table's metadata no server can read, below its path. */
interface Broken {
  readonly nodes: readonly string[];
  /** Of its log, the queues and the mutations. */
  readonly entries: readonly string[];
}

/** Names what of a table's metadata no server can read: it does not hold up the run, for all of it is made anew. */
export async function checkBroken(zookeeper: ZooKeeperSession, { path, members }: InspectedTable, found: Findings): Promise<void> {
  const [first] = members;
  const { nodes, entries } = await findBroken(zookeeper, path, members.map(({ listed }) => listed.replica.replicaName));
  if (first === undefined || nodes.length + entries.length === 0) return;
  const asked = entries.length === 0 ? '' : '; what the entries among them asked for nobody knows any more, and it is not done';
  found.warn('METADATA_BROKEN', first.listed.replica, `no server can read part of what is at ${path}: ${brokenWords({ nodes, entries })}`, `its metadata is made anew${asked}`);
}

export function brokenWords({ nodes, entries }: Broken): string {
  const all = [...nodes, ...entries];
  return `${all.slice(0, MOST_NAMED).join(', ')}${all.length > MOST_NAMED ? `, and ${all.length - MOST_NAMED} more` : ''}`;
}

/**
 * Looks for what no server can read in a table's metadata, by the form that each version gives it. A server notices it when it attaches the
 * table, which is readonly from then on, or never.
 *
 * Source: `ReplicatedMergeTreeTableMetadata`, `ColumnsDescription::parse`, `StorageReplicatedMergeTree::createReplica` in ClickHouse
 */
export async function findBroken(zookeeper: ZooKeeperSession, path: string, names: readonly string[]): Promise<Broken> {
  const [nodes, entries] = await Promise.all([
    Promise.all([brokenAt(zookeeper, path, '', TABLE_RULES), ...names.map((name) => brokenReplica(zookeeper, path, `replicas/${name}`))]),
    brokenEntries(zookeeper, path, names),
  ]);
  return { nodes: nodes.flat(), entries };
}

/** What cannot be read of a replica's own nodes; where it has no node at all it is lost, which is another matter. */
async function brokenReplica(zookeeper: ZooKeeperSession, path: string, replica: string): Promise<string[]> {
  const children = await zookeeper.children(`${path}/${replica}`);
  if (children === undefined) return [];
  const gone = NEEDED.filter((node) => !children.includes(node)).map((node) => `${replica}/${node} (gone)`);
  return [...gone, ...(await brokenAt(zookeeper, path, `${replica}/`, REPLICA_RULES))];
}

async function brokenAt(zookeeper: ZooKeeperSession, path: string, below: string, rules: Readonly<Record<string, Rule>>): Promise<string[]> {
  const all = await Promise.all(Object.entries(rules).map(async ([node, rule]) => ({ node, rule, value: (await zookeeper.get(`${path}/${below}${node}`))?.data.toString() })));
  return all.filter(({ rule, value }) => value !== undefined && !rule(value)).map(({ node }) => below + node);
}

/** Entries that a server has to read at its next start: in a queue, in the log behind somebody's pointer, and mutations, done or not. */
async function brokenEntries(zookeeper: ZooKeeperSession, path: string, names: readonly string[]): Promise<string[]> {
  const [log = [], mutations = []] = await Promise.all([zookeeper.children(`${path}/log`), zookeeper.children(`${path}/mutations`)]);
  const entries = log.filter(isLogEntry);
  const waiting = await Promise.all(
    names.map(async (name) => {
      const replica = `replicas/${name}`;
      const [queue = [], pointer] = await Promise.all([zookeeper.children(`${path}/${replica}/queue`), zookeeper.get(`${path}/${replica}/log_pointer`)]);
      return [...queue.map((entry) => `${replica}/queue/${entry}`), ...unreadBy(entries, pointer?.data.toString() ?? '').map((entry) => `log/${entry}`)];
    }),
  );
  const read = new Set([...waiting.flat(), ...mutations.map((id) => `mutations/${id}`)]);
  const values = await valuesAt(zookeeper, [...read].map((node) => `${path}/${node}`));
  const broken = values.filter(({ value }) => value !== undefined && isBrokenEntry(value)).map(({ node }) => node.slice(path.length + 1));
  return [...log.filter((entry) => !isLogEntry(entry)).map((entry) => `log/${entry}`), ...broken];
}
