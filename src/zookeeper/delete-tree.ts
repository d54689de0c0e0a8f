import type { Connection } from './connection';
import { errorFromCode, returnCode, ZooKeeperError } from './errors';
import type { NativeStat } from './native-client';
import { type PipelinedRequest, runPipeline } from './pipeline';

export interface DeleteTreeProgress {
  /** Nodes deleted so far. */
  deleted: number;
  /** Over the time since the last report. */
  perSecond: number;
}

export interface DeleteTreeOptions {
  /** Requests without an answer at one time. @default 1024 */
  inFlight?: number;
  /** Called about twice a second, and once at the end. */
  onProgress?: (progress: DeleteTreeProgress) => void;
  /** Stops the deletion; the promise rejects with the signal's reason once nothing is in flight any more. */
  signal?: AbortSignal;
  /**
   * True for a node, named by its path below the top (`replicas/r1`), that stays with everything below it and the nodes above it.
   * @default none
   */
  keep?: (relativePath: string) => boolean;
  /** No answer at all for this long, lost connections included, is an error. @default twice the session timeout, at least 60000 */
  patienceMs?: number;
  /** Ends with the session with which it began (`CONNECTION_LOSS`) instead of going on with the next. @default false */
  oneSession?: boolean;
  /** Called before anything is sent; what it throws is what the deletion rejects with. */
  mayGoOn?: () => void;
}

export interface DeleteTreeResult {
  /** Nodes that were there and are not any more; without those that somebody else deleted meanwhile. */
  deleted: number;
  durationMs: number;
}

const defaultInFlight = 1024;
const defaultPatienceMs = 60_000;
/** Listings without an answer at one time: each may be of any size. */
const maxListings = 32;
/** Names that wait for their deletion, per level of the tree, above which no further node of that level is listed. */
const maxNames = 100_000;
/** Nodes that wait to be listed, per level, above which no further node is tried that might have to be. */
const maxUnlisted = 1_024;
/** How often a node is emptied before whatever fills it again is taken for a live replica. */
const maxRounds = 5;

/** A node that has children. */
interface Branch {
  readonly path: string;
  readonly parent: Branch | undefined;
  readonly level: number;
  names: string[];
  next: number;
  /** Children that were taken from `names` and are not done with. */
  pending: number;
  /** How often it was found filled again after it was emptied. */
  rounds: number;
  /** Something below it is kept, and so is it. */
  kept: boolean;
}

/**
 * Deletes a node and everything below it, children before parents, depth first, with many requests in flight.
 *
 * A node is deleted at once, and listed only when that fails for its children: nearly all nodes of a table are leaves. It holds no more
 * than a bounded number of names a level, and the largest single listings. It goes on over lost connections, expired sessions and restarts of the
 * server, and when it is started again after it died it finds what is left. `NONODE` counts as gone: whoever deleted it.
 *
 * Nodes that appear meanwhile are deleted too, unless they are ephemeral or keep appearing: then somebody is live, and it stops. Of the nodes
 * there from the start only those are looked at that ClickHouse makes ephemeral, such as `is_active`; the guard before it is the caller's.
 *
 * @param top full path, of at least one name, not below `/zookeeper`
 * @throws ZooKeeperError `LIVE` with the node, `NO_AUTH` with the node, `BAD_ARGUMENTS`, `CONNECTION_LOSS` or `TIMEOUT` after `patienceMs`
 *   without any answer; the signal's reason. What was deleted until then stays deleted.
 */
export async function deleteTree(connection: Connection, top: string, options: DeleteTreeOptions = {}): Promise<DeleteTreeResult> {
  if (top === '' || top === '/' || top === '/zookeeper' || top.startsWith('/zookeeper/')) {
    throw new ZooKeeperError('BAD_ARGUMENTS', `${top} is never deleted`, { path: top });
  }
  const startedAt = performance.now();
  const deletion = new Deletion(top, options);
  await runPipeline(connection, {
    inFlight: options.inFlight ?? defaultInFlight,
    patienceMs: options.patienceMs ?? defaultPatienceMs,
    signal: options.signal,
    oneSession: options.oneSession,
    mayGoOn: options.mayGoOn,
    next: () => deletion.next(),
    onTick: () => {
      deletion.report();
    },
  });
  if (!deletion.finished) throw new ZooKeeperError('OTHER', `the deletion of ${top} ended before it was done`, { path: top });
  deletion.report();
  return { deleted: deletion.deleted, durationMs: Math.round(performance.now() - startedAt) };
}

