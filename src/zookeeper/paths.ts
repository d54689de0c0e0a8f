import { ZooKeeperError } from './errors';

/**
 * The full path for `path` seen from a session with this `root`.
 *
 * Refuses everything that the server would read differently than it was written, above all a NUL, at which the C client cuts the path
 * off: a delete would then hit another node. The rules are those of the C client's `isValidPath`, and well-formed Unicode; the server
 * refuses some more (`PathUtils.validatePath`).
 *
 * @throws ZooKeeperError `BAD_ARGUMENTS`
 */
export function resolvePath(root: string, path: string): string {
  checkPath(path);
  if (path === '/') return root === '' ? '/' : root;
  return root + path;
}

/**
 * Checks a session's root: `''` for the ensemble's own root, or a path such as `/a/b`.
 *
 * @throws ZooKeeperError `BAD_ARGUMENTS`
 */
export function checkRoot(root: string): void {
  if (root === '') return;
  if (root === '/') throw new ZooKeeperError('BAD_ARGUMENTS', "The root of the ensemble is written as ''.");
  checkPath(root);
}

function checkPath(path: string): void {
  const fault = pathFault(path);
  if (fault !== undefined) throw new ZooKeeperError('BAD_ARGUMENTS', `${JSON.stringify(path)} is not a valid path: ${fault}`, { path });
}

function pathFault(path: string): string | undefined {
  if (!path.startsWith('/')) return "it does not start with '/'";
  if (path === '/') return undefined;
  if (path.endsWith('/')) return "it ends with '/'";
  // eslint-disable-next-line no-control-regex -- these are what must be found
  if (/[\u0000-\u001f\u007f-\u009f]/u.test(path)) return 'it contains a control character';
  if (/\p{Surrogate}/u.test(path)) return 'it is not well-formed Unicode';
  for (const name of path.slice(1).split('/')) {
    if (name === '') return 'it contains an empty name';
    if (name === '.' || name === '..') return `it contains '${name}'`;
  }
  return undefined;
}
