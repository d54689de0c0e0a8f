/**
 * How fast a tree is deleted, beside what operators use today, on one real ZooKeeper server of its own:
 *
 *   node dist/bench/zookeeper-delete.js [--rounds 3] [--tables 500] [--parts 50] [--wide 100000] [--in-flight 1024] [--json]
 *
 * - ours: ZooKeeperSession.deleteTree
 * - zkCli deleteall: ZooKeeper's own command line (Java), with and without the start of its JVM
 * - kazoo: a breadth-first walk, one node at a time, then transactions of max(100, √n) deletions, as chadmin does
 *   (https://github.com/yandex/ch-tools); needs python3, which gets a virtual environment in the per-user cache
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import which from 'which';
import { cachedFolder } from '../src/dev/cache';
import { zookeeperClassPath } from '../src/dev/zookeeper-jars';
import { ZooKeeperSession } from '../src/zookeeper/session';
import { createAll } from '../test/zookeeper/trees';
import { ZooKeeperServer } from '../test/zookeeper/zookeeper-server';

const TOP = '/bench';
const KAZOO_VERSION = '2.10.0';
const COMMONS_CLI = 'commons-cli:commons-cli:1.5.0';

const KAZOO_SCRIPT = `
import json, math, sys, time
from kazoo.client import KazooClient
zk = KazooClient(hosts=sys.argv[1]); zk.start()
started = time.monotonic()
nodes = [sys.argv[2]]
for node in nodes:
    nodes.extend(node + '/' + child for child in zk.get_children(node))
listed = time.monotonic()
size = max(100, int(math.sqrt(len(nodes))))
nodes.reverse()
for at in range(0, len(nodes), size):
    transaction = zk.transaction()
    for node in nodes[at:at + size]:
        transaction.delete(node)
    for result in transaction.commit():
        if isinstance(result, Exception): raise result
print(json.dumps({'listS': listed - started, 'deleteS': time.monotonic() - listed}))
zk.stop()
`;

/** One deletion: seconds, and what else is worth saying; or why it could not be done. */
type Outcome = { seconds: number; note?: string } | { failure: string };

interface Way {
  name: string;
  run: (nodes: number) => Promise<Outcome>;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      tables: { type: 'string', default: '500' },
      parts: { type: 'string', default: '50' },
      wide: { type: 'string', default: '100000' },
      'in-flight': { type: 'string', default: '1024' },
      json: { type: 'boolean', default: false },
    },
  });
  const trees = [
    { name: `${values.tables} tables × ${values.parts} parts`, paths: [...manyTables(Number(values.tables), Number(values.parts))] },
    { name: `one table of ${values.wide} parts`, paths: [...manyTables(1, Number(values.wide))] },
  ];
  const server = await ZooKeeperServer.start([]);
  const session = await ZooKeeperSession.open({ connect: server.connect, root: '' });
  const ways = [ours(session, Number(values['in-flight'])), ...(await zkCli(server.connect)), ...(await kazoo(server.connect))];
  const machine = `${os.cpus().length} × ${os.cpus()[0]?.model ?? 'CPU'}, load ${os.loadavg()[0]?.toFixed(1) ?? '?'}, Node ${process.version}`;
  const results: Result[] = [];
  // An exit ends the server too.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      process.stderr.write(`stopped by ${signal}\n`);
      process.exit(1);
    });
  }
  try {
    await warmUp(session);
    for (const tree of trees) {
      for (let round = 0; round < Number(values.rounds); round += 1) {
        for (const way of ways) {
          process.stderr.write(`${tree.name}, round ${round + 1}, ${way.name}\n`);
          const nodes = await build(session, tree.paths);
          const outcome = await way.run(nodes);
          const left = await session.countTree(TOP);
          if (left > 0) await session.deleteTree(TOP);
          results.push({ tree: tree.name, way: way.name, nodes, ...(left > 0 && !('failure' in outcome) ? { failure: `left ${left} nodes` } : outcome) });
        }
      }
    }
  } finally {
    await session.close();
    await server.remove();
  }
  process.stdout.write(values.json ? `${JSON.stringify({ machine, results }, undefined, 2)}\n` : report(machine, results));
}

