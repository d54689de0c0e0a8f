import { Connection } from './connection';
import { countTree, type CountTreeOptions } from './count-tree';
import { deleteTree, type DeleteTreeOptions, type DeleteTreeResult } from './delete-tree';
import { errorFromCode, isLostReply, returnCode, ZooKeeperError } from './errors';
import { listTree } from './list-tree';
import { ephemeralFlag, type NativeClient } from './native-client';
import { checkRoot, resolvePath } from './paths';
import { toStat, type ZnodeStat } from './stat';

export interface ZooKeeperOptions {
  /** `host:port[,host:port…]`, without a root. */
  connect: string;
  /** Put before every path: `''` or a path such as `/a/b`. It need not exist. */
  root: string;
  /** @default 30000 */
  sessionTimeoutMs?: number;
  /** How long one operation may take, with its retries over a lost connection. @default 15000 */
  operationTimeoutMs?: number;
  /** How long {@link ZooKeeperSession.open} may take. @default 10000 */
  connectTimeoutMs?: number;
  /** `user:password` for the digest scheme; in no log and no message. */
  digest?: string;
}

export interface ZnodeEntry {
  /** As seen from the session's root. */
  path: string;
  stat: ZnodeStat;
}

const defaults = { sessionTimeoutMs: 30_000, operationTimeoutMs: 15_000, connectTimeoutMs: 10_000 };

/** A data size from which a lost connection is taken for the server's answer to too large a packet (its default `jute.maxbuffer`). */
const defaultMaxPacketBytes = 0xfffff;

/**
 * A ZooKeeper session that outlives lost connections and, by opening a new one, its own expiry.
 *
 * Every operation ends within `operationTimeoutMs`: with an answer of the server, or with a {@link ZooKeeperError} that says that there
 * was none (`CONNECTION_LOSS`, `TIMEOUT`). All of them may be repeated, and are, while their reply was lost and time is left.
 * An absent node is `undefined`, and nothing else is.
 *
 * Reads may be answered by a server that lags behind the leader; call {@link sync} before one that a decision rests on
 * (https://zookeeper.apache.org/doc/current/zookeeperProgrammers.html#ch_zkGuarantees).
 */
export class ZooKeeperSession {
  readonly #connection: Connection;
  readonly #root: string;
  readonly #operationTimeoutMs: number;
  readonly #patienceMs: number;
  readonly #owned: boolean;

  private constructor(connection: Connection, options: { root: string; operationTimeoutMs: number; patienceMs: number; owned: boolean }) {
    checkRoot(options.root);
    this.#connection = connection;
    this.#root = options.root;
    this.#operationTimeoutMs = options.operationTimeoutMs;
    this.#patienceMs = options.patienceMs;
    this.#owned = options.owned;
  }

  /**
   * Opens a session.
   *
   * @throws ZooKeeperError `UNREACHABLE` within `connectTimeoutMs`, `NO_AUTH`, `BAD_ARGUMENTS`
   */
  static async open(options: ZooKeeperOptions): Promise<ZooKeeperSession> {
    checkRoot(options.root);
    const { sessionTimeoutMs, operationTimeoutMs, connectTimeoutMs } = { ...defaults, ...withoutUndefined(options) };
    const connection = new Connection({ connect: options.connect, sessionTimeoutMs, digest: options.digest });
    try {
      await connection.ready(connectTimeoutMs);
    } catch (error) {
      await connection.close();
      throw error;
    }
    const patienceMs = Math.max(60_000, 2 * sessionTimeoutMs);
    return new ZooKeeperSession(connection, { root: options.root, operationTimeoutMs, patienceMs, owned: true });
  }

