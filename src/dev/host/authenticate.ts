import type { IncomingHttpHeaders } from 'node:http';
import type { HostUser } from './config';
import { EngineError } from './engine';
import { exceptionText } from './errors';

/**
 * The user of a request: from `X-ClickHouse-User` and `-Key`, basic auth, or `user` and `password`
 * in the URL, and `default` where none is named.
 *
 * Source: https://clickhouse.com/docs/interfaces/http
 *
 * @throws EngineError 516 AUTHENTICATION_FAILED, in ClickHouse's words
 */
export function authenticate(users: readonly HostUser[], headers: IncomingHttpHeaders, parameters: URLSearchParams): HostUser {
  const { name, password } = credentials(headers, parameters);
  const user = users.find((each) => each.name === name);
  if (user?.password !== password) {
    const text = `${name}: Authentication failed: password is incorrect, or there is no user with such name.`;
    throw new EngineError(exceptionText(516, 'AUTHENTICATION_FAILED', text));
  }
  return user;
}

function credentials(headers: IncomingHttpHeaders, parameters: URLSearchParams): { name: string; password: string } {
  const user = headers['x-clickhouse-user'];
  if (user !== undefined) {
    return { name: String(user), password: String(headers['x-clickhouse-key'] ?? '') };
  }
  const basic = /^Basic (.+)$/i.exec(headers.authorization ?? '')?.[1];
  if (basic !== undefined) {
    const [name = '', ...rest] = Buffer.from(basic, 'base64').toString('utf8').split(':');
    return { name: name === '' ? 'default' : name, password: rest.join(':') };
  }
  return { name: parameters.get('user') ?? 'default', password: parameters.get('password') ?? '' };
}
