import { looksLikeTop, refuseShape } from '../domain/guards';
import { ZooKeeperError } from '../zookeeper/errors';
import type { ZooKeeperSession } from '../zookeeper/session';

const AT_ONCE = 256;
/** So many nodes are listed at most. */
const MOST_LISTED = 50_000;

/** What was found around known paths. */
export interface PathSearch {
  /** Replicated tables by their path, with the names of their replicas. */
  readonly tables: ReadonlyMap<string, readonly string[]>;
  /** Why some of it was not seen, in words. */
  readonly unseen: readonly string[];
}

/** The node above; `/` above a node of the root. */
export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/**
 * Looks for replicated tables among the siblings of known paths, and among the children of their parents' siblings: where a path has a uuid
 * or a database before its end, the tables beside it are there. Bounded; `more` paths are looked at too. Only reads.
 */
export async function searchAround(zookeeper: ZooKeeperSession, known: Iterable<string>, more: Iterable<string>): Promise<PathSearch> {
  const search = new Search(zookeeper);
  const near = new Set([...known].map(parentOf));
  const far = new Set([...near].map(parentOf));
  // What lies directly above the root is everybody's.
  far.delete('/');
  await search.walk([...more], 0);
  await search.walk([...near], 1);
  await search.walk([...far], 2);
  const paths = [...search.tops];
  const tables = new Map<string, readonly string[]>();
  await inBatches(paths, async (path) => {
    tables.set(path, (await search.list(`${path}/replicas`)) ?? []);
  });
  return { tables, unseen: search.unseen() };
}

/** Runs `work` on each, so many at a time. */
export async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += AT_ONCE) await Promise.all(items.slice(at, at + AT_ONCE).map(work));
}

class Search {
  readonly tops = new Set<string>();
  private readonly seen = new Map<string, readonly string[] | undefined>();
  private readonly forbidden: string[] = [];
  private given = 0;

  constructor(private readonly zookeeper: ZooKeeperSession) {}

  /** Lists these nodes, and what is below them so many levels deep; below the top of a table or a database nothing. */
  async walk(paths: readonly string[], levels: number): Promise<void> {
    const below: string[] = [];
    await inBatches(paths, async (path) => {
      const children = (await this.list(path)) ?? [];
      if (looksLikeTop(children)) {
        if (refuseShape(children, false) === undefined) this.tops.add(path);
      } else if (levels > 0) {
        for (const child of children) below.push(path === '/' ? `/${child}` : `${path}/${child}`);
      }
    });
    if (below.length > 0) await this.walk(below, levels - 1);
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    if (this.seen.has(path)) return this.seen.get(path);
    if (this.seen.size >= MOST_LISTED) {
      this.given += 1;
      return undefined;
    }
    const children = await this.ask(path);
    this.seen.set(path, children);
    return children;
  }

  private async ask(path: string): Promise<readonly string[] | undefined> {
    try {
      return await this.zookeeper.children(path);
    } catch (error) {
      if (!(error instanceof ZooKeeperError) || error.code !== 'NO_AUTH') throw error;
      this.forbidden.push(path);
      return undefined;
    }
  }

  unseen(): string[] {
    const [first] = [...this.forbidden].sort();
    return [
      ...(first === undefined ? [] : [`${this.forbidden.length} node(s) beside its paths may not be read, such as ${first}`]),
      ...(this.given === 0 ? [] : [`there are more than ${MOST_LISTED} nodes beside its paths`]),
    ];
  }
}
