import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from '../../src/dev/ports';
import { zookeeperClassPath } from '../../src/dev/zookeeper-jars';

/** A real ZooKeeper server on the loopback interface, for tests that stop, kill and restart it. */
export class ZooKeeperServer {
  readonly connect: string;
  readonly #dir: string;
  readonly #port: number;
  readonly #javaOptions: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(dir: string, port: number, javaOptions: readonly string[]) {
    this.#dir = dir;
    this.#port = port;
    this.#javaOptions = javaOptions;
    this.connect = `127.0.0.1:${port}`;
  }

  /** Starts a server on an empty directory and a free port; unless told otherwise it does not wait for the disk, which only a crash of the machine would tell. */
  static async start(javaOptions: readonly string[] = ['-Dzookeeper.forceSync=no']): Promise<ZooKeeperServer> {
    const [port] = await freePorts(1);
    if (port === undefined) throw new Error('no free port');
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ch-zk-migrate-zookeeper-'));
    const server = new ZooKeeperServer(dir, port, javaOptions);
    await server.up();
    return server;
  }

  /** Starts the server on its directory, and waits until it answers. */
  async up(): Promise<void> {
    const config = path.join(this.#dir, 'zoo.cfg');
    fs.writeFileSync(config, zooCfg(path.join(this.#dir, 'data'), this.#port));
    const classPath = await zookeeperClassPath(() => undefined);
    const log = fs.openSync(path.join(this.#dir, 'log'), 'a');
    this.#process = spawn(
      'java',
      [
        ...['-Xmx1g', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', ...this.#javaOptions],
        ...['-cp', classPath, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', config],
      ],
      { stdio: ['ignore', log, log] },
    );
    fs.closeSync(log);
    process.on('exit', this.#killNow);
    for (let tries = 0; tries < 600; tries += 1) {
      if (await answers(this.#port)) return;
      if (this.#process.exitCode !== null) break;
      await sleep(50);
    }
    throw new Error(`ZooKeeper did not start:\n${fs.readFileSync(path.join(this.#dir, 'log'), 'utf8')}`);
  }

  /** SIGSTOP: the server hangs, its sockets stay open. */
  async freeze(): Promise<void> {
    this.#process?.kill('SIGSTOP');
    while (this.#stat()[0] !== 'T') await sleep(5);
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    process.off('exit', this.#killNow);
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, 'exit');
    running.kill('SIGKILL');
    await exited;
  }

  /** Forgets everything, sessions too. Only while the server is down. */
  wipe(): void {
    fs.rmSync(path.join(this.#dir, 'data'), { recursive: true, force: true });
  }

  /** CPU time used so far, all threads, in milliseconds. */
  cpuMs(): number {
    const fields = this.#stat();
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  /** `/proc/PID/stat` from its third field on: state, parent, … (man 5 proc). */
  #stat(): string[] {
    const stat = fs.readFileSync(`/proc/${this.#process?.pid ?? 0}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  }

  async remove(): Promise<void> {
    await this.kill();
    fs.rmSync(this.#dir, { recursive: true, force: true });
  }

  readonly #killNow = (): void => {
    this.#process?.kill('SIGKILL');
  };
}

function zooCfg(dataDir: string, port: number): string {
  return [
    ...['tickTime=2000', `dataDir=${dataDir}`, `clientPort=${port}`, 'clientPortAddress=127.0.0.1'],
    ...['maxClientCnxns=0', 'admin.enableServer=false', '4lw.commands.whitelist=srvr', ''],
  ].join('\n');
}

async function answers(port: number): Promise<boolean> {
  const socket = net.connect({ port, host: '127.0.0.1', timeout: 2_000 });
  let answer = '';
  try {
    socket.on('data', (chunk) => (answer += chunk.toString()));
    socket.on('timeout', () => socket.destroy());
    await once(socket, 'connect');
    socket.write('srvr');
    await once(socket, 'close');
    return answer.includes('Mode:');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
