import { readFileSync } from 'node:fs';

import { ClickHouseError, createClient, type ClickHouseClient, type ClickHouseSettings } from '@clickhouse/client';

import type { HostTarget } from '../activities/types';
import { MigrationError } from '../domain/failure';
import { clickHouseCode, toMigrationError } from './errors';
import { eachLine } from './lines';
import { REFUSED, settingsToPin } from './pinned-settings';

export interface StatementOptions {
  /** Values of `{name:Type}` in the text. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** A statement with this id that still runs is found in `system.processes`. */
  readonly queryId?: string;
  readonly settings?: ClickHouseSettings;
  /** How long the answer is waited for; the statement itself may go on. @default 30000 */
  readonly timeoutMs?: number;
  /** What is being done, for the error's words. */
  readonly doing: string;
  /** Called right before it is sent, of {@link ClickHouseHost.run}; nothing is sent where it throws. */
  readonly before?: () => void;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** An answer longer than this is not for us: whoever speaks there is not asked again. */
const LARGEST_ANSWER_BYTES = 256 * 1024 * 1024;
/** Of an answer that is read line by line. */
const LONGEST_LINE_BYTES = 64 * 1024;

/**
 * One ClickHouse server over its HTTP interface. Errors are {@link MigrationError}s, classified by the server's code. Whatever the user's
 * profile says, statements run with the settings of pinned-settings.ts.
 */
export class ClickHouseHost {
  private readonly client: ClickHouseClient;
  private pinned: Promise<ClickHouseSettings> | undefined;

  /** @param password the secret itself; it goes into no message */
  constructor(
    readonly target: HostTarget,
    password: string | undefined,
  ) {
    this.client = createClient({
      url: target.url,
      username: target.user,
      password: password ?? '',
      request_timeout: 24 * 3_600_000,
      max_open_connections: 64,
      keep_alive: { enabled: true, idle_socket_ttl: 2_000 },
      application: 'ch-zk-migrate',
      log: { level: 127 },
      ...tlsOptions(target),
    });
  }

  get name(): string {
    return this.target.name;
  }

  /** Rows of a SELECT as objects; UInt64 and wider come as strings. */
  async select<T>(query: string, options: StatementOptions): Promise<T[]> {
    return this.ask(`${query}\nFORMAT JSON`, options);
  }

  /** Rows of a statement that takes no FORMAT, as `CHECK GRANT`: the format goes beside it. */
  async ask<T>(query: string, options: StatementOptions): Promise<T[]> {
    return this.guarded(options, async (signal, pinned) => {
      const { stream } = await this.client.exec({ query, abort_signal: signal, ...common(options, { ...pinned, default_format: 'JSON' }) });
      return parseRows<T>(await wholeAnswer(stream));
    });
  }

  /**
   * The numbers of a SELECT of one column, whole ones of at most 53 bits, each given to `take` as it comes: the answer may be longer than what
   * {@link select} takes.
   */
  async numbers(query: string, options: StatementOptions, take: (value: number) => void): Promise<void> {
    await this.guarded(options, async (signal, pinned) => {
      const { stream } = await this.client.exec({ query: `${query}\nFORMAT JSONCompact`, abort_signal: signal, ...common(options, pinned) });
      await takeNumbers(stream, take);
    });
  }

  /** A statement whose answer is of no interest. */
  async run(query: string, options: StatementOptions): Promise<void> {
    await this.guarded(options, async (signal, pinned) => {
      options.before?.();
      await this.client.command({ query, abort_signal: signal, ...common(options, pinned) });
    });
  }

  /** Rows in one INSERT, so that all of them are stored or none. */
  async insert(table: string, rows: readonly object[], options: StatementOptions): Promise<void> {
    await this.guarded(options, async (signal, pinned) => {
      await this.client.insert({
        table,
        values: rows,
        format: 'JSONEachRow',
        abort_signal: signal,
        ...common(options, pinned),
      });
    });
  }

  async close(): Promise<void> {
    await this.client.close();
  }

