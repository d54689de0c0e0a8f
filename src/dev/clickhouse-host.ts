import fs from 'node:fs';
import path from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { lastLines } from './log-tail';
import type { HostConfig } from './host/config';
import { packageRoot } from './package-root';
import { readPartConfig, stackFiles, type HostSettings, type StackSettings } from './stack-settings';
import { spawnPart } from './spawn-part';
import { escapeXml, hostUser, usersXml } from './users-xml';

/** The auxiliary ensemble of every host: paths such as `zk2:/a/b`. */
export const AUXILIARY = { name: 'zk2', root: '/auxiliary' } as const;

/** Statements that one host runs at a time: libuv's threads, one a statement. */
const THREADS = 64;

/**
 * Writes a host's configuration and starts it; does not wait.
 *
 * Contract: whoever calls it holds the host's lock, and the host does not run.
 *
 * @param zkRoot ClickHouse's `<zookeeper><root>`; empty for none
 */
export function spawnHost(dir: string, settings: StackSettings, host: HostSettings, zkRoot: string): void {
  const files = stackFiles(dir).part(host.name);
  writeClickHouseConfig(files.home, settings, host);
  const config = hostConfig(dir, settings, host, zkRoot);
  fs.mkdirSync(path.dirname(files.config), { recursive: true });
  writeFileAtomic.sync(files.config, `${JSON.stringify(config, null, 2)}\n`);
  fs.rmSync(files.status, { force: true });
  spawnPart({
    command: process.execPath,
    args: [path.join(__dirname, 'host', 'main.js'), '--config', files.config],
    environment: { UV_THREADPOOL_SIZE: String(THREADS) },
    logFile: files.log,
    pidFile: files.pid,
  });
}

/** What of a host's configuration can be changed. */
export interface HostChange {
  /** `<zookeeper><root>`; empty for none. */
  zkRoot?: string;
  /** `<zookeeper><node><port>`: of another server on this machine. */
  zkPort?: number;
  /** `<auxiliary_zookeepers><zk2><node><port>`: of another server on this machine, where the root {@link AUXILIARY} must exist. */
  auxiliaryPort?: number;
  /** `<default_replica_path>`. */
  replicaPath?: string;
}

/** Contract: whoever calls it holds the host's lock. */
export function changeHostConfig(dir: string, name: string, { zkRoot, zkPort, auxiliaryPort, replicaPath }: HostChange): void {
  const config = readPartConfig(dir, name);
  if (config === undefined) throw new Error(`${name} was never started`);
  const environment = {
    ...config.environment,
    ...(zkRoot === undefined ? {} : { CH_ZK_ROOT: zkRoot }),
    ...(zkPort === undefined ? {} : { CH_ZK_PORT: String(zkPort) }),
    ...(auxiliaryPort === undefined ? {} : { CH_AUXILIARY_PORT: String(auxiliaryPort) }),
    ...(replicaPath === undefined ? {} : { CH_REPLICA_PATH: replicaPath }),
  };
  writeFileAtomic.sync(stackFiles(dir).part(name).config, `${JSON.stringify({ ...config, environment }, null, 2)}\n`);
}

/** The root a host is on, or is to be started on next. */
export function zkRootOf(dir: string, host: HostSettings): string {
  return readPartConfig(dir, host.name)?.environment['CH_ZK_ROOT'] ?? host.zkRoot;
}

