import type { Connection } from './connection';
import { ZooKeeperError } from './errors';
import { toStat, type ZnodeStat } from './stat';
import { walkTree } from './walk-tree';

/** Every node of the tree with its stat, sorted by path. */
export async function listTree(connection: Connection, top: string, patienceMs: number): Promise<{ path: string; stat: ZnodeStat }[]> {
  const entries: { path: string; stat: ZnodeStat }[] = [];
  await walkTree(connection, top, {
    patienceMs,
    signal: undefined,
    withStat: true,
    onNode: (path, stat) => {
      if (stat === null) throw new ZooKeeperError('OTHER', `list ${path}: the answer has no stat`, { path });
      entries.push({ path, stat: toStat(stat) });
      return true;
    },
  });
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}