type Result = { tree: string; way: string; nodes: number } & Outcome;

/** The nodes of tables with one replica, short form: 6 nodes a table beside its parts. */
function* manyTables(tables: number, parts: number): Generator<string> {
  yield TOP;
  for (const at of ['', '/metadata', '/columns', '/replicas', '/replicas/r1', '/replicas/r1/parts']) {
    for (let table = 0; table < tables; table += 1) yield `${TOP}/t${table}${at}`;
  }
  for (let table = 0; table < tables; table += 1) {
    for (let part = 0; part < parts; part += 1) yield `${TOP}/t${table}/replicas/r1/parts/202401_${part}_${part}_0`;
  }
}

/** Creates the tree, level by level: a parent is created long before its children. */
async function build(session: ZooKeeperSession, paths: Iterable<string>): Promise<number> {
  const levels = new Map<number, string[]>();
  for (const each of paths) {
    const depth = each.split('/').length;
    const level = levels.get(depth);
    if (level === undefined) levels.set(depth, [each]);
    else level.push(each);
  }
  let nodes = 0;
  for (const level of [...levels].sort(([a], [b]) => a - b)) nodes += await createAll(session, level[1]);
  return nodes;
}

/** The server's JVM is slow at first; nobody shall pay for that alone. */
async function warmUp(session: ZooKeeperSession): Promise<void> {
  for (let round = 0; round < 3; round += 1) {
    await build(session, manyTables(100, 100));
    await session.deleteTree(TOP);
  }
}

function ours(session: ZooKeeperSession, inFlight: number): Way {
  return {
    name: 'ours',
    run: async () => {
      const { durationMs } = await session.deleteTree(TOP, { inFlight });
      return { seconds: durationMs / 1_000 };
    },
  };
}

async function zkCli(connect: string): Promise<Way[]> {
  const classPath = await cliClassPath();
  if (classPath === undefined) return [unavailable('zkCli deleteall', 'neither commons-cli nor Maven is here')];
  const java = async (options: readonly string[], command: readonly string[]): Promise<{ seconds: number; output: string }> => {
    const started = performance.now();
    const { all } = await execa(
      'java',
      [...options, '-Dorg.slf4j.simpleLogger.defaultLogLevel=error', '-cp', classPath, 'org.apache.zookeeper.ZooKeeperMain', '-server', connect, ...command],
      { all: true, reject: false },
    );
    return { seconds: (performance.now() - started) / 1_000, output: all };
  };
  // Java's client takes no answer above jute.maxbuffer; 100,000 names are more than its default of 1 MB.
  const roomy = ['-Djute.maxbuffer=268435456'];
  const way = (name: string, options: readonly string[]): Way => ({
    name,
    run: async () => {
      const start = await java(options, ['ls', '/']);
      const { seconds, output } = await java(options, ['deleteall', TOP]);
      const reason = output.split('\n').findLast((line) => /out of range|Exception|ConnectionLoss|failed/i.test(line));
      if (reason !== undefined) return { failure: reason.trim().slice(0, 120) };
      return { seconds, note: `${start.seconds.toFixed(1)} s of it to start and connect` };
    },
  });
  return [way('zkCli deleteall', []), way('zkCli deleteall, jute.maxbuffer raised', roomy)];
}

async function cliClassPath(): Promise<string | undefined> {
  const server = await zookeeperClassPath(() => undefined);
  const installed = '/usr/share/java/commons-cli.jar';
  if (fs.existsSync(installed)) return `${server}:${installed}`;
  if ((await which('mvn', { nothrow: true })) === null) return undefined;
  const isComplete = (dir: string): boolean => fs.existsSync(dir) && fs.readdirSync(dir).some((name) => name.endsWith('.jar'));
  const dir = await cachedFolder(COMMONS_CLI.replaceAll(':', '-'), isComplete, async (draft) => {
    await execa('mvn', ['-B', '-q', 'dependency:copy', `-Dartifact=${COMMONS_CLI}`, `-DoutputDirectory=${draft}`], { cwd: draft });
  });
  return `${server}:${path.join(dir, '*')}`;
}

