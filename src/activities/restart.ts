import { execa } from 'execa';

import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { addEvent, readEvents } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { byHandWords, placeWords } from '../domain/restart-words';
import type { EnsembleSpec, RestartSpec } from '../domain/spec';
import { type Connections, fence, report, sleep } from './deps';
import { stillHeldHost } from './hold';
import { dropStaleProbes, probeRoot } from './root-probe';
import { refuseStranding } from './stranding';
import type { LocateOutcome, RestartInput, RestartOutcome } from './types';

/** A server counts as younger when the instant of its start, by its own clock, moved by more than this. */
const BOOT_TOLERANCE_S = 2;
/** A server that has just started is let grow so old first: its next start could not be told from this one otherwise. */
const OLD_ENOUGH_S = 2 * BOOT_TOLERANCE_S + 1;
const COMMAND_OUTPUT_SHOWN = 1_500;

/**
 * Phase restart, one host: where it is needed, run the restart strategy and wait until the server is back, younger than before, and on
 * the root it should be on. A host that is on that root already is left alone.
 */
export async function restartHost(connections: Connections, input: RestartInput): Promise<RestartOutcome> {
  const { after, restart } = input;
  const before = input.host.zookeeper;
  const host = connections.host(input.host);
  const answer = (restarted: boolean, note: string): RestartOutcome => ({ restarted, note, at: new Date().toISOString() });
  await ensureRoot(connections, after, input.zookeeper.digestEnv);
  if (sameEnsemble(before, after)) return answer(false, 'left alone: its metadata stays where it is, a restart gains nothing');
  const boot = await bootBeforeRestart(connections, host, input);
  if (boot === 'moved') {
    const back = await configureBack(connections, host, input);
    return answer(false, `is on ${placeWords(after)} already${back ? ', and is configured for it again' : ''}`);
  }
  if (input.forward === true && Number.isFinite(boot)) await refuseStranding(connections, input);
  fence();
  if (!Number.isFinite(boot) && restart.reconfigure !== undefined && input.forward === true) {
    // What lies on a host that does not answer is not known: it is started where it is, and looked at before it moves.
    const { reconfigure: _later, ...asItIs } = restart;
    await runStrategy(connections, host, { ...input, restart: asItIs });
    await waitUntilBack(host, boot, restart, before);
    throw new MigrationError('STILL_RUNNING', `${input.host.name} did not answer, and was started as it is: it is looked at before it moves`);
  }
  await runStrategy(connections, host, input);
  await waitUntilBack(host, boot, restart, after);
  const root = await currentRoot(connections, host, input);
  if (root === undefined || !sameEnsemble(root, after)) {
    throw new MigrationError(
      'WRONG_ROOT',
      `${input.host.name} was restarted and is on ${root === undefined ? 'neither root' : placeWords(root)}, not on ${placeWords(after)}: change its configuration, restart it, then retry`,
    );
  }
  return answer(true, `restarted, now on ${placeWords(after)}`);
}

/**
 * Abort, a host that never left the place it returns to, and whose way to the other one was begun: its configuration may name that one, and
 * its next start would take it there.
 */
async function configureBack(connections: Connections, host: ClickHouseHost, input: RestartInput): Promise<boolean> {
  const { reconfigure } = input.restart;
  if (input.forward === true || reconfigure === undefined) return false;
  if ((await begunToLeave(host, input.migration, input.after)) === undefined) return false;
  await stillHeldHost(host, input.migration);
  fence();
  await runCommand(connections, input, 'reconfigure', reconfigure);
  await addEvent(host, input.migration, 'restart', { boot: await bootInstant(host), to: placeWords(input.after) });
  return true;
}

/** Where a restart was to take a host that runs as it did before it, in words; undefined where none was asked for, or the host was started since. */
export async function begunToLeave(host: ClickHouseHost, migration: string, place: EnsembleSpec): Promise<string | undefined> {
  const { to, boot } = await lastRestart(host, migration);
  if (typeof to !== 'string' || to === placeWords(place) || typeof boot !== 'number') return undefined;
  return (await bootInstant(host)) <= boot + BOOT_TOLERANCE_S ? to : undefined;
}

