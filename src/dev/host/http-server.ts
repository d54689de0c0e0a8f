import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { authenticate } from './authenticate';
import type { HostUser } from './config';
import { EngineError, isFatal, type Engine, type EngineResult } from './engine';
import { exceptionText, httpStatusOf } from './errors';
import { quoteString } from '../sql-text';
import { prepare, type Prepared } from './rewrite';
import type { StatementLog } from './statement-log';

/**
 * ClickHouse's HTTP interface over the embedded engine, as much of it as `@clickhouse/client` and
 * `curl` use: `/ping`, a statement in the body or in `query`, settings and `param_…` in the URL,
 * `query_id`, `database`, `default_format`, users, gzip, exceptions with code and text.
 *
 * A statement goes on when its caller hangs up. Answers are not streamed.
 * Source: https://clickhouse.com/docs/interfaces/http
 */
export interface HttpDependencies {
  engine: Engine;
  log: StatementLog;
  users: readonly HostUser[];
  /** Called after SYSTEM SHUTDOWN was answered. */
  shutdown: () => void;
  /** Called after a statement was answered with the engine's word that it has failed and takes no more. */
  fatal: (error: EngineError) => void;
}

/** Parameters of the interface itself; all others are settings, or `param_…`. */
const OWN_PARAMETERS = new Set([
  ...['query', 'database', 'default_format', 'query_id', 'user', 'password', 'quota_key', 'role', 'session_id'],
  ...['session_timeout', 'session_check', 'compress', 'decompress', 'stacktrace', 'buffer_size', 'wait_end_of_query'],
  ...['client_protocol_version', 'close_session'],
]);

const gunzip = promisify(zlib.gunzip);
const gzip = promisify(zlib.gzip);

/** Builds the server; the caller listens and closes. */
export function createHttpServer(dependencies: HttpDependencies): http.Server {
  const running = new Map<string, Promise<unknown>>();
  const server = http.createServer({ keepAliveTimeout: 10_000, requestTimeout: 0 }, (request, response) => {
    handle(dependencies, running, request, response).catch((error: unknown) => {
      sendError(response, error, '');
    });
  });
  server.timeout = 0;
  return server;
}

async function handle(
  dependencies: HttpDependencies,
  running: Map<string, Promise<unknown>>,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://127.0.0.1');
  const queryId = url.searchParams.get('query_id') ?? randomUUID();
  const body = await readBody(request);
  if (url.pathname !== '/' || (body.length === 0 && !url.searchParams.has('query'))) {
    answerPath(url.pathname, request.method, response);
    return;
  }
  try {
    const user = authenticate(dependencies.users, request.headers, url.searchParams);
    if (running.has(queryId)) {
      throw new EngineError(
        exceptionText(216, 'QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING', `Query with id = ${queryId} is already running.`),
      );
    }
    const call: Call = { url, queryId, body, role: user.role, readonly: request.method !== 'POST' };
    await sendResult(request, response, call, await execute(dependencies, running, call, response));
  } catch (error) {
    sendError(response, error, queryId);
    if (error instanceof EngineError && isFatal(error)) {
      afterAnswer(response, () => {
        dependencies.fatal(error);
      });
    }
  }
}

/** Once the answer is out, or its reader gone. */
function afterAnswer(response: http.ServerResponse, then: () => void): void {
  if (response.closed) setImmediate(then);
  else response.once('close', then);
}

function answerPath(pathname: string, method: string | undefined, response: http.ServerResponse): void {
  if (pathname === '/ping' || pathname === '/replicas_status' || (pathname === '/' && method !== 'POST')) {
    response.writeHead(200, { 'content-type': 'text/html; charset=UTF-8' }).end('Ok.\n');
    return;
  }
  if (pathname === '/') {
    sendError(response, new EngineError(exceptionText(62, 'SYNTAX_ERROR', 'Empty query.')), '');
    return;
  }
  response.writeHead(404, { 'content-type': 'text/plain' }).end(`There is no handle ${pathname}\n`);
}

interface Call {
  url: URL;
  queryId: string;
  body: Buffer;
  role: string | undefined;
  readonly: boolean;
}

