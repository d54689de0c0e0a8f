import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isAlive } from './processes';

/** A lock that another live process holds. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld';

  constructor(
    file: string,
    /** Its process id. */
    readonly holder: string,
  ) {
    super(`the process ${holder} holds ${file}`);
  }
}

/**
 * Runs `work` while holding a lock file, across processes. A lock whose holder has died is taken
 * over; a live one is waited for.
 *
 * @param timeoutMs how long to wait for a live holder
 * @throws {LockHeld} when the lock is not had by then; whatever `work` throws
 */
export async function withLock<T>(file: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const until = Date.now() + timeoutMs;
  while (!tryLock(file)) {
    if (Date.now() > until && isHeld(file)) {
      throw new LockHeld(file, readHolder(file)?.split(' ')[0] ?? 'unknown');
    }
    await sleep(50);
  }
  try {
    return await work();
  } finally {
    fs.rmSync(file, { force: true });
  }
}

let counter = 0;

/** The content is linked into place, so a lock file is never seen half written. */
function tryLock(file: string): boolean {
  const own = identify(process.pid);
  if (own === undefined) {
    throw new Error('locks need /proc, as on Linux');
  }
  counter += 1;
  const draft = `${file}.${own.pid}.${counter}`;
  fs.writeFileSync(draft, `${own.pid} ${own.startTicks}`);
  try {
    fs.linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    removeIfDead(file);
    return false;
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

function readHolder(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Moves a dead holder's lock aside; when another process was faster and it is a live one's, it goes back. */
function removeIfDead(file: string): void {
  if (isHeld(file)) return;
  const aside = `${file}.dead.${process.pid}.${counter}`;
  try {
    fs.renameSync(file, aside);
  } catch {
    return;
  }
  if (isHeld(aside)) {
    try {
      fs.linkSync(aside, file);
    } catch {
      // somebody holds a new one: two holders for a moment is what cannot be excluded here
    }
  }
  fs.rmSync(aside, { force: true });
}

function isHeld(file: string): boolean {
  const [pid, startTicks] = (readHolder(file) ?? '').split(' ');
  return pid !== undefined && startTicks !== undefined && isAlive({ pid: Number(pid), startTicks });
}
