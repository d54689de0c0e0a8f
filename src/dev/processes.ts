import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that cannot be mistaken for a later one with the same id. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks between the machine's boot and the process's start. */
  startTicks: string;
}

/** The identity of a process that runs now; undefined when there is none, or it has ended and only waits to be reaped. */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the command in brackets and may hold anything, brackets and spaces too.
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const startTicks = rest[18];
  return state === 'Z' || state === 'X' || startTicks === undefined ? undefined : { pid, startTicks };
}

/** Whether exactly this process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/** Reads a pid file written by spawn-part.ts; undefined when it is missing, or its process has ended. */
export function readLiveProcess(pidFile: string): ProcessIdentity | undefined {
  let text: string;
  try {
    text = fs.readFileSync(pidFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const [pid, startTicks] = text.trim().split(' ');
  if (pid === undefined || startTicks === undefined) return undefined;
  const identity = { pid: Number(pid), startTicks };
  return isAlive(identity) ? identity : undefined;
}

/**
 * Ends a process: SIGTERM, and SIGKILL when it is still there after `graceMs`.
 *
 * @throws Error when even SIGKILL does not end it
 */
export async function stopProcess(identity: ProcessIdentity, graceMs: number): Promise<void> {
  if (graceMs > 0) {
    signal(identity, 'SIGTERM');
    if (await ended(identity, graceMs)) return;
  }
  signal(identity, 'SIGKILL');
  if (!(await ended(identity, 10_000))) {
    throw new Error(`process ${identity.pid} does not end`);
  }
}

function signal(identity: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function ended(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  return waitFor(() => Promise.resolve(!isAlive(identity)), timeoutMs, 20);
}

/** Asks again until the answer is yes; false when it has not been by then. */
export async function waitFor(check: () => Promise<boolean>, timeoutMs: number, everyMs = 100): Promise<boolean> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    if (await check()) return true;
    if (Date.now() >= until) return false;
    await sleep(everyMs);
  }
}
