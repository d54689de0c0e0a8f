import fs from 'node:fs';
import path from 'node:path';
import { rememberStack } from './cache';
import { AUXILIARY, changeHostConfig, type HostChange, hostAnswers, spawnHost, zkRootOf } from './clickhouse-host';
import { describeStack, type StackDescription } from './describe';
import { withLock } from './lock';
import { lastLines } from './log-tail';
import { freePorts } from './ports';
import { requireParts } from './prerequisites';
import { readLiveProcess, stopProcess, waitFor } from './processes';
import { silent, type Progress } from './progress';
import { readSettings, requireSettings, stackFiles, writeSettings, type StackSettings, type StackUser } from './stack-settings';
import { spawnTemporal, temporalAnswers } from './temporal';
import { ensureNode, spawnZookeeper, zookeeperAnswers } from './zookeeper';

export type { HostDescription, StackDescription } from './describe';

/**
 * The embedded stack: a Temporal development server with its Web UI, ZooKeeper, and ClickHouse
 * hosts, each a process of its own in the background, all on 127.0.0.1 and on one directory.
 *
 * Several processes may call these functions at once; each part is started and stopped by one at a time.
 */
export interface StackOptions {
  /** Where everything is kept; made when missing. */
  dir: string;
  /** How many ClickHouse hosts: `ch-1`, `ch-2`, … @default 2 */
  hosts?: number;
  /** Hosts a shard: `ch-1` and `ch-2` are the replicas of shard 1 with 2. @default 1 */
  replicas?: number;
  /** `<zookeeper><root>` of all hosts. @default '' (none) */
  zkRoot?: string;
  /** A disk `object_storage` and zero-copy replication. @default false */
  zeroCopy?: boolean;
  /** Make replicas active, see host/activate-replication.ts. @default true */
  activate?: boolean;
  /** Leave Temporal's development server as it comes. @default false */
  temporalDefaults?: boolean;
  /** `<default_replica_path>`. @default '/clickhouse/tables/{shard}/{database}/{table}' */
  replicaPath?: string;
  /** Password of the ClickHouse user `default`. @default '' (none) */
  password?: string;
  /**
   * Users beside `default`, with only the rights named. With any, the rights of `default` come from a
   * role too, for the engine knows one user and the hosts choose its role. @default none
   */
  users?: readonly StackUser[];
  /** Make it the default for `--dir` afterwards. @default true */
  remember?: boolean;
  progress?: Progress;
}

export const DEFAULT_REPLICA_PATH = '/clickhouse/tables/{shard}/{database}/{table}';

const TEMPORAL = 'temporal';
const ZOOKEEPER = 'zookeeper';
const START_TIMEOUT_MS = 60_000;
const LOCK_TIMEOUT_MS = 600_000;
const GRACE_MS = 10_000;

/**
 * Brings a stack up: makes it when `dir` holds none, otherwise starts what does not run, on the
 * ports and with the options it was made with. Returns when every part answers; on a running stack
 * it changes nothing.
 *
 * @throws Error when something is missing on this machine (a line each), or a part does not come up, with the end of its log
 */
export async function stackUp(options: StackOptions): Promise<StackDescription> {
  const progress = options.progress ?? silent;
  const dir = path.resolve(options.dir);
  fs.mkdirSync(dir, { recursive: true });
  return withLock(stackFiles(dir).lock, LOCK_TIMEOUT_MS, async () => {
    const known = readSettings(dir);
    if (known !== undefined && isOther(known, options)) {
      progress('this stack was made with other options, and stays as it is; another --dir makes another one');
    }
    const settings = known ?? (await makeStack(dir, options));
    await startAll(dir, settings, progress);
    if (options.remember !== false) rememberStack(dir);
    return describeStack(dir, settings);
  });
}

/** Whether the options name what the stack is not; where its hosts are now is not looked at. */
function isOther(settings: StackSettings, options: StackOptions): boolean {
  const differs = <T>(asked: T | undefined, is: T): boolean => asked !== undefined && asked !== is;
  const replicas = settings.hosts.filter((host) => host.shard === 1).length;
  return (
    differs(options.hosts, settings.hosts.length) ||
    differs(options.replicas, replicas) ||
    differs(options.zkRoot, settings.hosts[0]?.zkRoot) ||
    differs(options.zeroCopy, settings.zeroCopy) ||
    differs(options.replicaPath, settings.replicaPath)
  );
}

