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
 * `temporal` on the path, the cache, the SDK's own download, or a build with Go (2 to 3 minutes);
 * the last two go to the cache, once.
 *
 * @throws Error when it is nowhere and can be neither fetched nor built, saying what to install
 */
export async function temporalBinary(progress: Progress): Promise<string> {
  return (await findTemporalBinary()) ?? (await download(progress)) ?? (await build(progress));
}

/** The SDK's way: it starts a server once, which leaves the binary behind. Undefined where the internet is not open. */
async function download(progress: Progress): Promise<string | undefined> {
  try {
    const { TestWorkflowEnvironment } = await import('@temporalio/testing');
    const dir = await cachedFolder('temporal-download', isComplete, async (draft) => {
      progress('fetching the Temporal CLI (once)');
      const server = await TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir: draft } } });
      await server.teardown();
      const name = fs.readdirSync(draft).find((each) => each.startsWith('temporal'));
      if (name !== undefined) fs.renameSync(path.join(draft, name), path.join(draft, 'temporal'));
    });
    return path.join(dir, 'temporal');
  } catch {
    return undefined;
  }
}

async function build(progress: Progress): Promise<string> {
  const go = await which('go', { nothrow: true });
  if (go === null) {
    throw new Error('the Temporal CLI is missing: install it (https://docs.temporal.io/cli), or Go to have it built, or set TEMPORAL_CLI_PATH');
  }
  const dir = await cachedFolder('temporal-build', isComplete, async (draft) => {
    progress('building the Temporal CLI with Go (once; 2 to 3 minutes)');
    await execa(go, ['install', CLI_MODULE], { env: { GOBIN: draft }, all: true });
  });
  return path.join(dir, 'temporal');
}

/** The Temporal CLI, as far as it is there already. */
export async function findTemporalBinary(): Promise<string | undefined> {
  const named = process.env['TEMPORAL_CLI_PATH'];
  if (named !== undefined && named !== '') return named;
  const onPath = await which('temporal', { nothrow: true });
  if (onPath !== null) return onPath;
  return ['bin', 'temporal-build', 'temporal-download'].map((name) => path.join(cacheDir(), name)).filter(isComplete).map((dir) => path.join(dir, 'temporal'))[0];
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
