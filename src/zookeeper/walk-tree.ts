import type { Connection } from './connection';
import { errorFromCode, returnCode } from './errors';
import type { NativeStat } from './native-client';
import { type PipelinedRequest, runPipeline } from './pipeline';

export interface WalkTreeOptions {
  patienceMs: number;
  signal: AbortSignal | undefined;
  /** Called once for each node, in no order; with its stat only where `withStat` asks for it. Returns false to end the walk. */
  onNode: (path: string, stat: NativeStat | null) => boolean;
  /** The binding takes longer to make a stat than the server to answer. */
  withStat: boolean;
}

const inFlight = 512;

/** The children of one node that are still to be visited. */
interface Listing {
  prefix: string;
  names: string[];
  next: number;
}

/**
 * Visits every node of a tree, depth first, with many requests in flight. Nodes that vanish meanwhile are left out.
 *
 * @throws ZooKeeperError `NO_AUTH` for a node that may not be read, and what {@link runPipeline} throws
 */
export async function walkTree(connection: Connection, top: string, options: WalkTreeOptions): Promise<void> {
  const listings: Listing[] = [{ prefix: top, names: [''], next: 0 }];
  let stopped = false;

  const takePath = (): string | undefined => {
    for (;;) {
      const listing = listings.at(-1);
      if (listing === undefined) return undefined;
      const name = listing.names[listing.next];
      if (name === undefined) {
        listings.pop();
        continue;
      }
      listing.next += 1;
      return listing.prefix + name;
    }
  };

  await runPipeline(connection, {
    inFlight,
    patienceMs: options.patienceMs,
    signal: options.signal,
    next: () => {
      const path = stopped ? undefined : takePath();
      return path === undefined ? undefined : visit(path);
    },
  });

  function visit(path: string): PipelinedRequest {
    let names: string[] | null = null;
    let stat: NativeStat | null = null;
    return {
      send: (client, answered) => {
        const take = (rc: number, _error: string, children: string[] | null, nodeStat: NativeStat | null = null): void => {
          names = children;
          stat = nodeStat;
          answered(rc);
        };
        return options.withStat ? client.a_get_children2(path, false, take) : client.a_get_children(path, false, take);
      },
      done: (rc) => {
        if (rc === returnCode.noNode || stopped) return;
        if (rc !== returnCode.ok || names === null) throw errorFromCode(rc, 'list', path);
        stopped = !options.onNode(path, stat);
        if (names.length > 0) listings.push({ prefix: path === '/' ? '/' : `${path}/`, names, next: 0 });
      },
    };
  }
}