async function makeStack(dir: string, options: StackOptions): Promise<StackSettings> {
  await requireParts(options.progress ?? silent);
  const count = options.hosts ?? 2;
  const replicas = options.replicas ?? 1;
  const [temporal = 0, ui = 0, zookeeper = 0, ...ports] = await freePorts(3 + 2 * count);
  const settings: StackSettings = {
    version: 1,
    temporal: { port: temporal, uiPort: ui, tuned: options.temporalDefaults !== true },
    zookeeper: { port: zookeeper },
    zeroCopy: options.zeroCopy ?? false,
    activate: options.activate ?? true,
    replicaPath: options.replicaPath ?? DEFAULT_REPLICA_PATH,
    password: options.password ?? '',
    users: (options.users ?? []).map((user) => ({ ...user })),
    hosts: Array.from({ length: count }, (_, i) => ({
      name: `ch-${i + 1}`,
      port: ports[2 * i] ?? 0,
      interserverPort: ports[2 * i + 1] ?? 0,
      shard: Math.floor(i / replicas) + 1,
      replica: `ch-${i + 1}`,
      zkRoot: options.zkRoot ?? '',
    })),
  };
  writeSettings(dir, settings);
  return settings;
}

/** ZooKeeper before the hosts, for their roots must exist; Temporal beside. */
async function startAll(dir: string, settings: StackSettings, progress: Progress): Promise<void> {
  const clickhouse = async (): Promise<void> => {
    await start(dir, settings, ZOOKEEPER, progress);
    await Promise.all(settings.hosts.map(({ name }) => start(dir, settings, name, progress)));
  };
  const results = await Promise.allSettled([start(dir, settings, TEMPORAL, progress), clickhouse()]);
  const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as Error);
  if (failures.length > 0) {
    throw new Error(failures.map((failure) => failure.message).join('\n'), { cause: failures[0] });
  }
}

/** Starts a part that does not run, and waits until it answers. */
async function start(dir: string, settings: StackSettings, name: string, progress: Progress): Promise<void> {
  await withLock(stackFiles(dir).part(name).lock, LOCK_TIMEOUT_MS, () => startLocked(dir, settings, name, progress));
}

async function startLocked(dir: string, settings: StackSettings, name: string, progress: Progress, zkRoot?: string): Promise<void> {
  const files = stackFiles(dir).part(name);
  const part = partOf(settings, name);
  if (readLiveProcess(files.pid) === undefined) {
    fs.rmSync(files.pid, { force: true });
    progress(`starting ${name}`);
    await part.spawn(dir, zkRoot, progress);
    await waitFor(() => Promise.resolve(fs.existsSync(files.pid)), START_TIMEOUT_MS, 10);
  }
  const up = await waitFor(async () => readLiveProcess(files.pid) === undefined || (await part.answers()), START_TIMEOUT_MS, 50);
  if (!up || readLiveProcess(files.pid) === undefined) {
    throw new Error(`${name} ${up ? 'ended while starting' : `did not answer within ${START_TIMEOUT_MS / 1000} s`}; its log ends with:\n${lastLines(files.log, 8)}`);
  }
}

interface Part {
  spawn: (dir: string, zkRoot: string | undefined, progress: Progress) => Promise<void>;
  answers: () => Promise<boolean>;
}

/** @throws Error for a name that the stack does not have, listing those it has */
function partOf(settings: StackSettings, name: string): Part {
  if (name === TEMPORAL) {
    return { spawn: (dir, _, progress) => spawnTemporal(dir, settings, progress), answers: () => temporalAnswers(settings) };
  }
  if (name === ZOOKEEPER) {
    return { spawn: (dir, _, progress) => spawnZookeeper(dir, settings, progress), answers: () => zookeeperAnswers(settings) };
  }
  const host = settings.hosts.find((each) => each.name === name);
  if (host === undefined) {
    throw new Error(`the stack has no part named ${name}; it has ${partNames(settings).join(', ')}`);
  }
  return {
    spawn: async (dir, zkRoot) => {
      const root = zkRoot ?? zkRootOf(dir, host);
      await ensureNode(settings, root);
      await ensureNode(settings, AUXILIARY.root);
      spawnHost(dir, settings, host, root);
    },
    answers: () => hostAnswers(host),
  };
}

