import { execa } from 'execa';

import { eachLine, LongLineError } from '../clickhouse/lines';
import { cancellation, type Connections, stopIfCancelled } from './deps';

const OUTPUT_SHOWN = 1_500;
const KILL_AFTER_MS = 5_000;
/** A timer that is set to more fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** No key of an object storage is as long. */
const LONGEST_LINE = 16 * 1024;

export interface LineCommand {
  /** An argument vector, no shell. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
  /** The variables that the spec names for secrets: the command does not get them. */
  readonly secretEnvs: readonly string[];
}

/**
 * Runs a command of the spec that only looks, and gives each line that it prints to `take` as it comes. It has a process group of its own, which
 * is ended with all that it started when the time is over or the activity is asked to stop.
 *
 * @returns undefined when it ended well; else what went wrong, with the end of what it wrote to stderr, and with no secret of the worker's
 * @throws MigrationError `ABORTED` when the activity was asked to stop
 */
export async function runForLines(connections: Connections, { command, timeoutMs, secretEnvs }: LineCommand, take: (line: Buffer) => void): Promise<string | undefined> {
  const { env, redact } = connections.forCommand(secretEnvs);
  const [file = '', ...args] = command;
  const child = execa(file, args, { env, extendEnv: false, reject: false, stdin: 'ignore', buffer: false, detached: true });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2 * OUTPUT_SHOWN);
  });
  const stopped = stopWhen(child.pid, timeoutMs);
  const readAll = async (): Promise<string | undefined> => {
    try {
      await eachLine(child.stdout, LONGEST_LINE, take);
    } catch (error) {
      stopped.stop();
      if (!(error instanceof LongLineError)) throw error;
      return `it prints ${error.message}, and not one key a line`;
    }
    const result = await child;
    if (stopped.timedOut()) return `did not end in ${timeoutMs} ms`;
    return result.failed ? redact(result.shortMessage ?? `ended with ${String(result.exitCode)}`) : undefined;
  };
  const why = await readAll().finally(stopped.over);
  stopIfCancelled();
  const output = redact(said).trim().slice(-OUTPUT_SHOWN).replaceAll(/\s*\n\s*/gu, ' | ');
  return why === undefined ? undefined : `${why}${output === '' ? '' : `: ${output}`}`;
}

interface Stopping {
  /** Ends the process group: politely, then not. */
  readonly stop: () => void;
  /** It has ended by itself; or else nothing that it started is left. */
  readonly over: () => void;
  readonly timedOut: () => boolean;
}

/** Ends a process group when the time is over, or the running activity is asked to stop, or this process ends. */
function stopWhen(pid: number | undefined, timeoutMs: number): Stopping {
  let late = false;
  let killer: NodeJS.Timeout | undefined;
  const kill = (signal: NodeJS.Signals): void => {
    try {
      if (pid !== undefined) process.kill(-pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  };
  const killAtOnce = (): void => {
    kill('SIGKILL');
  };
  const stop = (): void => {
    kill('SIGTERM');
    killer ??= setTimeout(killAtOnce, KILL_AFTER_MS);
  };
  const timer = setTimeout(() => {
    late = true;
    stop();
  }, Math.min(timeoutMs, LONGEST_TIMER_MS));
  const signal = cancellation();
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop);
  process.once('exit', killAtOnce);
  return {
    stop,
    timedOut: () => late,
    over: () => {
      clearTimeout(timer);
      clearTimeout(killer);
      if (killer !== undefined) killAtOnce();
      signal?.removeEventListener('abort', stop);
      process.removeListener('exit', killAtOnce);
    },
  };
}
