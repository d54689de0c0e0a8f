import { join, resolve } from 'node:path';

import { Command } from 'commander';

import { CliError, EXIT, type GlobalOptions, printJson, printNote, printResult, setExit, withExample } from './common';

interface DemoCliOptions extends GlobalOptions {
  readonly keep?: boolean;
  readonly dir?: string;
}

export function demoCommand(): Command {
  const command = new Command('demo')
    .description('Brings the embedded stack up (Temporal, ZooKeeper, four ClickHouse hosts), loads real data, moves all of it to a new ZooKeeper root, and shows what was proved.')
    .option('--keep', 'leave the stack up, to click through the Web UI')
    .option('--dir <dir>', "the stack's directory (by default in the user's cache); what is there is replaced")
    .action(async () => {
      const options = command.optsWithGlobals<DemoCliOptions>();
      const { demo, cache } = await load();
      const result = await demo.runDemo({
        dir: resolve(options.dir ?? join(cache.cacheDir(), 'demo')),
        keep: options.keep === true,
        progress: printNote,
        json: options.json === true,
        interrupt: signalled(),
      });
      if (result === undefined) throw new CliError(EXIT.INTERRUPTED, 'the demo was interrupted', { code: 'INTERRUPTED' });
      if (options.json === true) printJson(result);
      else printResult(demo.demoText(result));
      if (!result.ok) setExit(EXIT.FAILED);
    });
  return withExample(command, 'ch-zk-migrate demo', 'ch-zk-migrate demo --keep');
}

/** Fires at the first signal that asks the process to end; its servers are processes of their own, and would stay. */
function signalled(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => controller.abort());
  return controller.signal;
}

/** The embedded stack comes with a checkout, not with the installed package. */
async function load() {
  try {
    require.resolve('chdb');
  } catch (error) {
    throw new CliError(EXIT.FAILED, 'the demo needs the embedded ClickHouse engine, which is no part of the installed package', {
      next: 'clone the repository, then: npm ci && npm run demo',
      cause: error,
    });
  }
  const [demo, cache] = await Promise.all([import('../dev/demo.js'), import('../dev/cache.js')]);
  return { demo, cache };
}