async function kazoo(connect: string): Promise<Way[]> {
  const python = await kazooPython();
  if (python === undefined) return [unavailable('kazoo, breadth-first', 'python3 with venv is not here')];
  return [
    {
      name: 'kazoo, breadth-first',
      run: async () => {
        const { stdout, stderr, failed } = await execa(python, ['-c', KAZOO_SCRIPT, connect, TOP], { reject: false });
        if (failed) return { failure: stderr.trim().split('\n').at(-1) ?? 'failed' };
        const { listS, deleteS } = JSON.parse(stdout) as { listS: number; deleteS: number };
        return { seconds: listS + deleteS, note: `list ${listS.toFixed(1)} s, delete ${deleteS.toFixed(1)} s` };
      },
    },
  ];
}

async function kazooPython(): Promise<string | undefined> {
  if ((await which('python3', { nothrow: true })) === null) return undefined;
  const binary = (dir: string): string => path.join(dir, 'bin', 'python');
  const isComplete = (dir: string): boolean => fs.existsSync(path.join(dir, 'complete'));
  try {
    const dir = await cachedFolder(`kazoo-${KAZOO_VERSION}`, isComplete, async (draft) => {
      await execa('python3', ['-m', 'venv', draft]);
      await execa(binary(draft), ['-m', 'pip', 'install', '--quiet', `kazoo==${KAZOO_VERSION}`]);
      fs.writeFileSync(path.join(draft, 'complete'), '');
    });
    return binary(dir);
  } catch (error) {
    process.stderr.write(`kazoo could not be installed: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}

function unavailable(name: string, failure: string): Way {
  return { name, run: () => Promise.resolve({ failure }) };
}

function report(machine: string, results: readonly Result[]): string {
  const lines = [machine];
  for (const tree of new Set(results.map((result) => result.tree))) {
    const own = results.filter((result) => result.tree === tree);
    const reference = rate(own.filter((result) => result.way === 'ours'));
    lines.push('', `${tree}: ${own[0]?.nodes.toLocaleString('en') ?? '?'} nodes, nodes/s as median (range)`);
    for (const way of new Set(own.map((result) => result.way))) lines.push(row(way, own.filter((result) => result.way === way), reference));
  }
  return `${lines.join('\n')}\n`;
}

function row(way: string, results: readonly Result[], reference: Rate | undefined): string {
  const own = rate(results);
  if (own === undefined) {
    const failure = results.map((result) => ('failure' in result ? result.failure : '')).find((text) => text !== '');
    return `  ${way.padEnd(40)} ${failure ?? 'no result'}`;
  }
  const ratio = reference === undefined ? '' : `ours is ${(reference.median / own.median).toFixed(1)}×`;
  const note = results.map((result) => ('note' in result ? result.note : undefined)).find((text) => text !== undefined);
  return [
    `  ${way.padEnd(40)} ${whole(own.median).padStart(7)} (${whole(own.least)}–${whole(own.most)})`.padEnd(70),
    ...(way === 'ours' ? [] : [ratio]),
    ...(note === undefined ? [] : [note]),
  ].join('  ');
}

interface Rate {
  median: number;
  least: number;
  most: number;
}

function rate(results: readonly Result[]): Rate | undefined {
  const rates = results.flatMap((result) => ('seconds' in result ? [result.nodes / result.seconds] : [])).sort((a, b) => a - b);
  const least = rates[0];
  const most = rates.at(-1);
  const low = rates[Math.floor((rates.length - 1) / 2)];
  const high = rates[Math.ceil((rates.length - 1) / 2)];
  if (least === undefined || most === undefined || low === undefined || high === undefined) return undefined;
  return { median: (low + high) / 2, least, most };
}

const whole = (value: number): string => Math.round(value).toLocaleString('en');

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
});