/**
 * The instant of the server's last start before the restart that this phase asks for; `moved` when it is where it should be already.
 * A host that is down has nothing to lose by being started: its restart strategy is run, whoever stopped it.
 */
async function bootBeforeRestart(connections: Connections, host: ClickHouseHost, input: RestartInput): Promise<number | 'moved'> {
  if (!(await answers(host))) return Number.NEGATIVE_INFINITY;
  const now = await currentRoot(connections, host, input);
  if (now !== undefined && sameEnsemble(now, input.after)) return 'moved';
  await stillHeldHost(host, input.migration);
  const boot = await bootOfGrown(host);
  const asked = await restartAsked(host, input);
  // Younger than when it was asked for, and not where it should be: that restart is over, and another one is needed.
  if (asked !== undefined && boot <= asked + BOOT_TOLERANCE_S) return asked;
  await addEvent(host, input.migration, 'restart', { boot, to: placeWords(input.after) });
  return boot;
}

/** The instant of a server's start, once it is old enough for the next start to count as another. */
async function bootOfGrown(host: ClickHouseHost): Promise<number> {
  for (;;) {
    const [row] = await host.select<{ up: number | string }>('SELECT toInt64(uptime()) AS up', { doing: 'asking how long it has been up', timeoutMs: 10_000 });
    const up = Number(row?.up);
    if (!(up < OLD_ENOUGH_S)) return bootInstant(host);
    report({ doing: `${host.name} has just started: its restart is asked for in a moment` });
    await sleep((OLD_ENOUGH_S - up) * 1_000);
  }
}

/** Whether the server answers, asked a few times. A refusal (wrong password) is an answer, and final. */
async function answers(host: ClickHouseHost): Promise<boolean> {
  for (let attempt = 1; attempt <= 4; attempt += 1) {
    try {
      await bootInstant(host);
      return true;
    } catch (error) {
      if (!(error instanceof MigrationError) || error.type !== 'HOST_UNREACHABLE') throw error;
      report({ doing: `${host.name} does not answer` });
      await sleep(attempt * 500);
    }
  }
  return false;
}

function sameEnsemble(a: EnsembleSpec, b: EnsembleSpec): boolean {
  return a.connect === b.connect && a.root === b.root;
}

async function currentRoot(connections: Connections, host: ClickHouseHost, input: RestartInput): Promise<EnsembleSpec | undefined> {
  report({ doing: 'looking which root it is on' });
  await dropStaleProbes(host);
  return probeRoot(connections, host, [input.after, input.host.zookeeper], input.zookeeper.digestEnv);
}

/** A server does not make its own root: it must be there before the first start on it. */
async function ensureRoot(connections: Connections, ensemble: EnsembleSpec, digestEnv: string | undefined): Promise<void> {
  if (ensemble.root === '') return;
  const top = await connections.zookeeper({ connect: ensemble.connect, root: '' }, digestEnv);
  await top.ensurePath(ensemble.root);
}

/** The instant of the server's start that an earlier try of this migration noted before it asked for a restart. */
async function restartAsked(host: ClickHouseHost, { migration, after }: RestartInput): Promise<number | undefined> {
  const { to, boot } = await lastRestart(host, migration);
  // One that led the other way (an abort that returns the host) says nothing of this one.
  if (to !== undefined && to !== placeWords(after)) return undefined;
  return typeof boot === 'number' ? boot : undefined;
}

/** What was noted of a host's last restart: its start before that, and where it was to go. */
async function lastRestart(host: ClickHouseHost, migration: string): Promise<{ readonly to?: unknown; readonly boot?: unknown }> {
  const events = await readEvents(host, migration);
  // What an aborted run of this migration noted is from before its inventory was sealed again.
  const ofThisRun = events.slice(events.findLastIndex(({ kind }) => kind === 'sealed') + 1);
  return ofThisRun.filter(({ kind }) => kind === 'restart').at(-1)?.data ?? {};
}