class Deletion {
  deleted = 0;
  /** The top is gone, or it is kept and all else is gone. */
  finished = false;
  /** Requests that are due now, before anything else: they free memory. */
  readonly #due: PipelinedRequest[] = [];
  readonly #levels: Level[] = [];
  readonly #relativeFrom: number;
  readonly #options: DeleteTreeOptions;
  #listings = 0;
  #reported = { deleted: 0, at: performance.now() };

  constructor(top: string, options: DeleteTreeOptions) {
    this.#options = options;
    this.#relativeFrom = top.length + 1;
    this.#level(0).unlisted.push(branch(top, undefined));
  }

  /** The next request, deepest level first, or undefined when nothing can be done before an answer comes, or ever. */
  next(): PipelinedRequest | undefined {
    const due = this.#due.pop();
    if (due !== undefined) return due;
    let names = 0;
    for (let depth = this.#levels.length - 1; depth >= 0; depth -= 1) {
      const level = this.#level(depth);
      names += level.names;
      if (level.unlisted.length > 0 && this.#listings < maxListings && names < maxNames) {
        const unlisted = level.unlisted.pop();
        if (unlisted !== undefined) return this.#list(unlisted);
      }
      if ((this.#levels[depth + 1]?.unlisted.length ?? 0) < maxUnlisted) {
        const child = this.#nextChild(level);
        if (child !== undefined) return child;
      }
    }
    return undefined;
  }

  report(): void {
    const now = performance.now();
    const seconds = (now - this.#reported.at) / 1_000;
    const perSecond = seconds > 0 ? Math.round((this.deleted - this.#reported.deleted) / seconds) : 0;
    this.#reported = { deleted: this.deleted, at: now };
    this.#options.onProgress?.({ deleted: this.deleted, perSecond });
  }

  #nextChild(level: Level): PipelinedRequest | undefined {
    for (;;) {
      const parent = level.open.at(-1);
      if (parent === undefined) return undefined;
      const name = parent.names[parent.next];
      if (name === undefined) {
        level.open.pop();
        parent.names = [];
        parent.next = 0;
        this.#finishWhenEmpty(parent);
        const due = this.#due.pop();
        if (due !== undefined) return due;
        continue;
      }
      parent.next += 1;
      level.names -= 1;
      const path = `${parent.path}/${name}`;
      if (this.#options.keep?.(path.slice(this.#relativeFrom)) === true) {
        parent.kept = true;
        continue;
      }
      parent.pending += 1;
      return parent.rounds > 0 || mayBeEphemeral(parent.path, name) ? this.#look(path, parent) : this.#deleteChild(path, parent);
    }
  }

  #deleteChild(path: string, parent: Branch): PipelinedRequest {
    return {
      send: (client, answered) => client.a_delete_(path, -1, answered),
      done: (rc, repeated) => {
        if (rc === returnCode.notEmpty) this.#level(parent.level + 1).unlisted.push(branch(path, parent));
        else this.#gone(rc, repeated, path, parent);
      },
    };
  }

  /** Deletes a child only when it is not ephemeral. */
  #look(path: string, parent: Branch): PipelinedRequest {
    let stat: NativeStat | null = null;
    return {
      send: (client, answered) =>
        client.a_exists(path, false, (rc, _error, nodeStat) => {
          stat = nodeStat;
          answered(rc);
        }),
      done: (rc) => {
        if (rc === returnCode.ok && stat?.ephemeralOwner === '0') this.#due.push(this.#deleteChild(path, parent));
        else if (rc === returnCode.ok) throw liveOwner(path);
        else this.#gone(rc, false, path, parent);
      },
    };
  }

  #list(unlisted: Branch): PipelinedRequest {
    let names: string[] | null = null;
    this.#listings += 1;
    return {
      send: (client, answered) => {
        if (unlisted.rounds > 0) {
          // The server we read from may lag behind the one that refused the deletion.
          const queued = client.a_sync(unlisted.path, () => undefined);
          if (queued !== returnCode.ok) return queued;
        }
        return client.a_get_children(unlisted.path, false, (rc, _error, children) => {
          names = children;
          answered(rc);
        });
      },
      done: (rc) => {
        this.#listings -= 1;
        if (rc !== returnCode.ok && rc !== returnCode.noNode) throw errorFromCode(rc, 'list', unlisted.path);
        const level = this.#level(unlisted.level);
        unlisted.names = names ?? [];
        unlisted.next = 0;
        level.names += unlisted.names.length;
        level.open.push(unlisted);
      },
    };
  }

