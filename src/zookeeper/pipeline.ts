import type { Connection } from './connection';
import { isLostReply, returnCode, ZooKeeperError } from './errors';
import type { NativeClient } from './native-client';

/** One request of many. */
export interface PipelinedRequest {
  /** Queues itself on `client` and gives the answer's return code to `answered`, once. Returns the client's own result: 0 when queued. */
  send: (client: NativeClient, answered: (rc: number) => void) => number;
  /**
   * Takes an answer of the server; a lost reply never gets here, the request is sent again instead. `repeated` says that that happened, so
   * that what it found done may have been its own doing. What it throws ends the pipeline.
   */
  done: (rc: number, repeated: boolean) => void;
}

export interface PipelineOptions {
  /** Requests without an answer at one time. */
  inFlight: number;
  /** No answer at all for this long, lost connections included, is an error. */
  patienceMs: number;
  signal: AbortSignal | undefined;
  /** Only while the session lives with which it began: what a dead session left unanswered is not sent again. @default false */
  oneSession?: boolean | undefined;
  /** Called before anything is sent: what it throws ends the pipeline. */
  mayGoOn?: (() => void) | undefined;
  /** The next request, or undefined while there is none: it is asked again after each answer. */
  next: () => PipelinedRequest | undefined;
  /** Called about twice a second while it runs. */
  onTick?: () => void;
}

const tickMs = 500;
/** How long a pipeline that failed waits for what is still in flight, so that nothing happens after it has said so. */
const drainMs = 5_000;

/**
 * Sends requests with many in flight over one connection, until `next` has none and all are answered.
 *
 * It goes on over lost connections and, unless told otherwise, expired sessions: what was not answered is sent again, so requests must be
 * repeatable.
 * On an error, or when the signal is aborted, nothing new is sent, what is in flight is waited for, and then it rejects.
 *
 * @throws ZooKeeperError `CONNECTION_LOSS` or `TIMEOUT` after `patienceMs` without any answer; whatever a `done` throws; the signal's reason
 */
export function runPipeline(connection: Connection, options: PipelineOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    new Pipeline(connection, options, resolve, reject).start();
  });
}

class Pipeline {
  readonly #repeat: PipelinedRequest[] = [];
  readonly #session: number;
  #waiting = 0;
  #lastAnswerAt = performance.now();
  #failure: { error: unknown; at: number } | undefined;
  #ended = false;
  #pumping = false;
  #timer: NodeJS.Timeout | undefined;
  #forget: (() => void) | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly options: PipelineOptions,
    private readonly resolve: () => void,
    private readonly reject: (error: unknown) => void,
  ) {
    this.#session = connection.sessions;
  }

  start(): void {
    this.#forget = this.connection.onChange(() => {
      this.#pump();
    });
    this.options.signal?.addEventListener('abort', this.#onAbort);
    this.#timer = setInterval(() => {
      this.#tick();
    }, tickMs);
    if (this.options.signal?.aborted === true) this.#onAbort();
    else this.#pump();
  }

  readonly #onAbort = (): void => {
    this.#fail(this.options.signal?.reason);
    this.#endWhenDone();
  };

  #pump(): void {
    // A callback may come while a request is being queued: the loop below goes on with it.
    if (this.#pumping || this.#ended) return;
    this.#pumping = true;
    try {
      this.#sendAll();
    } catch (error) {
      this.#fail(error);
    }
    this.#pumping = false;
    this.#endWhenDone();
  }

  #sendAll(): void {
    if (this.connection.fatal !== undefined) this.#fail(this.connection.fatal);
    if (this.options.oneSession === true && this.connection.sessions !== this.#session) this.#fail(this.#sessionEnded());
    if (this.#failure === undefined) this.options.mayGoOn?.();
    while (this.#waiting < this.options.inFlight && this.#failure === undefined) {
      const client = this.connection.client;
      if (client === undefined) return;
      const again = this.#repeat.pop();
      const request = again ?? this.options.next();
      if (request === undefined) return;
      this.#send(client, request, again !== undefined);
    }
  }

  #send(client: NativeClient, request: PipelinedRequest, repeated: boolean): void {
    this.#waiting += 1;
    const queued = this.connection.send(() =>
      request.send(client, (rc) => {
        this.#answered(request, rc, repeated);
      }),
    );
    if (queued !== returnCode.ok) this.#answered(request, queued, repeated);
  }

  #answered(request: PipelinedRequest, rc: number, repeated: boolean): void {
    this.#waiting -= 1;
    if (isLostReply(rc)) {
      this.#repeat.push(request);
    } else {
      this.#lastAnswerAt = performance.now();
      if (this.#failure === undefined) {
        try {
          request.done(rc, repeated);
        } catch (error) {
          this.#fail(error);
        }
      }
    }
    this.#pump();
  }

  #tick(): void {
    const now = performance.now();
    if (this.#failure === undefined && now - this.#lastAnswerAt > this.options.patienceMs) this.#fail(this.#silence());
    try {
      if (this.#failure === undefined) this.options.onTick?.();
    } catch (error) {
      this.#fail(error);
    }
    this.#pump();
  }

  #sessionEnded(): ZooKeeperError {
    return new ZooKeeperError('CONNECTION_LOSS', `the session at ${this.connection.servers} ended before everything was answered`);
  }

  #silence(): ZooKeeperError {
    const ms = String(this.options.patienceMs);
    return this.connection.client === undefined
      ? new ZooKeeperError('CONNECTION_LOSS', `ZooKeeper at ${this.connection.servers} did not come back within ${ms} ms: ${this.connection.lastFault}`)
      : new ZooKeeperError('TIMEOUT', `ZooKeeper at ${this.connection.servers} gave no answer within ${ms} ms`);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error, at: performance.now() };
  }

  #endWhenDone(): void {
    if (this.#ended) return;
    const drained = this.#waiting === 0;
    if (this.#failure === undefined) {
      if (!drained || this.#repeat.length > 0 || this.connection.client === undefined) return;
      this.#end();
      setImmediate(this.resolve);
    } else if (drained || performance.now() - this.#failure.at > drainMs) {
      this.#end();
      const { error } = this.#failure;
      setImmediate(() => {
        this.reject(error);
      });
    }
  }

  #end(): void {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#forget?.();
    this.options.signal?.removeEventListener('abort', this.#onAbort);
  }
}
