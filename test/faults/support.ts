import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { execa } from 'execa';

import { stackStatus } from '../../src/dev/stack';
import { type Child, eventually, type Ground, pause } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

/** Waits until a host has begun a statement, and answers which host. */
export async function statementSeen(ground: Ground, marks: Readonly<Record<string, number>>, pattern: RegExp, on?: string): Promise<string> {
  let seen: string | undefined;
  await eventually(() => {
    seen = ground.statements(marks, pattern).find(({ host }) => on === undefined || host === on)?.host;
    return seen !== undefined;
  }, `a statement like ${pattern.source}`, { everyMs: 20 });
  return seen ?? '';
}

/** The codes that a host's statements ended with since `marks`, of those whose text matches; 0 is success. */
export function codesOf(ground: Ground, marks: Readonly<Record<string, number>>, pattern: RegExp, on: string): number[] {
  const host = ground.hosts.find(({ name }) => name === on) ?? assert.fail(on);
  const lines = readFileSync(host.statementLog).subarray(marks[on] ?? 0).toString().split('\n').slice(0, -1);
  const logged = lines.map((line) => JSON.parse(line) as { queryId: string; text?: string; code?: number });
  const ids = new Set(logged.filter(({ text }) => text !== undefined && pattern.test(text)).map(({ queryId }) => queryId));
  return logged.flatMap(({ queryId, code }) => (code !== undefined && ids.has(queryId) ? [code] : []));
}

/**
 * Stops a worker (SIGSTOP) while it has such an activity in hand: begun, and neither ended nor given up. No other worker runs.
 */
export async function stoppedInside(ground: Ground, worker: Child, activity: string): Promise<void> {
  await eventually(async () => {
    worker.kill('SIGSTOP');
    const { pendingActivities } = await ground.described();
    if (pendingActivities.some((pending) => pending.activity === activity && pending.state === 'started')) return true;
    worker.kill('SIGCONT');
    return false;
  }, `a worker with ${activity} in hand`, { everyMs: 10 });
}

/**
 * Waits for a RESTORE to be in its middle, on a machine of any speed: the hosts run for some milliseconds at a time, and stand still (SIGSTOP) while
 * the parts that they have registered are counted. Answers the first host with `atLeast` parts, and leaves it standing; the others go on.
 *
 * @param partsOf of each host, the path from the ensemble's very root below which the parts of its replica are registered
 */
export async function stoppedInsideRestore(ground: Ground, partsOf: ReadonlyMap<string, string>, atLeast: number): Promise<string> {
  const { hosts } = await stackStatus(ground.up.dir);
  const watched = hosts.flatMap(({ name, pid }) => {
    const path = partsOf.get(name);
    return path === undefined || pid === null ? [] : [{ name, pid, path }];
  });
  assert.equal(watched.length, partsOf.size, 'a host does not run');
  let inside: string | undefined;
  try {
    await withZooKeeper(ground.up, (session) =>
      eventually(async () => {
        for (const { pid } of watched) process.kill(pid, 'SIGSTOP');
        const counts = await Promise.all(watched.map(async ({ path }) => (await session.exists(path))?.numChildren ?? 0));
        inside = watched.find((_, index) => (counts[index] ?? 0) >= atLeast)?.name;
        if (inside === undefined) for (const { pid } of watched) process.kill(pid, 'SIGCONT');
        return inside !== undefined;
      }, `a RESTORE of ${atLeast} parts`, { everyMs: 15 }),
    );
  } finally {
    for (const { name, pid } of watched) if (name !== inside) process.kill(pid, 'SIGCONT');
  }
  return inside ?? '';
}

/** Waits until `status` says why the migration does not get on. */
export async function reasons(ground: Ground, pattern: RegExp): Promise<void> {
  await ground.until(({ reasons: said, outcome }) => {
    assert.ok(outcome === 'running' || outcome === 'waiting', `${outcome} before there was a reason like ${pattern.source}`);
    return said.some((reason) => pattern.test(reason));
  }, `a reason like ${pattern.source}`);
}

/** A worker as a service manager keeps it: one that ends by itself, since Temporal was away when it started, is started again. */
export class KeptWorker {
  private child: Child;
  private kept = true;

  /** @param ended told with what it said last, when it ended by itself */
  constructor(
    private readonly ground: Ground,
    private readonly ended: (words: string) => void,
  ) {
    this.child = this.start();
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** Kills it with -9, and starts another after `ms`. */
  async killed(ms: number): Promise<void> {
    this.kept = false;
    this.child.kill('SIGKILL');
    await this.child;
    await pause(ms);
    this.kept = true;
    this.child = this.start();
  }

  /** Not started again from here on. */
  leave(): void {
    this.kept = false;
  }

  private start(): Child {
    const child = this.ground.worker();
    void child.then(async (result) => {
      if (!this.kept || this.child !== child) return;
      const { exitCode, signal, all = '' } = result as { exitCode?: number; signal?: string; all?: string };
      this.ended(`${signal ?? String(exitCode)}: ${all.trim().split('\n').slice(-3).join(' | ').slice(-300)}`);
      await pause(1_000);
      if (this.kept) this.child = this.start();
    });
    return child;
  }
}

interface Failure {
  readonly code: string;
  readonly message: string;
}

/**
 * Follows a migration to its end as an operator would: a failure is read, what it says is done (the command to run on the host, for a part
 * that SQL cannot name), and `retry` is given. Answers the outcome.
 */
export async function finish(ground: Ground, note: (what: string) => void = () => undefined): Promise<string> {
  for (let retries = 0; ; retries += 1) {
    const { outcome } = await ground.until((status) => status.outcome !== 'running', 'the end', 240_000);
    if (outcome !== 'failed' || retries === 5) return outcome;
    const { failures } = await ground.json<{ failures: Failure[] }>('status', ground.id);
    for (const { code, message } of failures) {
      note(code);
      const command = /On the host: (.*) ; then retry/u.exec(message)?.[1];
      if (command !== undefined) await execa('sh', ['-c', command], { stdin: 'ignore' });
    }
    const retried = await ground.cli('retry', ground.id, '--json');
    assert.equal(retried.code, 0, `${JSON.stringify(failures)}\n${retried.stdout}${retried.stderr}`);
  }
}
