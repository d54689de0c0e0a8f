import type { ZooKeeperSession } from '../zookeeper/session';

/** Of one table so many nodes are read at a time: what waits for its turn in a long line counts as not answered. */
const READS_AT_A_TIME = 200;

/** The values of nodes, in their order; undefined of one that is not there. */
export async function valuesAt(zookeeper: ZooKeeperSession, nodes: readonly string[]): Promise<{ readonly node: string; readonly value: string | undefined }[]> {
  const values: { node: string; value: string | undefined }[] = [];
  for (let from = 0; from < nodes.length; from += READS_AT_A_TIME) {
    const some = nodes.slice(from, from + READS_AT_A_TIME);
    values.push(...(await Promise.all(some.map(async (node) => ({ node, value: (await zookeeper.get(node))?.data.toString() })))));
  }
  return values;
}

/** What of the log a replica has not taken into its queue yet; behind a pointer that is no number nobody can tell. */
export function unreadBy(log: readonly string[], pointer: string): readonly string[] {
  return isPointer(pointer) ? log.filter((entry) => indexOf(entry) >= Number(pointer)) : [];
}

/** Whether a `log_pointer` or `mutation_pointer` can be read: a number, or empty before the first. */
export function isPointer(value: string): boolean {
  return /^\d*$/u.test(value);
}

/** Whether a child of `log` has a name that a server gave it. */
export function isLogEntry(name: string): boolean {
  return /^log-\d+$/u.test(name);
}

/** Of an entry of the log: `log-0000000012` is the twelfth after the first. */
export function indexOf(entry: string): number {
  return Number(entry.slice('log-'.length));
}
