import { heartbeat as temporalHeartbeat, Context } from '@temporalio/activity';

import { ClickHouseHost } from '../clickhouse/host';
import { NoteWriter } from '../clickhouse/store';
import { resolveSecret, withoutSecrets, withoutVariables } from '../config/secrets';
import type { EnsembleSpec } from '../domain/spec';
import { MigrationError } from '../domain/failure';
import { isOwnEnsemble } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import { createZooKeeperPool, type ZooKeeperPool } from '../zookeeper/pool';
import type { DetachInput, HostTarget, ZooKeeperTarget } from './types';
import { Pulse } from './fence';
import { PlanCache } from './plan-cache';
import { Slots } from './slots';
import { type AskControl, type Turn, Turns } from './turns';

/** Secrets that the worker itself is given, for Temporal. */
const WORKERS_OWN = ['TEMPORAL_API_KEY', 'TEMPORAL_TLS_CLIENT_KEY_DATA', 'TEMPORAL_CODEC_AUTH'];

/** What the activities work with: connections to hosts and ensembles, made once a process and closed by whoever made them. */
export class Connections {
  readonly slots = new Slots();
  readonly turns: Turns;
  readonly plans = new PlanCache();
  private readonly hosts = new Map<string, { host: ClickHouseHost; notes: NoteWriter }>();
  private readonly pools = new Map<string, ZooKeeperPool>();

  /**
   * @param env where the variables that the spec names are read
   * @param askControl asks a migration's workflow what may begin now; nobody is asked where there is none
   */
  constructor(
    private readonly env: NodeJS.ProcessEnv,
    askControl: AskControl = () => Promise.resolve(undefined),
  ) {
    this.turns = new Turns(this.slots, askControl);
  }

  host(target: HostTarget): ClickHouseHost {
    return this.entry(target).host;
  }

  notes(target: HostTarget): NoteWriter {
    return this.entry(target).notes;
  }

