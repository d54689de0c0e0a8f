import { looksLikeTop, refusePath, refuseShape, strangeChildren } from '../domain/guards';
import type { ZooKeeperSession } from '../zookeeper/session';

/** A strange child with more nodes below than this is not searched: it is refused. */
const MOST_SEARCHED = 1_000;

/**
 * Whether anything stands against deleting a table's path: its form, what it lacks, or another table somewhere below it. Answers the reason,
 * or undefined. `deleting` is true once its deletion has begun by our own hand.
 */
export async function refuseTree(
  zookeeper: ZooKeeperSession,
  path: string,
  children: readonly string[],
  deleting: boolean,
): Promise<string | undefined> {
  const refusal = refusePath(path) ?? refuseShape(children, deleting);
  if (refusal !== undefined) return refusal;
  for (const child of strangeChildren(children)) {
    const found = await findTop(zookeeper, `${path}/${child}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Searches for the top of another table at and below `top`. */
async function findTop(zookeeper: ZooKeeperSession, top: string): Promise<string | undefined> {
  const queue = [top];
  for (let searched = 0; ; searched += 1) {
    const path = queue.shift();
    if (path === undefined) return undefined;
    if (searched > MOST_SEARCHED) return `it holds ${top}, which no known version makes, with more than ${MOST_SEARCHED} nodes`;
    const children = (await zookeeper.children(path)) ?? [];
    if (looksLikeTop(children)) return `it holds another table at ${path}`;
    queue.push(...children.map((child) => `${path}/${child}`));
  }
}