  /** Deletes a branch whose children are all gone. */
  #deleteBranch(emptied: Branch): PipelinedRequest {
    return {
      send: (client, answered) => client.a_delete_(emptied.path, -1, answered),
      done: (rc, repeated) => {
        if (rc !== returnCode.notEmpty) {
          this.#gone(rc, repeated, emptied.path, emptied.parent);
          return;
        }
        emptied.rounds += 1;
        if (emptied.rounds > maxRounds) throw liveWriter(emptied.path);
        this.#level(emptied.level).unlisted.push(emptied);
      },
    };
  }

  #gone(rc: number, repeated: boolean, path: string, parent: Branch | undefined): void {
    // Not there after a lost reply: our own first attempt had deleted it.
    if (rc === returnCode.ok || (rc === returnCode.noNode && repeated)) this.deleted += 1;
    else if (rc !== returnCode.noNode) throw errorFromCode(rc, 'delete', path);
    this.#childDone(parent);
  }

  #childDone(parent: Branch | undefined): void {
    if (parent === undefined) {
      this.finished = true;
      return;
    }
    parent.pending -= 1;
    this.#finishWhenEmpty(parent);
  }

  #finishWhenEmpty(parent: Branch): void {
    // While it has names it stands in its level's `open`, and comes here again when it is taken out.
    if (parent.pending > 0 || parent.names.length > 0) return;
    if (!parent.kept) {
      this.#due.push(this.#deleteBranch(parent));
      return;
    }
    if (parent.parent !== undefined) parent.parent.kept = true;
    this.#childDone(parent.parent);
  }

  #level(depth: number): Level {
    return (this.#levels[depth] ??= { unlisted: [], open: [], names: 0 });
  }
}

/** What is known of one level of the tree. */
interface Level {
  /** Branches that are to be listed. */
  unlisted: Branch[];
  /** Branches with names that are still to be taken. */
  open: Branch[];
  /** The number of those names. */
  names: number;
}

function branch(path: string, parent: Branch | undefined): Branch {
  return { path, parent, level: parent === undefined ? 0 : parent.level + 1, names: [], next: 0, pending: 0, rounds: 0, kept: false };
}

/**
 * Whether ClickHouse creates a node of this name as an ephemeral one: the mark of an active replica, block numbers in use and locks
 * (`StorageReplicatedMergeTree.cpp`, `EphemeralLockInZooKeeper.cpp`, and zero-copy's exclusive lock).
 */
function mayBeEphemeral(parent: string, name: string): boolean {
  return (
    name === 'is_active' ||
    name === 'part_exclusive_lock' ||
    name.startsWith('block-') ||
    name.startsWith('abandonable_lock-') ||
    parent.endsWith('/leader_election')
  );
}

function liveOwner(path: string): ZooKeeperError {
  return new ZooKeeperError('LIVE', `${path} is ephemeral: a server whose session lives, or ended less than its timeout ago, uses this tree`, { path });
}

function liveWriter(path: string): ZooKeeperError {
  return new ZooKeeperError('LIVE', `${path} was emptied ${String(maxRounds)} times and still has children: something creates nodes there`, { path });
}
