import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One statement on its way to the real host. */
export interface ProxiedStatement {
  /** The whole text, as the server would read it. */
  readonly text: string;
  /** The real host's answer; asked for once. */
  readonly real: () => Promise<{ status: number; text: string }>;
  readonly response: ServerResponse;
}

/** What becomes of a statement: nothing returned, it passes; text, the answer is that; {@link TAKEN}, the script answered by itself. */
export type ProxyScript = (statement: ProxiedStatement) => Promise<string | typeof TAKEN | undefined> | typeof TAKEN | undefined;
export const TAKEN = Symbol('answered by the script');

/** The settings of a user's profile, as a server has them: in force where a statement brings none of its own. */
export interface Profile {
  readonly values?: Readonly<Record<string, string>>;
  /** Statements that set one of these otherwise are refused. */
  readonly fixed?: readonly string[];
  /** Not known to this server: statements with one of them are refused. */
  readonly unknown?: readonly string[];
}

/**
 * Stands before a real host and passes every statement on, but for what its script answers otherwise: for what the engine cannot be made to
 * show.
 */
export class ProxyHost {
  script: ProxyScript = () => undefined;
  profile: Profile = {};

  private constructor(
    private readonly server: Server,
    private readonly target: string,
  ) {}

  static async before(target: string, script: ProxyScript = () => undefined, profile: Profile = {}): Promise<ProxyHost> {
    const server = createServer();
    const proxy = new ProxyHost(server, target);
    proxy.script = script;
    proxy.profile = profile;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      proxy.pass(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  private async pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const inUrl = new URL(request.url ?? '/', this.target).searchParams.get('query') ?? '';
    let answer: { status: number; text: string; headers: Record<string, string> } | undefined;
    const real = async (): Promise<{ status: number; text: string; headers: Record<string, string> }> => {
      answer ??= await this.ask(request, body);
      return answer;
    };
    const changed = await this.script({ text: `${inUrl}\n${body.toString()}`.trim(), real, response });
    if (changed === TAKEN) return;
    const { status, text, headers } = changed === undefined ? await real() : { status: 200, text: changed, headers: {} };
    response.writeHead(status, headers);
    response.end(text);
  }

  private async ask(request: IncomingMessage, body: Buffer): Promise<{ status: number; text: string; headers: Record<string, string> }> {
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !['host', 'connection', 'content-length', 'transfer-encoding'].includes(name)));
    const url = new URL(request.url ?? '/', this.target);
    const refusal = this.settle(url.searchParams);
    if (refusal !== undefined) return refusal;
    const answer = await fetch(url, {
      method: request.method ?? 'GET',
      headers: headers as Record<string, string>,
      ...(body.length === 0 ? {} : { body: new Uint8Array(body) }),
    });
    const code = answer.headers.get('x-clickhouse-exception-code');
    return { status: answer.status, text: await answer.text(), headers: code === null ? {} : { 'x-clickhouse-exception-code': code } };
  }

  /** Puts the profile's values where a statement brings none of its own, or answers as the server does that refuses those it brings. */
  private settle(parameters: URLSearchParams): { status: number; text: string; headers: Record<string, string> } | undefined {
    const { values = {}, fixed = [], unknown = [] } = this.profile;
    const refuse = (code: number, text: string) => ({ status: 400, text: `Code: ${code}. DB::Exception: ${text}`, headers: { 'x-clickhouse-exception-code': String(code) } });
    for (const name of unknown) if (parameters.has(name)) return refuse(115, `Unknown setting ${name}. (UNKNOWN_SETTING)`);
    for (const name of fixed) {
      if (parameters.has(name) && parameters.get(name) !== values[name]) return refuse(452, `Setting ${name} should not be changed. (SETTING_CONSTRAINT_VIOLATION)`);
    }
    for (const [name, value] of Object.entries(values)) if (!parameters.has(name)) parameters.set(name, value);
    return undefined;
  }
}

/** Changes the rows of a real answer in `FORMAT JSON`. */
export async function editRows(statement: ProxiedStatement, edit: (row: Record<string, unknown>) => void): Promise<string> {
  const { text } = await statement.real();
  const document = JSON.parse(text) as { data: Record<string, unknown>[] };
  for (const row of document.data) edit(row);
  return JSON.stringify(document);
}
