import { inBatches } from '../zookeeper/in-batches';
import type { ZooKeeperSession } from '../zookeeper/session';

/** The values of nodes, in their order; undefined of one that is not there. */
export async function valuesAt(zookeeper: ZooKeeperSession, nodes: readonly string[]): Promise<{ readonly node: string; readonly value: string | undefined }[]> {
  return inBatches(nodes, async (node) => ({ node, value: (await zookeeper.get(node))?.data.toString() }));
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
