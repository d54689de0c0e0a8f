import type { Connection } from './connection';
import { toStat, type ZnodeStat } from './stat';
import { walkTree } from './walk-tree';

/** Every node of the tree with its stat, sorted by path. */
export async function listTree(connection: Connection, top: string, patienceMs: number): Promise<{ path: string; stat: ZnodeStat }[]> {
  const entries: { path: string; stat: ZnodeStat }[] = [];
  await walkTree(connection, top, {
    patienceMs,
    signal: undefined,
    onNode: (path, stat) => {
      entries.push({ path, stat: toStat(stat) });
      return true;
    },
  });
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}
