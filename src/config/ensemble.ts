import type { EnsembleSpec } from '../domain/spec';

/** ZooKeeper's own default. */
export const DEFAULT_ZOOKEEPER_PORT = 2181;

const SERVER = /^(?<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])(?::(?<port>\d{1,5}))?$/;

/** What ZooKeeper's `PathUtils.validatePath` refuses: it looks at UTF-16 units, so that it refuses emoji too. */
// eslint-disable-next-line no-control-regex -- these are what is looked for
const REFUSED_IN_PATHS = /[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff]/;

/** The servers of a connect string, each with its port. Call `connectFault` first: what is no server is dropped here. */
function servers(connect: string): string[] {
  return connect
    .split(',')
    .map((server) => SERVER.exec(server.trim())?.groups)
    .filter((groups) => groups !== undefined)
    .map(({ host, port }) => `${host ?? ''}:${String(Number(port ?? DEFAULT_ZOOKEEPER_PORT))}`);
}

/** What is wrong with a connect string, in words that do not repeat it; `undefined` when nothing is. */
export function connectFault(connect: string): string | undefined {
  if (connect.trim() === '') return 'expected host:port[,host:port…], found nothing';
  if (connect.includes('@')) return 'a secret itself is refused here; put user:password into a variable and name it with digestEnv';
  if (connect.includes('://')) return 'expected host:port[,host:port…] without a scheme';
  if (connect.includes('/')) return 'a chroot is refused here: put the chroot into root';
  const faulty = connect.split(',').findIndex((server) => !isServer(server.trim()));
  if (faulty >= 0) return `expected host:port[,host:port…]: server ${String(faulty + 1)} is none`;
  const all = servers(connect).map((server) => server.toLowerCase());
  const twice = all.find((server, index) => all.indexOf(server) !== index);
  return twice === undefined ? undefined : `the server ${twice} is written twice`;
}

function isServer(server: string): boolean {
  const groups = SERVER.exec(server)?.groups;
  const port = Number(groups?.['port'] ?? DEFAULT_ZOOKEEPER_PORT);
  return groups !== undefined && port >= 1 && port <= 65_535;
}

/** A connect string without spaces and with every port written out, in its order. */
export function normalizeConnect(connect: string): string {
  return servers(connect).join(',');
}

/** What is wrong with a ZooKeeper root; `undefined` when nothing is. */
export function rootFault(root: string): string | undefined {
  if (root === '' || root === '/') return undefined;
  if (!root.startsWith('/')) return 'a root begins with /, such as /clickhouse';
  if (REFUSED_IN_PATHS.test(root)) return 'a root has only characters that ZooKeeper takes in a path';
  if (root.endsWith('/')) return 'a root has no slash at the end';
  const components = root.slice(1).split('/');
  if (components.includes('')) return 'a root has no // in it';
  return components.some((component) => component === '.' || component === '..') ? 'a root has no . or .. in it' : undefined;
}

/** What is wrong with a pattern of paths, its `{macros}` left as they are; `undefined` when nothing is. */
export function pathPatternFault(pattern: string): string | undefined {
  if (/^[^/{]+:\//.test(pattern)) return 'the servers put a table into their own <zookeeper>: no auxiliary ensemble here';
  if (!pattern.startsWith('/')) return 'a path begins with /, such as /clickhouse/tables/{shard}/{database}/{table}';
  if (pattern === '/') return 'a path has more than a slash';
  return rootFault(pattern)?.replace('a root', 'a path');
}

/** `''` for no root, else the root as it is. */
export function normalizeRoot(root: string): string {
  return root === '/' ? '' : root;
}

/** Whether two places are one: the same root, and the same servers in whatever order. A part of an ensemble counts as another one. */
export function samePlace(a: EnsembleSpec, b: EnsembleSpec): boolean {
  return a.root === b.root && sameServers(a.connect, b.connect);
}

/** Whether two connect strings name the same servers, in whatever order. */
export function sameServers(a: string, b: string): boolean {
  return sortedServers(a) === sortedServers(b);
}

function sortedServers(connect: string): string {
  return servers(connect.toLowerCase()).sort().join(',');
}
