import path from 'node:path';
import { quoteIdentifier, quoteString } from '../sql-text';
import { makeDefaultAtomic, prepareDefault } from './default-database';
import { ID_SETTING } from './rewrite';

/**
 * The embedded ClickHouse engine of this process, one connection a statement.
 *
 * Statements on one connection wait for each other, and its settings, parameters and database stay
 * set; connections are cheap (about 0.5 ms) and run side by side as far as libuv's pool has
 * threads (`UV_THREADPOOL_SIZE`). Source: https://github.com/chdb-io/chdb-node, and measured.
 */
export interface Engine {
  /** @throws EngineError */
  run(statement: Statement): Promise<EngineResult>;
  /** Until nothing runs. */
  idle(): Promise<void>;
  /** Shuts the tables down and releases the data directory. Contract: nothing runs. */
  close(): Promise<void>;
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

/**
 * chdb's native addon. Its own `Session` is not used: that closes a connection only when nothing
 * runs on any other, so that a long statement would keep thousands of them open.
 */
interface Native {
  CreateConnection(dataDir: string, args: readonly string[]): Connection | null;
  CloseConnection(connection: Connection): void;
  QueryAsyncConnection(connection: Connection, sql: string, format: string): Promise<NativeResult>;
  InsertRawAsyncConnection(connection: Connection, prefix: string, data: Buffer, countLines: boolean): Promise<NativeInserted>;
}

type Connection = object;

interface NativeResult {
  bytes: Uint8Array;
  elapsed: number;
  rowsRead: number;
  bytesRead: number;
}

interface NativeInserted {
  elapsed: number;
  rowsWritten: number;
}

/**
 * Loads the engine's addon into this process. It is a development dependency, so it may be missing.
 *
 * @throws Error saying in one line how to get it
 */
export function loadEngine(): Native {
  try {
    // No public entry of the package gives the addon, but its loader finds the build for this platform.
    const loader = path.join(path.dirname(require.resolve('chdb')), 'dist', 'loader.js');
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- a file outside the package's exports
    const { loadNative } = require(loader) as { loadNative: () => Native };
    return loadNative();
  } catch (error) {
    throw new Error('the embedded ClickHouse engine (npm package chdb) is not installed: clone the repository and run npm ci there', {
      cause: error,
    });
  }
}

/**
 * Opens the engine on a data directory.
 *
 * @param configFile ClickHouse's main configuration file; `config.d` beside it is merged in
 * @throws Error when the directory is in use, or the configuration is bad (the engine says what on stderr)
 */
export async function openEngine(native: Native, dataDir: string, configFile: string): Promise<Engine> {
  // The logger's level in the configuration file is ignored: without the argument it is `trace`.
  prepareDefault(dataDir);
  const root = connect(native, dataDir, [`--config-file=${configFile}`, '--log-level=information']);
  await makeDefaultAtomic((sql) => native.QueryAsyncConnection(root, sql, 'Null'));
  const running = new Set<Promise<unknown>>();
  return {
    run: (statement) => {
      const work = runAlone(native, dataDir, statement);
      running.add(work);
      return work.finally(() => running.delete(work));
    },
    idle: async () => {
      while (running.size > 0) await Promise.allSettled(running);
    },
    close: async () => {
      await detachDatabases(native, root);
      native.CloseConnection(root);
    },
  };
}

/**
 * The engine crashes when it is closed with a replicated table in it, and then leaves its ZooKeeper
 * session behind; so the tables are shut down first. A plain DETACH ends with the process.
 */
async function detachDatabases(native: Native, root: Connection): Promise<void> {
  const own = "name NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA')";
  const answer = await native.QueryAsyncConnection(root, `SELECT name FROM system.databases WHERE ${own}`, 'JSONCompactColumns');
  const [names = []] = JSON.parse(Buffer.from(answer.bytes).toString('utf8')) as string[][];
  for (const name of names) {
    await native.QueryAsyncConnection(root, `DETACH DATABASE ${quoteIdentifier(name)}`, 'Null');
  }
}

function connect(native: Native, dataDir: string, args: readonly string[]): Connection {
  const connection = native.CreateConnection(dataDir, args);
  if (connection === null) {
    throw new Error(`the engine does not open ${dataDir}`);
  }
  return connection;
}

/** On a connection of its own, which is closed once nothing runs on it. */
async function runAlone(native: Native, dataDir: string, statement: Statement): Promise<EngineResult> {
  try {
    const connection = connect(native, dataDir, [`--${ID_SETTING}=${statement.queryId}`]);
    try {
      return await runOn(native, connection, statement);
    } finally {
      native.CloseConnection(connection);
    }
  } catch (error) {
    throw toEngineError(error);
  }
}

async function runOn(native: Native, connection: Connection, statement: Statement): Promise<EngineResult> {
  for (const sql of preamble(statement)) {
    await native.QueryAsyncConnection(connection, sql, 'Null');
  }
  if (statement.insert) {
    const data = statement.data ?? Buffer.alloc(0);
    const done = await native.InsertRawAsyncConnection(connection, statement.sql, data, false);
    return { bytes: new Uint8Array(0), rowsRead: 0, bytesRead: 0, rowsWritten: done.rowsWritten, elapsed: done.elapsed };
  }
  const { bytes, rowsRead, bytesRead, elapsed } = await native.QueryAsyncConnection(connection, statement.sql, statement.format);
  return { bytes, rowsRead, bytesRead, rowsWritten: 0, elapsed };
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
