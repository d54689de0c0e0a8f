import { heartbeat as temporalHeartbeat, Context } from '@temporalio/activity';

import { ClickHouseHost } from '../clickhouse/host';
import { NoteWriter } from '../clickhouse/store';
import { resolveSecret, withoutSecrets, withoutVariables } from '../config/secrets';
import type { EnsembleSpec } from '../domain/spec';
import { MigrationError } from '../domain/failure';
import type { ZooKeeperSession } from '../zookeeper/session';
import { createZooKeeperPool, type ZooKeeperPool } from '../zookeeper/pool';
import type { HostTarget, ZooKeeperTarget } from './types';
import { Slots } from './slots';

/** Secrets that the worker itself is given, for Temporal. */
const WORKERS_OWN = ['TEMPORAL_API_KEY', 'TEMPORAL_TLS_CLIENT_KEY_DATA', 'TEMPORAL_CODEC_AUTH'];

/** What the activities work with: connections to hosts and ensembles, made once a process and closed by whoever made them. */
export class Connections {
  readonly slots = new Slots();
  private readonly hosts = new Map<string, { host: ClickHouseHost; notes: NoteWriter }>();
  private readonly pools = new Map<string, ZooKeeperPool>();

  /** @param env where the variables that the spec names are read */
  constructor(private readonly env: NodeJS.ProcessEnv) {}

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
    const variables = [...secretEnvs, ...WORKERS_OWN];
    return { env: withoutVariables(this.env, variables), redact: (text) => withoutSecrets(text, this.env, variables) };
  }

  async close(): Promise<void> {
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
  if (zookeeperName === 'default' || zookeeperName === '') return host.zookeeper;
  const auxiliary = zookeeper.auxiliary[zookeeperName];
  if (auxiliary === undefined) {
    throw new MigrationError(
      'UNSUPPORTED',
      `a path is in the auxiliary ensemble "${zookeeperName}", and the spec's zookeeper.auxiliary does not name it`,
    );
  }
  return auxiliary;
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
const HEARTBEAT_EVERY_MS = 3_000;

/** Runs `work` while the last progress is told every few seconds. */
export async function withHeartbeat<T>(work: () => Promise<T>): Promise<T> {
  const context = currentContext();
  if (context === undefined) return work();
  const timer = setInterval(() => {
    context.heartbeat(lastProgress.get(context) ?? { doing: 'working' });
  }, HEARTBEAT_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** Throws when the activity was asked to stop; called between statements, never instead of looking at one that runs. */
export function stopIfCancelled(): void {
  const context = currentContext();
  if (context?.cancellationSignal.aborted === true) throw new MigrationError('ABORTED', 'the activity was asked to stop');
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