/** Runs one statement, and keeps the log and the list of what runs. */
async function execute(
  dependencies: HttpDependencies,
  running: Map<string, Promise<unknown>>,
  call: Call,
  response: http.ServerResponse,
): Promise<EngineResult> {
  const { log, engine } = dependencies;
  const parameter = call.url.searchParams.get('query') ?? '';
  const prepared = prepare(textOf(parameter, call.body));
  const started = performance.now();
  log.started(call.queryId, loggedText(prepared, parameter, call.body));
  let code = 0;
  try {
    if (prepared.several) {
      throw new EngineError(exceptionText(62, 'SYNTAX_ERROR', 'Multi-statements are not allowed'));
    }
    if (prepared.kind === 'shutdown') {
      afterAnswer(response, dependencies.shutdown);
      return { bytes: new Uint8Array(0), rowsRead: 0, bytesRead: 0, rowsWritten: 0, elapsed: 0 };
    }
    const work = engine.run({
      ...(prepared.kind === 'insert' ? insertOf(parameter, call.body) : { sql: prepared.sql, insert: false }),
      queryId: call.queryId,
      format: call.url.searchParams.get('default_format') ?? 'TabSeparated',
      settings: settingsOf(call),
      ...optional('database', call.url.searchParams.get('database') ?? undefined),
      ...optional('role', call.role),
    });
    running.set(call.queryId, work);
    const result = await work;
    if (prepared.kind === 'kill-sync') await killed(engine, result);
    return result;
  } catch (error) {
    code = error instanceof EngineError ? error.code : 1002;
    throw error;
  } finally {
    running.delete(call.queryId);
    log.ended(call.queryId, Math.round(performance.now() - started), code);
  }
}

/** `query` and the body are one statement; the data of an INSERT stays bytes and is not looked at. */
function textOf(parameter: string, body: Buffer): string {
  if (parameter === '') return body.toString('utf8');
  if (/^\s*insert/i.test(parameter)) return parameter;
  return body.length === 0 ? parameter : `${parameter}\n${body.toString('utf8')}`;
}

function insertOf(parameter: string, body: Buffer): { sql: string; data: Buffer; insert: true } {
  if (body.length === 0) return { sql: '', data: Buffer.from(parameter), insert: true };
  // The engine ends text data at an empty line; in JSON formats an empty line means nothing.
  const data = /json\w*eachrow\s*$/i.test(parameter) && body.includes('\n\n') ? Buffer.from(body.toString('utf8').replace(/\n{2,}/g, '\n')) : body;
  return { sql: parameter === '' ? '' : `${parameter.trimEnd()} `, data, insert: true };
}

function loggedText(prepared: Prepared, parameter: string, body: Buffer): string {
  if (prepared.kind !== 'insert') return textOf(parameter, body);
  return parameter === '' ? body.subarray(0, 10_000).toString('utf8') : parameter;
}

function settingsOf(call: Call): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const [name, value] of call.url.searchParams) {
    if (!OWN_PARAMETERS.has(name)) settings[name] = value;
  }
  return call.readonly ? { ...settings, readonly: '2' } : settings;
}

/** Waits until what KILL QUERY has marked is gone; its answer names the engine's own ids, whatever its format. */
async function killed(engine: Engine, answer: EngineResult): Promise<void> {
  const ids = Buffer.from(answer.bytes).toString('utf8').match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? [];
  const sql = `SELECT count() FROM system.processes WHERE query_id IN (${[...ids, ''].map(quoteString).join(', ')})`;
  for (;;) {
    const left = await engine.run({ sql, insert: false, queryId: randomUUID(), format: 'TSVRaw', settings: {} });
    if (Buffer.from(left.bytes).toString('utf8').trim() === '0') return;
    await sleep(100);
  }
}

function optional<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, string>>);
}

async function readBody(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return request.headers['content-encoding'] === 'gzip' ? gunzip(body) : body;
}

async function sendResult(request: http.IncomingMessage, response: http.ServerResponse, call: Call, result: EngineResult): Promise<void> {
  const wantsGzip = call.url.searchParams.get('enable_http_compression') === '1' && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  const summary = {
    ...{ read_rows: String(result.rowsRead), read_bytes: String(result.bytesRead) },
    ...{ written_rows: String(result.rowsWritten), written_bytes: '0', total_rows_to_read: '0', result_rows: '0', result_bytes: '0' },
    elapsed_ns: String(Math.round(result.elapsed * 1e9)),
  };
  const bytes = wantsGzip ? await gzip(result.bytes) : result.bytes;
  response.writeHead(200, {
    ...headersOf(call.queryId),
    'content-type': 'text/plain; charset=UTF-8',
    'x-clickhouse-summary': JSON.stringify(summary),
    ...(wantsGzip ? { 'content-encoding': 'gzip' } : {}),
    'content-length': bytes.byteLength,
  });
  response.end(bytes);
}

function headersOf(queryId: string): http.OutgoingHttpHeaders {
  return { 'x-clickhouse-query-id': queryId.replace(/[^\x20-\x7e]/g, '?'), 'x-clickhouse-timezone': 'UTC' };
}

function sendError(response: http.ServerResponse, error: unknown, queryId: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const known = error instanceof EngineError ? error : new EngineError(exceptionText(1002, 'UNKNOWN_EXCEPTION', String(error)));
  response.writeHead(httpStatusOf(known.code), {
    ...headersOf(queryId),
    'content-type': 'text/plain; charset=UTF-8',
    'x-clickhouse-exception-code': String(known.code),
    ...(known.code === 516 ? { 'www-authenticate': 'Basic realm="ClickHouse server HTTP API"' } : {}),
  });
  response.end(`${known.message}\n`);
}
