import type { Connection } from './connection';
import { walkTree } from './walk-tree';

export interface CountTreeOptions {
  /** Stop at this many. @default none */
  limit?: number;
  signal?: AbortSignal;
}

/** The number of nodes in the tree, its top included; 0 when there is none; not above `limit`. */
export async function countTree(connection: Connection, top: string, options: CountTreeOptions, patienceMs: number): Promise<number> {
  const limit = options.limit ?? Infinity;
  let nodes = 0;
  if (limit <= 0) return 0;
  await walkTree(connection, top, {
    patienceMs,
    signal: options.signal,
    withStat: false,
    onNode: () => {
      nodes += 1;
      return nodes < limit;
    },
  });
  return nodes;
}
