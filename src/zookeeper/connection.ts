import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ZooKeeperError } from './errors';
import { createNativeClient, isCutOff, type NativeClient } from './native-client';

export interface ConnectionOptions {
  /** `host:port[,host:port…]`, without a root. */
  connect: string;
  sessionTimeoutMs: number;
  /** `user:password`; never logged, in no message. */
  digest: string | undefined;
}

/** How often an attempt is looked at: the client tells of no failure before it is connected, and must then be closed soon. */
const attemptPollMs = 2;
/** An attempt gets this long, then twice as long after each round of all servers. */
const firstAttemptMs = 1_000;
const longestAttemptMs = 8_000;
const firstPauseMs = 25;
const longestPauseMs = 500;

/** `ZOO_AUTH_FAILED_STATE` and `ZOO_EXPIRED_SESSION_STATE`, the codes of a `close` event (zookeeper.h). */
const authFailedState = -113;

interface Waiter {
  resolve: (client: NativeClient) => void;
  reject: (error: Error) => void;
}

/**
 * A client that stays connected: it reconnects with the same session while that lives, and opens a new one when it has expired.
 *
 * The package's own reconnecting is not used. After a refused connection its client waits for a timer that may be a third of the
 * session timeout away, or, when it was never connected, for nothing at all; so a client that lost its connection is thrown away, and the
 * next one takes over its session by id and password. Host names are resolved here, once an attempt, because the C client resolves
 * them again, blocking, after every single answer (`zookeeper_interest` calls `update_addrs`, whose delay the package cannot set).
 *
 * When the client finds its connection broken, it closes the socket and only later takes it off the event loop, by its number. Whoever was
 * given the same number meanwhile has the process aborted or is never told of its data again (both seen). So a client is closed as
 * soon as it tells of the loss; no promise is settled by a lost reply before the next turn of the loop (`setImmediate`);
 * because a refused connection is not told of, a server is tried with an ordinary socket first; and because a connection that broke
 * under a request is not told of either, the client is looked at after each.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #servers: readonly Server[];
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<() => void>();
  /** The client in use; set only while it is connected. */
  #client: NativeClient | undefined;
  /** The one before, when it lost its connection while a request was handed to it. */
  #stale: NativeClient | undefined;
  #sending = false;
  #session: { id: string; password: string } | undefined;
  #nextServer = 0;
  #connecting: Promise<void> | undefined;
  #closed = false;
  readonly #stop = new AbortController();
  #fatal: ZooKeeperError | undefined;
  #lastFault = 'nothing answered';
  #sessions = 0;

  /** @throws ZooKeeperError `BAD_ARGUMENTS` for a connect string that cannot be read */
  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#servers = parseConnect(options.connect);
    this.#nextServer = Math.floor(Math.random() * this.#servers.length);
    this.#startConnecting();
  }

  /** The servers, for messages. */
  get servers(): string {
    return this.#servers.map((server) => server.text).join(',');
  }

  /** Counts the sessions opened: a change means that ephemeral nodes of the one before are gone. */
  get sessions(): number {
    return this.#sessions;
  }

  /** The connected client, or undefined while there is none. Never keep it over an await. */
  get client(): NativeClient | undefined {
    return this.#client;
  }

  /** What stands in the way of a connection for good: closed, or authentication refused. */
  get fatal(): ZooKeeperError | undefined {
    return this.#fatal;
  }

  /** Why there is no connection, in words. */
  get lastFault(): string {
    return this.#lastFault;
  }

  /** Calls `listener` whenever the connection is there again, or is so no more for good; returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The connected client, waited for up to `timeoutMs`.
   *
   * @throws ZooKeeperError `UNREACHABLE`, `NO_AUTH` or, after {@link close}, `BAD_ARGUMENTS`
   */
  ready(timeoutMs: number): Promise<NativeClient> {
    if (this.#fatal !== undefined) return Promise.reject(this.#fatal);
    if (this.#client !== undefined) return Promise.resolve(this.#client);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (client) => {
          clearTimeout(timer);
          resolve(client);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(new ZooKeeperError('UNREACHABLE', `ZooKeeper at ${this.servers} could not be reached within ${String(timeoutMs)} ms: ${this.#lastFault}`));
      }, timeoutMs);
      this.#waiters.add(waiter);
    });
  }

  /**
   * Hands a request to the client by `issue`, which returns the client's own result: 0 when it was queued. Every
   * request goes this way, so that a connection found broken by sending is cleaned up before any other code runs.
   */
  send(issue: () => number): number {
    this.#sending = true;
    const queued = issue();
    this.#sending = false;
    const stale = this.#stale;
    this.#stale = undefined;
    stale?.close();
    const client = this.#client;
    if (client !== undefined && isCutOff(client)) {
      this.#lastFault = 'the connection was lost';
      this.#lose(client);
    }
    return queued;
  }

  /**
   * Ends the session. Returns always: the C client gives the server up to 1.5 s for its goodbye, and blocks for that long when the
   * server does not answer.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop.abort();
    this.#fail(new ZooKeeperError('BAD_ARGUMENTS', 'this ZooKeeper session was closed by its owner'));
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) {
      // We may be inside one of its callbacks.
      await new Promise((resolve) => setImmediate(resolve));
      client.close();
    }
    await this.#connecting;
  }

  #startConnecting(): void {
    if (this.#client !== undefined || this.#connecting !== undefined || this.#closed || this.#fatal !== undefined) return;
    this.#connecting = this.#connectUntilDone().finally(() => {
      this.#connecting = undefined;
      // The new client may be lost again before we are here.
      this.#startConnecting();
    });
  }

  async #connectUntilDone(): Promise<void> {
    // The client itself gives up after two thirds of the session timeout; we must be first.
    const longest = Math.min(longestAttemptMs, this.#options.sessionTimeoutMs / 2);
    let attemptMs = Math.min(firstAttemptMs, longest);
    for (let attempt = 0; !this.#closed && this.#fatal === undefined; attempt += 1) {
      if (await this.#attempt(attemptMs).catch(() => this.#failed('the client could not be started'))) return;
      if ((attempt + 1) % this.#servers.length === 0) attemptMs = Math.min(attemptMs * 2, longest);
      await this.#pause(Math.min(firstPauseMs * 2 ** attempt, longestPauseMs));
    }
  }

  /** One try on one server. True when it gave us a session, which may be over again already. */
  async #attempt(timeoutMs: number): Promise<boolean> {
    const server = this.#servers[this.#nextServer % this.#servers.length];
    this.#nextServer += 1;
    if (server === undefined) return false;
    const address = await this.#resolve(server, timeoutMs);
    if (address === undefined || !(await this.#listens(server, address, timeoutMs)) || this.#closed) return false;

    let outcome: 'open' | 'failed' | undefined;
    // Assigned once, but asked for before: events may come while it is made.
    // eslint-disable-next-line prefer-const
    let client: NativeClient | undefined;
    const lost = (): void => {
      outcome ??= 'failed';
      if (client !== undefined) this.#lose(client);
    };
    client = createNativeClient({
      onConnect: () => {
        if (client === undefined || outcome !== undefined) return;
        if (this.#options.digest === undefined) {
          outcome = 'open';
          this.#opened(client);
          return;
        }
        const current = client;
        const queued = client.add_auth('digest', this.#options.digest, (rc) => {
          if (outcome !== undefined || rc !== 0) {
            outcome ??= 'failed';
            return;
          }
          outcome = 'open';
          this.#opened(current);
        });
        if (queued !== 0) outcome = 'failed';
      },
      onConnecting: () => {
        this.#lastFault = `the connection to ${server.text} was lost`;
        lost();
      },
      onClose: (code) => {
        if (code === authFailedState) {
          const refused = new ZooKeeperError('NO_AUTH', `ZooKeeper at ${server.text} refused the authentication`);
          setImmediate(() => {
            this.#fail(refused);
          });
        } else if (code !== 0) {
          this.#session = undefined;
          this.#lastFault = 'the session has expired';
        }
        lost();
      },
    });
    const started = client.init({
      connect: `${address}:${server.port}`,
      timeout: this.#options.sessionTimeoutMs,
      debug_level: 0,
      host_order_deterministic: true,
      // A large answer arrives in many pieces; the package takes more than ten of them (its default) for a dead connection.
      response_counter_limit: 2 ** 31 - 1,
      ...(this.#session && { client_id: this.#session.id, client_password: this.#session.password }),
    });
    if (started instanceof Error) return this.#failed(`${server.text} could not be used`);

    const deadline = performance.now() + timeoutMs;
    // Written by the events above, which the compiler does not see.
    while ((outcome as string | undefined) === undefined && !this.#closed) {
      await this.#pause(attemptPollMs);
      if (isCutOff(client)) {
        this.#lastFault = `${server.text} closed the connection`;
        break;
      }
      if (performance.now() > deadline) {
        this.#lastFault = `${server.text} did not answer`;
        break;
      }
    }
    if ((outcome as string | undefined) === 'open' && !this.#closed) return true;
    outcome = 'failed';
    client.close();
    return false;
  }

  /** Whether anything accepts a connection there. */
  async #listens(server: Server, address: string, timeoutMs: number): Promise<boolean> {
    const socket = net.connect({ host: address, port: Number(server.port) }).on('error', () => undefined);
    try {
      await once(socket, 'connect', { signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#stop.signal]) });
      return true;
    } catch (error) {
      const refused = error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
      return this.#failed(refused ? `${server.text} refused the connection` : `${server.text} did not accept a connection`);
    } finally {
      socket.destroy();
    }
  }

  #failed(fault: string): false {
    this.#lastFault = fault;
    return false;
  }

  /** Sleeps, but not over a close. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }

  /** An address of a server, another one each time, or undefined when its name cannot be resolved in time. */
  async #resolve(server: Server, timeoutMs: number): Promise<string | undefined> {
    if (net.isIP(server.host) !== 0) return server.host;
    const answered = new AbortController();
    const signal = AbortSignal.any([answered.signal, this.#stop.signal]);
    try {
      const addresses = await Promise.race([lookup(server.host, { all: true }), sleep(timeoutMs, [], { signal }).catch(() => [])]);
      if (addresses.length > 0) return addresses[this.#nextServer % addresses.length]?.address;
      this.#lastFault = `the name ${server.host} was not resolved in time`;
    } catch {
      this.#lastFault = `the name ${server.host} cannot be resolved`;
    } finally {
      answered.abort();
    }
    return undefined;
  }

  /**
   * Takes a client out of use that lost its connection. The client may be closed from within this event, as the package does itself
   * when a session has expired, but not from within a call to it, which goes on to use what closing frees.
   */
  #lose(client: NativeClient): void {
    if (this.#client === client) this.#client = undefined;
    if (this.#sending) this.#stale = client;
    else client.close();
    setImmediate(() => {
      this.#startConnecting();
    });
  }

  #opened(client: NativeClient): void {
    if (this.#closed) return;
    if (this.#session?.id !== client.client_id) this.#sessions += 1;
    this.#session = { id: client.client_id, password: client.client_password };
    this.#client = client;
    for (const waiter of this.#waiters) waiter.resolve(client);
    this.#waiters.clear();
    this.#notify();
  }

  #fail(error: ZooKeeperError): void {
    this.#fatal ??= error;
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters.clear();
    this.#notify();
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

interface Server {
  text: string;
  host: string;
  port: string;
}

/**
 * Reads `host:port[,host:port…]`; the port may be left out (2181), an IPv6 address stands in brackets.
 *
 * @throws ZooKeeperError `BAD_ARGUMENTS`
 */
function parseConnect(connect: string): Server[] {
  return connect.split(',').map((part) => {
    const text = part.trim();
    const match = /^(?:\[(?<v6>[0-9a-fA-F:.%]+)\]|(?<name>[^\s:/[\]@]+))(?::(?<port>\d{1,5}))?$/u.exec(text);
    const host = match?.groups?.['v6'] ?? match?.groups?.['name'];
    const port = match?.groups?.['port'] ?? '2181';
    if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
      throw new ZooKeeperError('BAD_ARGUMENTS', `${JSON.stringify(text)} is not a ZooKeeper server: expected host:port, without a root`);
    }
    return { text, host, port };
  });
}
