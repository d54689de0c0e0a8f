import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it, each tried twice at the most. Node's own recursive mkdir never returns below a file system that lets
 * nothing be made and says that the parent is missing (`/proc`), and the thread that runs it is lost.
 *
 * @throws {Error} with the system's `code`
 */
export async function makeFolder(path: string): Promise<void> {
  const first = await tryMake(path);
  if (first === undefined) return;
  if (first.code !== 'ENOENT' || dirname(path) === path) throw first;
  await makeFolder(dirname(path));
  const second = await tryMake(path);
  if (second !== undefined) throw second;
}

/** The error, where there is no folder afterwards. */
async function tryMake(path: string): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(path);
    return undefined;
  } catch (error) {
    const isThere = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    return isThere ? undefined : (error as NodeJS.ErrnoException);
  }
}
