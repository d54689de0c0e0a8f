import fs from 'node:fs';
import path from 'node:path';
import envPaths from 'env-paths';
import writeFileAtomic from 'write-file-atomic';

/** The per-user folder for what is fetched or built once; `CH_ZK_MIGRATE_CACHE` overrides it. */
export function cacheDir(): string {
  const override = process.env['CH_ZK_MIGRATE_CACHE'];
  return override === undefined || override === '' ? envPaths('ch-zk-migrate', { suffix: '' }).cache : path.resolve(override);
}

const lastStackFile = (): string => path.join(cacheDir(), 'last-stack');

/** Remembers the stack that was brought up last: the default for `--dir`. */
export function rememberStack(dir: string): void {
  fs.mkdirSync(cacheDir(), { recursive: true });
  writeFileAtomic.sync(lastStackFile(), `${dir}\n`);
}

/** The stack that was brought up last; undefined when there was none. */
export function lastStack(): string | undefined {
  try {
    const dir = fs.readFileSync(lastStackFile(), 'utf8').trim();
    return dir === '' ? undefined : dir;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Where `dev up` keeps its data when no directory is given. */
export function defaultStackDir(): string {
  return path.join(cacheDir(), 'data');
}

/**
 * Makes a folder in the cache once: `fill` works on a fresh folder beside it, which is renamed into
 * place when complete. Two processes may do so at once; the first to finish wins.
 *
 * @param complete whether the folder that is there already is usable
 */
export async function cachedFolder(name: string, complete: (dir: string) => boolean, fill: (dir: string) => Promise<void>): Promise<string> {
  const dir = path.join(cacheDir(), name);
  if (complete(dir)) return dir;
  fs.mkdirSync(cacheDir(), { recursive: true });
  const draft = fs.mkdtempSync(path.join(cacheDir(), `.${path.basename(name)}-`));
  try {
    await fill(draft);
    if (!complete(draft)) {
      throw new Error(`${name} was made, but is not complete`);
    }
    if (!complete(dir)) {
      fs.rmSync(dir, { recursive: true, force: true });
      fs.renameSync(draft, dir);
    }
  } catch (error) {
    if (!complete(dir)) throw error;
  } finally {
    fs.rmSync(draft, { recursive: true, force: true });
  }
  return dir;
}