  /** What every statement is sent with; asked for at the first one, and again after a statement that was refused for its settings. */
  private pins(doing: string): Promise<ClickHouseSettings> {
    this.pinned ??= settingsToPin((settings) => this.probe(settings, doing), this.name, this.target.user).catch((error: unknown) => {
      this.pinned = undefined;
      throw error;
    });
    return this.pinned;
  }

  private async probe(settings: ClickHouseSettings, doing: string): Promise<void> {
    const signal = AbortSignal.timeout(DEFAULT_TIMEOUT_MS);
    try {
      const { stream } = await this.client.exec({ query: 'SELECT 1', abort_signal: signal, clickhouse_settings: settings });
      await wholeAnswer(stream);
    } catch (error) {
      throw toMigrationError(error, this.name, doing);
    }
  }

  private async guarded<T>(options: StatementOptions, work: (signal: AbortSignal, pinned: ClickHouseSettings) => Promise<T>): Promise<T> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      controller.abort();
    }, timeoutMs);
    try {
      const pinned = await orAborted(this.pins(options.doing), controller.signal);
      return await work(controller.signal, pinned);
    } catch (error) {
      // The server, or the user's profile, is another than it was when it was asked what it knows.
      if (REFUSED.has(clickHouseCode(error) ?? 0)) this.pinned = undefined;
      if (controller.signal.aborted && !(error instanceof ClickHouseError)) {
        throw new MigrationError('HOST_UNREACHABLE', `${this.name}: no answer in ${timeoutMs} ms while ${options.doing}`, {
          cause: error,
        });
      }
      throw toMigrationError(error, this.name, options.doing);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(new Error('it was waited long enough'));
    });
    promise.then(resolve, reject);
  });
}

/** The answer's text; one that does not end is cut off before it fills the memory. */
async function wholeAnswer(stream: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    if (bytes > LARGEST_ANSWER_BYTES) throw new Error(`an answer of more than ${LARGEST_ANSWER_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString();
}

function common(
  options: StatementOptions,
  settings: ClickHouseSettings,
): { query_params?: Record<string, unknown>; query_id?: string; clickhouse_settings: ClickHouseSettings } {
  return {
    ...(options.params === undefined ? {} : { query_params: { ...options.params } }),
    ...(options.queryId === undefined ? {} : { query_id: options.queryId }),
    clickhouse_settings: { ...settings, ...options.settings },
  };
}

/** One whole JSON document with its own row count: half an answer is a fault, never fewer rows. */
function parseRows<T>(text: string): T[] {
  const document = JSON.parse(text) as { readonly data?: T[]; readonly rows?: number | string };
  if (!Array.isArray(document.data) || Number(document.rows) !== document.data.length) {
    throw new Error('what answered does not speak as ClickHouse does');
  }
  return document.data;
}

/** The rows of a document of {@link parseRows}' kind, line by line; its own row count comes last. */
async function takeNumbers(stream: AsyncIterable<unknown>, take: (value: number) => void): Promise<void> {
  let taken = 0;
  let rows: number | undefined;
  await eachLine(stream, LONGEST_LINE_BYTES, (line) => {
    const text = line.toString();
    const value = /^\s*\["?(\d+)"?\],?$/u.exec(text)?.[1];
    if (value !== undefined && rows === undefined) {
      taken += 1;
      take(Number(value));
      return;
    }
    const count = /^\s*"rows": (\d+)/u.exec(text)?.[1];
    if (count !== undefined) rows = Number(count);
  });
  if (rows !== taken) throw new Error('what answered does not speak as ClickHouse does');
}

function tlsOptions(target: HostTarget): { tls?: never } {
  if (target.tls === undefined) return {};
  const { ca, cert, key } = target.tls;
  const read = (path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new MigrationError('UNSUPPORTED', `${target.name}: the TLS file ${path} cannot be read`, { cause: error });
    }
  };
  const tls = {
    ...(ca === undefined ? {} : { ca_cert: read(ca) }),
    ...(cert === undefined ? {} : { cert: read(cert) }),
    ...(key === undefined ? {} : { key: read(key) }),
  };
  return { tls: tls as never };
}
