import path from 'node:path';
import type { Session } from 'chdb';
import { quoteIdentifier, quoteString } from '../sql-text';
import { ID_SETTING } from './rewrite';

/**
 * The embedded ClickHouse engine of this process, one connection a statement.
 *
 * Statements on one connection wait for each other, and its settings, parameters and database stay
 * set; connections are cheap (about 0.5 ms) and run side by side as far as libuv's pool has
 * threads (`UV_THREADPOOL_SIZE`). Source: https://github.com/chdb-io/chdb-node, and measured.
 */
export interface Engine {
  run(statement: Statement): Promise<EngineResult>;
  /** Releases the data directory; statements that still run are waited for by the engine. */
  close(): void;
}

export interface Statement {
  sql: string;
  /** Bytes after the statement: the data of an INSERT. */
  data?: Buffer;
  insert: boolean;
  queryId: string;
  format: string;
  database?: string;
  /** ClickHouse settings, and query parameters as `param_<name>`. */
  settings: Readonly<Record<string, string>>;
  /** Rights: the role whose grants hold for this statement. */
  role?: string;
}

export interface EngineResult {
  bytes: Uint8Array;
  rowsRead: number;
  bytesRead: number;
  rowsWritten: number;
  /** Seconds in the engine. */
  elapsed: number;
}

/** A statement the engine refused, with its own code and text: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: number;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = Number(/Code: (\d+)/.exec(message)?.[1] ?? 1002);
  }
}

/** A thread of the engine has crashed and the engine takes no more statements: a server's process would be gone. */
export function isFatal(error: EngineError): boolean {
  return error.code === 236 && error.message.includes('shutting down due to a fatal error');
}

/** The part of chdb's native addon that takes the data of an INSERT as bytes. */
interface Native {
  InsertRawAsyncConnection(
    connection: unknown,
    prefix: string,
    data: Buffer,
    countLines: boolean,
  ): Promise<{ elapsed: number; rowsWritten: number; bytesWritten: number }>;
}

export type Chdb = typeof import('chdb');

/**
 * Loads the engine's package. It is a development dependency, so it may be missing.
 *
 * @throws Error saying in one line how to get it
 */
export async function loadChdb(): Promise<Chdb> {
  try {
    return await import('chdb');
  } catch (error) {
    throw new Error(
      'the embedded ClickHouse engine (npm package chdb) is not installed: it comes with a clone of the repository after `npm ci`',
      { cause: error },
    );
  }
}

/**
 * Opens the engine on a data directory.
 *
 * @param configFile ClickHouse's main configuration file; `config.d` beside it is merged in
 * @throws Error when the directory is in use, or the configuration is bad
 */
export function openEngine(chdb: Chdb, dataDir: string, configFile: string): Engine {
  // The logger's level in the configuration file is ignored: without the argument it is `trace`.
  const root = new chdb.Session(dataDir, { connectionArgs: [`--config-file=${configFile}`, '--log-level=information'] });
  const native = loadNative();
  return {
    run: async (statement) => {
      const connection = new chdb.Session(dataDir, { connectionArgs: [`--${ID_SETTING}=${statement.queryId}`] });
      try {
        return await runOn(connection, native, statement);
      } catch (error) {
        throw toEngineError(error);
      } finally {
        connection.close();
      }
    },
    close: () => {
      root.close();
    },
  };
}

async function runOn(connection: Session, native: Native, statement: Statement): Promise<EngineResult> {
  for (const sql of preamble(statement)) {
    await connection.queryAsync(sql);
  }
  if (statement.insert) {
    const data = statement.data ?? Buffer.alloc(0);
    const done = await native.InsertRawAsyncConnection(connection.connection, statement.sql, data, false);
    return { bytes: new Uint8Array(0), rowsRead: 0, bytesRead: 0, rowsWritten: done.rowsWritten, elapsed: done.elapsed };
  }
  const result = await connection.queryAsync(statement.sql, { format: statement.format });
  return {
    bytes: result.bytes(),
    rowsRead: result.rowsRead,
    bytesRead: result.bytesRead,
    rowsWritten: 0,
    elapsed: result.elapsed,
  };
}

/** What sets up a connection before its statement. */
function preamble(statement: Statement): string[] {
  const settings = Object.entries(statement.settings);
  return [
    ...(statement.role === undefined ? [] : [`SET ROLE ${quoteIdentifier(statement.role)}`]),
    ...(statement.database === undefined ? [] : [`USE ${quoteIdentifier(statement.database)}`]),
    ...(settings.length === 0 ? [] : [`SET ${settings.map(([name, value]) => `${quoteIdentifier(name)} = ${quoteString(value)}`).join(', ')}`]),
  ];
}

function toEngineError(error: unknown): EngineError {
  const message = error instanceof Error ? error.message : String(error);
  const text = message.startsWith('Code:') ? message : `Code: 1002. DB::Exception: ${message} (UNKNOWN_EXCEPTION)`;
  return new EngineError(text, { cause: error });
}

/** The addon has no public entry for this call; the package's own loader finds the build for this platform. */
function loadNative(): Native {
  const loader = path.join(path.dirname(require.resolve('chdb')), 'dist', 'loader.js');
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- a file outside the package's exports
  const { loadNative: load } = require(loader) as { loadNative(): Native };
  return load();
}
