import { Command, InvalidArgumentError } from 'commander';

import type { StackDescription } from '../dev/stack';
import { type GlobalOptions, printJson, printResult, withExample } from './common';

interface CommonOptions extends GlobalOptions {
  readonly dir?: string;
}

interface UpOptions extends CommonOptions {
  hosts?: number;
  replicas?: number;
  zkRoot?: string;
  zeroCopy?: boolean;
  activation: boolean;
  temporalDefaults?: boolean;
  replicaPath?: string;
}

/** `ch-zk-migrate dev …`: the embedded development stack. */
export function devCommand(): Command {
  const dev = new Command('dev').description('the embedded stack: a Temporal server with its Web UI, ZooKeeper and ClickHouse hosts, on this machine');
  dev.addCommand(upCommand());
  dev.addCommand(downCommand());
  dev.addCommand(statusCommand());
  dev.addCommand(restartHostCommand());
  dev.addCommand(reconfigureHostCommand());
  dev.addCommand(killCommand());
  dev.addCommand(startCommand());
  return withExample(
    dev,
    'ch-zk-migrate dev up --hosts 2 --zk-root /old',
    'ch-zk-migrate dev restart-host ch-1 --zk-root /new',
    'ch-zk-migrate dev down',
  );
}

function upCommand(): Command {
  return common(new Command('up'), 'ch-zk-migrate dev up --hosts 2 --zk-root /old', 'by default a folder in the user\'s cache')
    .description('bring the stack up, and print where it is; on a running stack nothing changes')
    .option('--hosts <n>', 'ClickHouse hosts: ch-1, ch-2, …', positiveInteger)
    .option('--replicas <n>', 'hosts a shard', positiveInteger)
    .option('--zk-root <root>', 'the ZooKeeper root of every host (default: none)', zkRoot)
    .option('--zero-copy', 'a disk object_storage with zero-copy replication')
    .option('--no-activation', 'leave replicas readonly, as the embedded engine has them')
    .option('--temporal-defaults', 'do not tune the Temporal server')
    .option('--replica-path <path>', 'default_replica_path of every host')
    .action(async (options: UpOptions) => {
      const { stack, cache, toStderr } = await load();
      const { dir, json, activation, ...rest } = withoutTemporal(options);
      const up = await stack.stackUp({ dir: dir ?? cache.defaultStackDir(), activate: activation, progress: toStderr, ...rest });
      print(up, json);
    });
}

function downCommand(): Command {
  return common(new Command('down'), 'ch-zk-migrate dev down')
    .description('stop the stack; its data stays, and `dev up` continues on it')
    .option('--delete-data', 'delete its data too')
    .action(async (options: CommonOptions & { deleteData?: boolean }) => {
      const { stack, dir } = await loadFor(options);
      print(await stack.stackDown(dir, { deleteData: options.deleteData ?? false }), options.json);
    });
}

function statusCommand(): Command {
  return common(new Command('status'), 'ch-zk-migrate dev status --json')
    .description('what the stack consists of, and what of it runs')
    .action(async (options: CommonOptions) => {
      const { stack, dir } = await loadFor(options);
      print(await stack.stackStatus(dir), options.json);
    });
}

function restartHostCommand(): Command {
  return common(new Command('restart-host'), 'ch-zk-migrate dev restart-host ch-1 --zk-root /new')
    .description('restart one ClickHouse host, on another ZooKeeper root where one is given')
    .argument('<name>', 'the host, for example ch-1')
    .option('--zk-root <root>', 'its ZooKeeper root from now on; an empty one is none', zkRoot)
    .action(async (name: string, options: CommonOptions & { zkRoot?: string }) => {
      const { stack, dir, toStderr } = await loadFor(options);
      const root = options.zkRoot === undefined ? {} : { zkRoot: options.zkRoot };
      print(await stack.restartHost(dir, name, { ...root, progress: toStderr }), options.json);
    });
}