/** The names of a stack's parts: `temporal`, `zookeeper` and the hosts. */
export function partNames(settings: StackSettings): string[] {
  return [TEMPORAL, ZOOKEEPER, ...settings.hosts.map((host) => host.name)];
}

/**
 * Stops every part, hosts first; the data stays, and {@link stackUp} continues on it.
 *
 * @throws Error when there is no stack in `dir`
 */
export async function stackDown(dir: string, options: { deleteData?: boolean } = {}): Promise<StackDescription> {
  const at = path.resolve(dir);
  const settings = requireSettings(at);
  const description = await withLock(stackFiles(at).lock, LOCK_TIMEOUT_MS, async () => {
    await Promise.all(settings.hosts.map(({ name }) => stop(at, name, GRACE_MS)));
    await Promise.all([stop(at, TEMPORAL, GRACE_MS), stop(at, ZOOKEEPER, GRACE_MS)]);
    return describeStack(at, settings);
  });
  if (options.deleteData === true) {
    fs.rmSync(at, { recursive: true, force: true });
  }
  return description;
}

async function stop(dir: string, name: string, graceMs: number): Promise<void> {
  const files = stackFiles(dir).part(name);
  await withLock(files.lock, LOCK_TIMEOUT_MS, () => stopLocked(dir, name, graceMs));
}

async function stopLocked(dir: string, name: string, graceMs: number): Promise<void> {
  const files = stackFiles(dir).part(name);
  // A host that is shutting itself down may have put its successor into the pid file meanwhile.
  for (let found = readLiveProcess(files.pid); found !== undefined; found = readLiveProcess(files.pid)) {
    await stopProcess(found, graceMs);
  }
}

/** What there is, and what of it runs. @throws Error when there is no stack in `dir` */
export async function stackStatus(dir: string): Promise<StackDescription> {
  const at = path.resolve(dir);
  return describeStack(at, requireSettings(at));
}

/**
 * Stops a host and starts it again, on another ZooKeeper root where one is given; the root is made
 * when it is missing. Returns when the host answers.
 *
 * @param options.zkRoot the new `<zookeeper><root>`; empty for none; left out, it stays
 */
export async function restartHost(dir: string, name: string, options: { zkRoot?: string; progress?: Progress } = {}): Promise<StackDescription> {
  const at = path.resolve(dir);
  const settings = requireSettings(at);
  requireHost(settings, name);
  await withLock(stackFiles(at).part(name).lock, LOCK_TIMEOUT_MS, async () => {
    await stopLocked(at, name, GRACE_MS);
    await startLocked(at, settings, name, options.progress ?? silent, options.zkRoot);
  });
  return describeStack(at, settings);
}

/**
 * Changes a host's configuration, as an operator edits the server's files: it holds from the host's next start on, and
 * {@link describeStack} shows it at once.
 *
 * @throws Error for a host that the stack does not have, or that was never started
 */
export async function reconfigureHost(dir: string, name: string, change: HostChange): Promise<StackDescription> {
  const at = path.resolve(dir);
  const settings = requireSettings(at);
  requireHost(settings, name);
  await withLock(stackFiles(at).part(name).lock, LOCK_TIMEOUT_MS, () => {
    changeHostConfig(at, name, change);
    return Promise.resolve();
  });
  return describeStack(at, settings);
}

function requireHost(settings: StackSettings, name: string): void {
  if (settings.hosts.some((host) => host.name === name)) return;
  throw new Error(`the stack has no host named ${name}; it has ${settings.hosts.map((host) => host.name).join(', ')}`);
}

/** Kills a part with SIGKILL: a host, `temporal` or `zookeeper`. Does nothing when it does not run. */
export async function killPart(dir: string, name: string): Promise<StackDescription> {
  const at = path.resolve(dir);
  const settings = requireSettings(at);
  partOf(settings, name);
  const found = readLiveProcess(stackFiles(at).part(name).pid);
  if (found !== undefined) {
    await stopProcess(found, 0);
  }
  return describeStack(at, settings);
}

/** Starts a part that does not run, and waits until it answers. */
export async function startPart(dir: string, name: string, options: { progress?: Progress } = {}): Promise<StackDescription> {
  const at = path.resolve(dir);
  const settings = requireSettings(at);
  partOf(settings, name);
  await start(at, settings, name, options.progress ?? silent);
  return describeStack(at, settings);
}