/** Seconds since 1970 at the server's start, by the server's own clock: another clock plays no part. */
async function bootInstant(host: ClickHouseHost): Promise<number> {
  const rows = await host.select<{ boot: number | string }>('SELECT toInt64(toUnixTimestamp(now())) - toInt64(uptime()) AS boot', {
    doing: 'asking how long it has been up',
    timeoutMs: 10_000,
  });
  const boot = Number(rows[0]?.boot);
  if (!Number.isFinite(boot)) throw new MigrationError('UNKNOWN', `${host.name} does not say how long it has been up`);
  return boot;
}

async function runStrategy(connections: Connections, host: ClickHouseHost, input: RestartInput): Promise<void> {
  const { restart } = input;
  if (restart.reconfigure !== undefined) await runCommand(connections, input, 'reconfigure', restart.reconfigure);
  const { strategy } = restart;
  switch (strategy.kind) {
    case 'command':
      await runCommand(connections, input, 'restart', strategy.command);
      return;
    case 'sql':
      report({ doing: 'SYSTEM SHUTDOWN' });
      // The server may go before it answers: whether it went is seen by its age.
      await host.run(statements.shutdown(), { doing: 'shutting down' }).catch((error: unknown) => {
        if (!(error instanceof MigrationError) || error.type !== 'HOST_UNREACHABLE') throw error;
      });
      return;
    case 'manual':
      return;
    case 'none':
      throw new MigrationError('RESTART_FAILED', `${host.name} has to move, and its restart strategy is none`);
    default:
      return strategy satisfies never;
  }
}

/**
 * Runs a command of the spec: an argument vector, no shell, in a process group of its own, so that what stops the worker does not stop it half
 * way. Its output is in the error, and the worker's secrets are in neither (invariant 9).
 */
async function runCommand(connections: Connections, input: RestartInput, what: string, command: readonly string[]): Promise<void> {
  const { timeoutMs } = input.restart;
  const { env, redact } = connections.forCommand(input.secretEnvs ?? []);
  const [file, ...args] = command;
  if (file === undefined) throw new MigrationError('INVARIANT', `an empty ${what} command`);
  report({ doing: `${what}: ${command.join(' ')}` });
  const result = await execa(file, args, {
    env, extendEnv: false, reject: false, timeout: timeoutMs, stdin: 'ignore', all: true, forceKillAfterDelay: 5_000, detached: true,
  });
  if (!result.failed) return;
  // A command that could not be run at all has said nothing.
  const said: readonly (string | undefined)[] = [result.all];
  const output = redact(said.join('')).trim().slice(-COMMAND_OUTPUT_SHOWN);
  const how = result.timedOut ? `did not end in ${timeoutMs} ms` : redact(result.shortMessage ?? `ended with ${String(result.exitCode)}`);
  throw new MigrationError('RESTART_FAILED', `${input.host.name}: the ${what} command failed: ${how}${output === '' ? '' : `\n${output}`}`);
}

async function waitUntilBack(host: ClickHouseHost, boot: number, restart: RestartSpec, after: EnsembleSpec): Promise<void> {
  const manual = restart.strategy.kind === 'manual';
  const words = manual
    ? byHandWords(host.name, after, true)
    : `waiting until ${host.name} is back`;
  const end = Date.now() + restart.timeoutMs;
  for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 1.5, 2_000)) {
    report({ doing: words, ...(manual ? { waiting: words } : {}) });
    const now = await bootInstant(host).catch((error: unknown) => {
      if (error instanceof MigrationError && error.kind !== 'final') return undefined;
      throw error;
    });
    if (now !== undefined && now > boot + BOOT_TOLERANCE_S) return;
    if (Date.now() > end) {
      throw new MigrationError(
        'RESTART_FAILED',
        now === undefined
          ? `${host.name} did not come back in ${restart.timeoutMs} ms`
          : `${host.name} answers, but was not restarted: it is as old as before`,
      );
    }
    await sleep(pauseMs);
  }
}

/** Where a host keeps its metadata now, seen, not assumed. */
export async function locateHost(connections: Connections, input: RestartInput): Promise<LocateOutcome> {
  if (sameEnsemble(input.host.zookeeper, input.after)) return { on: 'before' };
  const now = await currentRoot(connections, connections.host(input.host), input);
  if (now === undefined) return { on: 'elsewhere' };
  return { on: sameEnsemble(now, input.after) ? 'after' : 'before' };
}