function hostConfig(dir: string, settings: StackSettings, host: HostSettings, zkRoot: string): HostConfig {
  const files = stackFiles(dir).part(host.name);
  const last = readPartConfig(dir, host.name)?.environment;
  return {
    name: host.name,
    port: host.port,
    interserverPort: host.interserverPort,
    dataDir: path.join(files.home, 'data'),
    configFile: path.join(files.home, 'config', 'config.xml'),
    environment: {
      CH_ZK_HOST: '127.0.0.1',
      CH_ZK_PORT: last?.['CH_ZK_PORT'] ?? String(settings.zookeeper.port),
      CH_ZK_ROOT: zkRoot,
      CH_AUXILIARY_PORT: last?.['CH_AUXILIARY_PORT'] ?? String(settings.zookeeper.port),
      CH_SHARD: String(host.shard),
      CH_REPLICA: host.replica,
      CH_REPLICA_PATH: last?.['CH_REPLICA_PATH'] ?? settings.replicaPath,
      CH_BLOB_DIR: `${stackFiles(dir).blobs}/`,
    },
    statementLog: files.statements,
    logFile: files.log,
    pidFile: files.pid,
    statusFile: files.status,
    activate: settings.activate,
    respawn: true,
    users: [{ name: 'default', password: settings.password }, ...settings.users.map(hostUser)],
  };
}

/** `config.xml` for the embedded engine, and beside it the same `config.d` that docker-compose mounts. */
function writeClickHouseConfig(home: string, settings: StackSettings, host: HostSettings): void {
  const docker = path.join(packageRoot(), 'docker', 'clickhouse');
  const target = path.join(home, 'config', 'config.d');
  fs.rmSync(path.join(home, 'config'), { recursive: true, force: true });
  fs.mkdirSync(target, { recursive: true });
  fs.cpSync(path.join(docker, 'config.d'), target, { recursive: true });
  if (settings.zeroCopy) {
    fs.cpSync(path.join(docker, 'zero-copy'), target, { recursive: true });
  }
  const usersFile = path.join(home, 'config', 'users.xml');
  fs.writeFileSync(usersFile, usersXml(settings.users));
  fs.writeFileSync(path.join(home, 'config', 'config.xml'), configXml(path.join(home, 'clickhouse.log'), usersFile, host.name));
}

/**
 * What is special to the embedded engine: its server UUID is all zeros, so without a sessions path
 * of its own each host kills the ZooKeeper sessions of the others. And its background pools have one
 * or two threads, with which a second replica takes a second to find two of its parts. Beside the ensemble of `<zookeeper>` each
 * host knows an auxiliary one: by default the same server, seen from a root of its own.
 */
function configXml(logFile: string, usersFile: string, name: string): string {
  return `<clickhouse>
  <logger>
    <console>0</console>
    <log>${escapeXml(logFile)}</log>
    <size>100M</size>
    <count>2</count>
  </logger>
  <users_config>${escapeXml(usersFile)}</users_config>
  <background_schedule_pool_size>32</background_schedule_pool_size>
  <background_fetches_pool_size>16</background_fetches_pool_size>
  <background_common_pool_size>8</background_common_pool_size>
  <background_pool_size>4</background_pool_size>
  <zookeeper>
    <sessions_path>/clickhouse/sessions/${escapeXml(name)}</sessions_path>
  </zookeeper>
  <auxiliary_zookeepers>
    <${AUXILIARY.name}>
      <node><host>127.0.0.1</host><port from_env="CH_AUXILIARY_PORT"/></node>
      <root>${AUXILIARY.root}</root>
      <session_timeout_ms>10000</session_timeout_ms>
      <sessions_path>/clickhouse/sessions/${escapeXml(name)}</sessions_path>
    </${AUXILIARY.name}>
  </auxiliary_zookeepers>
</clickhouse>
`;
}

/** Whether the host's HTTP interface answers. */
export async function hostAnswers(host: HostSettings): Promise<boolean> {
  try {
    const answer = await fetch(`${hostUrl(host)}/ping`, { signal: AbortSignal.timeout(5000) });
    return (await answer.text()) === 'Ok.\n';
  } catch {
    return false;
  }
}

export const hostUrl = (host: HostSettings): string => `http://127.0.0.1:${host.port}`;

/** The end of a part's log, for a message about why it did not come up. */
export function whyNot(dir: string, name: string): string {
  return lastLines(stackFiles(dir).part(name).log, 5);
}
