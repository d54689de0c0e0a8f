import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import ZooKeeper from 'zookeeper';
import { packageRoot } from './package-root';
import type { Progress } from './progress';
import { spawnPart } from './spawn-part';
import { stackFiles, type StackSettings } from './stack-settings';
import { zookeeperClassPath } from './zookeeper-jars';

const HEAP = '-Xmx1g';

/**
 * Starts a single ZooKeeper server on its directory; does not wait. `ZOOKEEPER_JUTE_MAXBUFFER`
 * (bytes) in the environment sets the largest packet, as an operator may have done.
 */
export async function spawnZookeeper(dir: string, settings: StackSettings, progress: Progress): Promise<void> {
  const files = stackFiles(dir);
  const part = files.part('zookeeper');
  const classPath = await zookeeperClassPath(progress);
  fs.mkdirSync(files.zookeeperData, { recursive: true });
  const configFile = path.join(files.zookeeperData, 'zoo.cfg');
  writeFileAtomic.sync(configFile, zooCfg(files.zookeeperData, settings.zookeeper.port));
  const buffer = process.env['ZOOKEEPER_JUTE_MAXBUFFER'];
  spawnPart({
    command: 'java',
    args: [
      HEAP,
      ...(buffer === undefined || buffer === '' ? [] : [`-Djute.maxbuffer=${buffer}`]),
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      // A kill -9 loses nothing that was written, only a crash of the machine would; a disk that is slow to sync held up every answer for seconds.
      '-Dzookeeper.forceSync=no',
      ...['-cp', classPath, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', configFile],
    ],
    environment: {},
    logFile: part.log,
    pidFile: part.pid,
  });
}

/** The configuration shared with docker-compose, with this machine's directory and port. */
function zooCfg(dataDir: string, port: number): string {
  const shared = fs.readFileSync(path.join(packageRoot(), 'docker', 'zookeeper', 'zoo.cfg'), 'utf8');
  const kept = shared.split('\n').filter((line) => !/^\s*(dataDir|clientPort)\s*=/.test(line));
  return [...kept, `dataDir=${dataDir}`, `clientPort=${port}`, 'clientPortAddress=127.0.0.1', ''].join('\n');
}

/**
 * Asks the server whether it is in order.
 *
 * Source: https://zookeeper.apache.org/doc/current/zookeeperAdmin.html#sc_4lw
 */
export async function zookeeperAnswers(settings: StackSettings): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = net.connect({ port: settings.zookeeper.port, host: '127.0.0.1', timeout: 2000 });
    socket.on('connect', () => socket.end('srvr'));
    socket.on('data', (chunk) => (answer += chunk.toString()));
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => {
      resolve(false);
    });
    socket.on('close', () => {
      resolve(answer.includes('Mode:'));
    });
  });
}

export const zookeeperConnect = (settings: StackSettings): string => `127.0.0.1:${settings.zookeeper.port}`;

/**
 * Makes a node and its parents, where they are missing: a server does not start on a root that
 * does not exist.
 *
 * @param node an absolute path; empty means none
 */
export async function ensureNode(settings: StackSettings, node: string): Promise<void> {
  if (node === '') return;
  const client = new ZooKeeper({
    connect: zookeeperConnect(settings),
    timeout: 10_000,
    debug_level: ZooKeeper.constants.ZOO_LOG_LEVEL_ERROR,
    host_order_deterministic: false,
  });
  await new Promise<void>((resolve, reject) => {
    client.connect({}, (error?: Error | null) => {
      if (error) reject(error);
      else resolve();
    });
  });
  try {
    let at = '';
    for (const name of node.split('/').filter((each) => each !== '')) {
      at += `/${name}`;
      await createIfMissing(client, at);
    }
  } finally {
    client.close();
  }
}

async function createIfMissing(client: ZooKeeper, node: string): Promise<void> {
  try {
    await client.create(node, '', 0);
  } catch (error) {
    if (!(await client.pathExists(node, false))) throw error;
  }
}