  /** The same session seen from another root. Closing the view closes nothing. */
  withRoot(root: string): ZooKeeperSession {
    return new ZooKeeperSession(this.#connection, {
      root,
      operationTimeoutMs: this.#operationTimeoutMs,
      patienceMs: this.#patienceMs,
      owned: false,
    });
  }

  get root(): string {
    return this.#root;
  }

  /** What ended this session for good (closed, authentication refused), or undefined while it can be used. */
  get fatal(): ZooKeeperError | undefined {
    return this.#connection.fatal;
  }

  /** Makes the server we are connected to catch up with the leader: the reads that follow see all that was written before. */
  async sync(path: string): Promise<void> {
    await this.#run('sync', path, (client, full, settle) =>
      client.a_sync(full, (rc) => {
        if (rc === returnCode.ok || rc === returnCode.noNode) settle.done(undefined);
        else settle.failed(rc);
      }),
    );
  }

  /** The node's stat; undefined only when there is no such node. */
  exists(path: string): Promise<ZnodeStat | undefined> {
    return this.#run('look at', path, (client, full, settle) =>
      client.a_exists(full, false, (rc, _error, stat) => {
        if (rc === returnCode.ok && stat !== null) settle.done(toStat(stat));
        else if (rc === returnCode.noNode) settle.done(undefined);
        else settle.failed(rc);
      }),
    );
  }

  /** The node's data (empty when it has none) and stat; undefined only when there is no such node. */
  get(path: string): Promise<{ data: Buffer; stat: ZnodeStat } | undefined> {
    return this.#run('read', path, (client, full, settle) =>
      client.a_get(full, false, (rc, _error, stat, data) => {
        if (rc === returnCode.ok && stat !== null) settle.done({ data: data ?? Buffer.alloc(0), stat: toStat(stat) });
        else if (rc === returnCode.noNode) settle.done(undefined);
        else settle.failed(rc);
      }),
    );
  }

  /** The names of the node's children, in no order; undefined only when there is no such node. */
  children(path: string): Promise<string[] | undefined> {
    return this.#run('list', path, (client, full, settle) =>
      client.a_get_children(full, false, (rc, _error, children) => {
        if (rc === returnCode.ok && children !== null) settle.done(children);
        else if (rc === returnCode.noNode) settle.done(undefined);
        else settle.failed(rc);
      }),
    );
  }

  /**
   * Creates a node, open to everybody (the package can set no other access list at creation).
   *
   * @returns `exists` also when the reply to our own creation was lost
   * @throws ZooKeeperError `NO_NODE` when the parent is missing, `PACKET_TOO_BIG`
   */
  create(path: string, data: Buffer | string = '', options: { ephemeral?: boolean } = {}): Promise<'created' | 'exists'> {
    const flags = options.ephemeral === true ? ephemeralFlag : 0;
    return this.#run(
      'create',
      path,
      (client, full, settle) =>
        client.a_create(full, data, flags, (rc) => {
          if (rc === returnCode.ok) settle.done('created');
          else if (rc === returnCode.nodeExists) settle.done('exists');
          else settle.failed(rc);
        }),
      Buffer.byteLength(data),
    );
  }

  /** Creates the node and whatever is missing above it, the session's root included. */
  async ensurePath(path: string): Promise<void> {
    const full = resolvePath(this.#root, path);
    const top = this.withRoot('');
    const missing: string[] = [];
    for (let at = full; at !== '/' && (await top.exists(at)) === undefined; at = parentOf(at)) missing.push(at);
    for (const at of missing.reverse()) await top.create(at);
  }

  /** @throws ZooKeeperError `NO_NODE`, `PACKET_TOO_BIG` */
  async set(path: string, data: Buffer | string): Promise<void> {
    await this.#run(
      'write',
      path,
      (client, full, settle) =>
        client.a_set(full, data, -1, (rc) => {
          if (rc === returnCode.ok) settle.done(undefined);
          else settle.failed(rc);
        }),
      Buffer.byteLength(data),
    );
  }

  /**
   * Deletes one node.
   *
   * @param version only when the node has this version. @default any
   * @returns `absent` also when the reply to our own deletion was lost
   * @throws ZooKeeperError `BAD_VERSION`
   */
  delete(path: string, version = -1): Promise<'deleted' | 'absent' | 'not-empty'> {
    return this.#run('delete', path, (client, full, settle) =>
      client.a_delete_(full, version, (rc) => {
        if (rc === returnCode.ok) settle.done('deleted');
        else if (rc === returnCode.noNode) settle.done('absent');
        else if (rc === returnCode.notEmpty) settle.done('not-empty');
        else settle.failed(rc);
      }),
    );
  }

  /** The number of nodes in the tree, its top included; 0 when there is none; not above `limit`, where the count stops. */
  async countTree(path: string, options: CountTreeOptions = {}): Promise<number> {
    return await countTree(this.#connection, resolvePath(this.#root, path), options, this.#patienceMs);
  }

  /** Every node of the tree with its stat, sorted by path; empty only when there is none. Not a snapshot of one moment. */
  async listTree(path: string): Promise<ZnodeEntry[]> {
    const entries = await listTree(this.#connection, resolvePath(this.#root, path), this.#patienceMs);
    for (const entry of entries) entry.path = entry.path.slice(this.#root.length) || '/';
    return entries;
  }

  /** Deletes the node and everything below it; see {@link deleteTree}. */
  async deleteTree(path: string, options: DeleteTreeOptions = {}): Promise<DeleteTreeResult> {
    if (path === '' || path === '/') throw new ZooKeeperError('BAD_ARGUMENTS', 'the root itself is never deleted', { path });
    return await deleteTree(this.#connection, resolvePath(this.#root, path), { patienceMs: this.#patienceMs, ...options });
  }

  /** Ends the session, or, for a view made by {@link withRoot}, nothing. Always returns. */
  async close(): Promise<void> {
    if (this.#owned) await this.#connection.close();
  }

  async #run<T>(what: string, path: string, issue: Issue<T>, dataBytes = 0): Promise<T> {
    const full = resolvePath(this.#root, path);
    const deadline = performance.now() + this.#operationTimeoutMs;
    for (let lost = 0; ; ) {
      const client = await this.#connected(what, full, deadline, lost > 0);
      const answer = await once(this.#connection, client, full, issue, deadline - performance.now());
      if ('value' in answer) return answer.value;
      if (answer.rc === undefined) {
        throw new ZooKeeperError('TIMEOUT', `${what} ${full}: no answer within ${String(this.#operationTimeoutMs)} ms`, { path: full });
      }
      if (!isLostReply(answer.rc)) throw errorFromCode(answer.rc, what, full);
      lost += 1;
      if (lost >= 2 && dataBytes + full.length >= defaultMaxPacketBytes - 100) throw tooBig(what, full, dataBytes);
    }
  }

  async #connected(what: string, full: string, deadline: number, wasLost: boolean): Promise<NativeClient> {
    try {
      return await this.#connection.ready(Math.max(0, deadline - performance.now()));
    } catch (error) {
      if (!(error instanceof ZooKeeperError) || error.code !== 'UNREACHABLE') throw error;
      const outcome = wasLost ? 'the connection was lost while it ran' : 'there is no connection';
      throw new ZooKeeperError('CONNECTION_LOSS', `${what} ${full}: ${outcome}, and none came back within ${String(this.#operationTimeoutMs)} ms`, {
        path: full,
        cause: error,
      });
    }
  }
}

interface Settle<T> {
  done: (value: T) => void;
  failed: (rc: number) => void;
}

type Issue<T> = (client: NativeClient, full: string, settle: Settle<T>) => number;

/** One request: its value, its return code, or no code when there was no answer in time. */
function once<T>(
  connection: Connection,
  client: NativeClient,
  full: string,
  issue: Issue<T>,
  timeoutMs: number,
): Promise<{ value: T } | { rc: number | undefined }> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve({ rc: undefined });
    }, Math.max(0, timeoutMs));
    const settle = (answer: { value: T } | { rc: number }): void => {
      clearTimeout(timer);
      // Not at once: see the note on lost replies at Connection.
      if ('value' in answer) resolve(answer);
      else setImmediate(resolve, answer);
    };
    const queued = connection.send(() =>
      issue(client, full, {
        done: (value) => {
          settle({ value });
        },
        failed: (rc) => {
          settle({ rc });
        },
      }),
    );
    if (queued !== returnCode.ok) settle({ rc: queued });
  });
}

function tooBig(what: string, path: string, bytes: number): ZooKeeperError {
  return new ZooKeeperError(
    'PACKET_TOO_BIG',
    `${what} ${path}: the server closed the connection on a request of ${String(bytes)} bytes; raise jute.maxbuffer (Java system property, 1048575 by default) on every server of the ensemble`,
    { path },
  );
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T;
}