function reconfigureHostCommand(): Command {
  return common(new Command('reconfigure-host'), 'ch-zk-migrate dev reconfigure-host ch-1 --zk-root /new')
    .description('change the configuration of one ClickHouse host: it holds from its next start on')
    .argument('<name>', 'the host, for example ch-1')
    .option('--zk-root <root>', 'its ZooKeeper root; an empty one is none', zkRoot)
    .option('--zk-port <port>', 'the port of its ZooKeeper, on this machine', port)
    .option('--auxiliary-port <port>', 'the port of its auxiliary ZooKeeper zk2, on this machine', port)
    .option('--replica-path <path>', 'its default_replica_path')
    .action(async (name: string, options: CommonOptions & { zkRoot?: string; zkPort?: number; auxiliaryPort?: number; replicaPath?: string }) => {
      const { stack, dir } = await loadFor(options);
      const { json, dir: _where, ...change } = withoutTemporal(options);
      print(await stack.reconfigureHost(dir, name, change), json);
    });
}

function killCommand(): Command {
  return common(new Command('kill'), 'ch-zk-migrate dev kill ch-1')
    .description('kill -9 a part of the stack')
    .argument('<name>', 'a host, temporal or zookeeper')
    .action(async (name: string, options: CommonOptions) => {
      const { stack, dir } = await loadFor(options);
      print(await stack.killPart(dir, name), options.json);
    });
}

function startCommand(): Command {
  return common(new Command('start'), 'ch-zk-migrate dev start ch-1')
    .description('start a part of the stack that does not run')
    .argument('<name>', 'a host, temporal or zookeeper')
    .action(async (name: string, options: CommonOptions) => {
      const { stack, dir, toStderr } = await loadFor(options);
      print(await stack.startPart(dir, name, { progress: toStderr }), options.json);
    });
}

function common(command: Command, example: string, dirDefault = 'by default the last stack brought up'): Command {
  return withExample(command.option('--dir <dir>', `the stack's directory (${dirDefault})`), example);
}

/** The stack has a Temporal of its own: where another one is, is taken and left. */
function withoutTemporal<T extends GlobalOptions>(options: T): Omit<T, 'address' | 'namespace' | 'profile'> {
  const { address: _address, namespace: _namespace, profile: _profile, ...rest } = options;
  return rest;
}

/**
 * Loaded only when it is used: what the embedded stack needs is not installed with the package.
 *
 * @throws Error saying in one line how to get it
 */
async function load() {
  try {
    const [stack, cache, { toStderr }] = await Promise.all([import('../dev/stack.js'), import('../dev/cache.js'), import('../dev/progress.js')]);
    return { stack, cache, toStderr };
  } catch (error) {
    if (!isMissingModule(error)) throw error;
    throw new Error('the embedded stack is not part of the installed package: clone the repository and run npm ci there', { cause: error });
  }
}

function isMissingModule(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_MODULE_NOT_FOUND');
}

async function loadFor(options: CommonOptions) {
  const loaded = await load();
  const dir = options.dir ?? loaded.cache.lastStack();
  if (dir === undefined) {
    throw new Error('no stack was brought up yet: ch-zk-migrate dev up');
  }
  return { ...loaded, dir };
}

function print(stack: StackDescription, json: boolean | undefined): void {
  if (json === true) printJson(stack);
  else printResult(asText(stack));
}

/** The same for a person. */
function asText(stack: StackDescription): string {
  const state = (pid: number | null): string => (pid === null ? 'down' : `pid ${pid}`);
  const root = (zkRoot: string): string => (zkRoot === '' ? 'no root' : `root ${zkRoot}`);
  const lines = [
    `temporal   ${stack.temporal.address}   ${state(stack.temporal.pid)}   Web UI ${stack.temporal.ui}`,
    `zookeeper  ${stack.zookeeper.connect}   ${state(stack.zookeeper.pid)}`,
    ...stack.hosts.map((host) => `${host.name.padEnd(10)} ${host.url}   ${state(host.pid)}   ${root(host.zkRoot)}   shard ${host.shard}`),
    ...new Set(stack.hosts.map((host) => `           ${host.activationNote}`)),
    `in ${stack.dir}`,
  ];
  return `${lines.join('\n')}\n`;
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 64) {
    throw new InvalidArgumentError('a whole number from 1 to 64 is needed');
  }
  return value;
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new InvalidArgumentError('a port is needed');
  return value;
}

/** As ClickHouse takes it: absolute, no slash at the end; empty for none. */
function zkRoot(text: string): string {
  if (text === '' || text === '/') return '';
  if (!/^(\/[^/]+)+$/.test(text)) {
    throw new InvalidArgumentError('an absolute ZooKeeper path without a slash at its end is needed, for example /old');
  }
  return text;
}