  /** A session whose paths are below the ensemble's root. @throws MigrationError `ZOOKEEPER_UNAVAILABLE`, `MISSING_VARIABLE` */
  async zookeeper(ensemble: EnsembleSpec, digestEnv: string | undefined): Promise<ZooKeeperSession> {
    const pool = this.pools.get(digestEnv ?? '') ?? this.openPool(digestEnv);
    try {
      return await pool.session(ensemble.connect, ensemble.root);
    } catch (error) {
      throw new MigrationError(
        'ZOOKEEPER_UNAVAILABLE',
        `ZooKeeper ${ensemble.connect} does not answer: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }

  /** What commands of the spec see: the worker's environment without the named variables, and no secret of theirs in what is told of the output. */
  forCommand(secretEnvs: readonly string[]): { readonly env: NodeJS.ProcessEnv; readonly redact: (text: string) => string } {
    const variables = [...secretEnvs, ...WORKERS_OWN, ...Object.keys(this.env).filter((name) => name.startsWith('TEMPORAL_GRPC_META'))];
    return { env: withoutVariables(this.env, variables), redact: (text) => withoutSecrets(text, this.env, variables) };
  }

  async close(): Promise<void> {
    this.plans.clear();
    await Promise.allSettled([
      ...[...this.hosts.values()].map(({ host }) => host.close()),
      ...[...this.pools.values()].map((pool) => pool.close()),
    ]);
    this.hosts.clear();
    this.pools.clear();
  }

  private entry(target: HostTarget): { host: ClickHouseHost; notes: NoteWriter } {
    const key = JSON.stringify([target.name, target.url, target.user, target.passwordEnv, target.tls]);
    const known = this.hosts.get(key);
    if (known !== undefined) return known;
    const host = new ClickHouseHost(target, this.secret(target.passwordEnv));
    const entry = { host, notes: new NoteWriter(host) };
    this.hosts.set(key, entry);
    return entry;
  }

  private openPool(digestEnv: string | undefined): ZooKeeperPool {
    const digest = this.secret(digestEnv);
    const pool = createZooKeeperPool(digest === undefined ? {} : { digest });
    this.pools.set(digestEnv ?? '', pool);
    return pool;
  }

  private secret(variable: string | undefined): string | undefined {
    if (variable === undefined) return undefined;
    try {
      return resolveSecret(variable, this.env);
    } catch (error) {
      throw new MigrationError('MISSING_VARIABLE', `the worker has no variable ${variable}: set it and start the worker again`, {
        cause: error,
      });
    }
  }
}

/** The ensemble of a table on a host: the servers' own, or an auxiliary one by its name in `system.replicas`. */
export function ensembleOf(host: HostTarget, zookeeper: ZooKeeperTarget, zookeeperName: string): EnsembleSpec {
  if (isOwnEnsemble(zookeeperName)) return host.zookeeper;
  const auxiliary = zookeeper.auxiliary[zookeeperName];
  if (auxiliary === undefined) {
    throw new MigrationError(
      'UNSUPPORTED',
      `a path is in the auxiliary ensemble "${zookeeperName}", and the spec's zookeeper.auxiliary does not name it`,
    );
  }
  return auxiliary;
}

/** What an activity on a replica needs to take its turn. */
export function turnOf({ migration, host, limit, aborting }: DetachInput): Omit<Turn, 'what'> {
  return { migration, host: host.name, limit, ...(aborting === undefined ? {} : { aborting }) };
}

/** What a running activity tells: sent at once, and again on a timer by {@link withHeartbeat}. */
export interface Progress {
  readonly doing: string;
  /** Set while somebody outside has to do something, in words. */
  readonly waiting?: string;
  /** What is waited for, when it comes by itself. */
  readonly waitingFor?: string;
  readonly done?: number;
  readonly total?: number;
}

/** Tells Temporal what the activity is doing. Outside an activity (the `plan` command) it does nothing. */
export function report(progress: Progress): void {
  const context = currentContext();
  if (context === undefined) return;
  lastProgress.set(context, progress);
  temporalHeartbeat(progress);
}

const lastProgress = new WeakMap<Context, Progress>();
const pulses = new WeakMap<Context, Pulse>();
/** The worker lets no heartbeat wait for longer than this. */
export const HEARTBEAT_EVERY_MS = 3_000;
const PULSE_EVERY_MS = 500;

/** Runs `work` while the last progress is told every few seconds. */
export async function withHeartbeat<T>(work: () => Promise<T>): Promise<T> {
  const context = currentContext();
  if (context === undefined) return work();
  const pulse = new Pulse();
  pulses.set(context, pulse);
  const timers = [
    setInterval(() => {
      context.heartbeat(lastProgress.get(context) ?? { doing: 'working' });
    }, HEARTBEAT_EVERY_MS),
    setInterval(() => {
      pulse.beat();
    }, PULSE_EVERY_MS),
  ];
  try {
    return await work();
  } finally {
    timers.forEach(clearInterval);
  }
}

/** Throws when the activity was asked to stop; called between statements, never instead of looking at one that runs. */
export function stopIfCancelled(): void {
  if (isCancelled(currentContext())) throw askedToStop();
}

/** Aborts when the running activity is asked to stop; undefined outside one. */
export function cancellation(): AbortSignal | undefined {
  return currentContext()?.cancellationSignal;
}

function isCancelled(context: Context | undefined): boolean {
  return context?.cancellationSignal.aborted === true;
}

function askedToStop(): MigrationError {
  return new MigrationError('ABORTED', 'the activity was asked to stop');
}

/**
 * The last thing before whatever cannot be taken back (DETACH, a deletion, a restart): throws when this attempt was asked to stop, or may
 * have been replaced by another while it stood still.
 *
 * @throws MigrationError `ABORTED`, `STILL_RUNNING`
 */
export function fence(): void {
  fenced()();
}

/** {@link fence} of the running activity, for callbacks that do not know whose they are. */
export function fenced(): () => void {
  const context = currentContext();
  return () => {
    const why = whyNotOn(context);
    if (why !== undefined) throw why;
  };
}

/** Whether another attempt may be at what this one does, now or since before: what it had sent may have been done after the other's work. */
export function mayBeReplaced(): boolean {
  return whyNotOn(currentContext()) !== undefined;
}

function whyNotOn(context: Context | undefined): MigrationError | undefined {
  if (isCancelled(context)) return askedToStop();
  const stalledMs = context === undefined ? undefined : pulses.get(context)?.stalledMs();
  if (stalledMs === undefined) return undefined;
  const seconds = Math.round(stalledMs / 1_000);
  return new MigrationError('STILL_RUNNING', `this attempt stood still for ${seconds} s, and another may have taken its place: it does nothing more, and is begun again`);
}

export function currentContext(): Context | undefined {
  try {
    return Context.current();
  } catch {
    return undefined;
  }
}

export async function sleep(ms: number): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, ms));
}
