import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { endStacks, RUN_DIR } from './stack';

/**
 * The run's folder, made in the process that leads the run. Test files run in processes of their own (mocha's parallel mode); each finds the
 * folder in its environment and keeps one stack in it, which outlives the file that asked for it.
 */
export function mochaGlobalSetup(): void {
  process.env[RUN_DIR] = mkdtempSync(join(tmpdir(), 'ch-zk-migrate-test-'));
  // A run that is told to stop takes its servers along.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.once(signal, () => {
      void endStacks().finally(() => process.exit(1));
    });
  }
}

/** Ends what the run started, once, at its end. */
export async function mochaGlobalTeardown(): Promise<void> {
  await endStacks();
}
