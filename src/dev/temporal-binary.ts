import fs from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import which from 'which';
import { cacheDir, cachedFolder } from './cache';
import type { Progress } from './progress';

/** The Temporal CLI that is built from source when none is found; later tags cannot be built this way (engine-facts). */
const CLI_MODULE = 'github.com/temporalio/cli/cmd/temporal@v1.5.1';

/**
 * The Temporal CLI, whose `server start-dev` is the development server: `TEMPORAL_CLI_PATH`,
 * `temporal` on the path, the cache, or a build with Go into the cache (2 to 3 minutes, once).
 *
 * @throws Error when it is nowhere and cannot be built, saying what to install
 */
export async function temporalBinary(progress: Progress): Promise<string> {
  const found = await findTemporalBinary();
  if (found !== undefined) return found;
  const go = await which('go', { nothrow: true });
  if (go === null) {
    throw new Error('the Temporal CLI is missing: install it (https://docs.temporal.io/cli), or Go to have it built, or set TEMPORAL_CLI_PATH');
  }
  const dir = await cachedFolder('temporal-build', isComplete, async (draft) => {
    progress('building the Temporal CLI with Go (once; 2 to 3 minutes)');
    await execa(go, ['install', CLI_MODULE], { env: { GOBIN: draft, GOFLAGS: '-mod=mod' }, all: true });
  });
  return path.join(dir, 'temporal');
}

/** The Temporal CLI, as far as it is there already. */
export async function findTemporalBinary(): Promise<string | undefined> {
  const named = process.env['TEMPORAL_CLI_PATH'];
  if (named !== undefined && named !== '') return named;
  const onPath = await which('temporal', { nothrow: true });
  if (onPath !== null) return onPath;
  return ['bin', 'temporal-build'].map((name) => path.join(cacheDir(), name)).filter(isComplete).map((dir) => path.join(dir, 'temporal'))[0];
}

/** A build in progress is not yet executable. */
function isComplete(dir: string): boolean {
  try {
    fs.accessSync(path.join(dir, 'temporal'), fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
