import type { StackDescription } from '../../src/dev/stack';
import { ZooKeeperSession, type ZnodeEntry } from '../../src/zookeeper/session';

/** Runs `work` on a session of the stack's ensemble, from its very root. */
export async function withZooKeeper<T>(up: StackDescription, work: (session: ZooKeeperSession) => Promise<T>): Promise<T> {
  const session = await ZooKeeperSession.open({ connect: up.zookeeper.connect, root: '', connectTimeoutMs: 60_000 });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** Nodes below a full path, itself included; 0 where it is not. */
export async function nodesAt(up: StackDescription, path: string): Promise<number> {
  return withZooKeeper(up, async (session) => ((await session.exists(path)) === undefined ? 0 : session.countTree(path)));
}

/**
 * The complete tree, a line a node: its path, who changed it last (mzxid), how often its children changed and how many there are. ZooKeeper's
 * own `/zookeeper` is left out.
 */
export async function wholeTree(up: StackDescription): Promise<string[]> {
  return withZooKeeper(up, async (session) => {
    const entries: ZnodeEntry[] = await session.listTree('/');
    return entries
      .filter(({ path }) => path !== '/' && path !== '/zookeeper' && !path.startsWith('/zookeeper/'))
      .map(({ path, stat }) => `${path} ${JSON.stringify(stat, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}`);
  });
}
