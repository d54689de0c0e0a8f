/**
 * What the orchestration costs: restore throughput of a whole migration beside bare loops of the same work, on one embedded stack of
 * its own, in one run, in alternating order:
 *
 *   node dist/bench/restore.js [--tables 500] [--parts 1] [--concurrency 8] [--rounds 2] [--hosts 1] [--temporal-defaults]
 *                              [--only-migration] [--cpu-prof DIR] [--json]
 *
 * - A: the migration: a worker of its own process, `start --execute`; tables restored by the duration of its restore phase
 * - B: the same activity functions (restoreReplica: note, RESTORE, proof, note) in a plain pool as wide as the statements, without Temporal
 * - W: the same in a pool as wide as what the migration has in flight, of which as many statements run at a time
 * - C: `SYSTEM RESTORE REPLICA` alone in a plain pool: no proof, no note, nothing to go on from after a crash
 *
 * Each is prepared alike (detached, cleaned, host restarted on its next root, attached, baseline saved); for B and C that is not
 * timed. `--only-migration --tables 2000` shows runs and histories of a large one. Nothing is asserted. Interrupted, it prints what
 * it has, and takes its stack down.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import Table from 'cli-table3';
import { execa } from 'execa';
import { stringify } from 'yaml';

import { attachReplica } from '../src/activities/attach';
import { cleanTable } from '../src/activities/clean';
import { Connections } from '../src/activities/deps';
import { detachReplica } from '../src/activities/detach';
import { restoreReplica } from '../src/activities/restore';
import type { HostTarget } from '../src/activities/types';
import { connectTemporal, describeMigration, isRunning, type TemporalConnection } from '../src/client';
import { statements } from '../src/clickhouse/sql';
import { addEvent, createStore } from '../src/clickhouse/store';
import { seedTables, type SeedTable } from '../src/dev/seed';
import { restartHost, stackDown, stackStatus, stackUp, type HostDescription, type StackDescription } from '../src/dev/stack';
import type { InventoryReplica } from '../src/domain/inventory';
import { inFlightFor } from '../src/workflows/in-flight';
import { cpuSampler, type CpuSampler, type CpuSeconds } from './support/cpu';
import { historyFigures, type HistoryFigures } from './support/histories';
import { restoresIn, statementKinds, type StatementKind } from './support/statement-log';

const CLI = path.resolve(__dirname, '../src/cli.js');
const DATABASE = 'bench';
const ZOOKEEPER = { auxiliary: {} };
const WAYS = ['A', 'B', 'W', 'C'] as const;
type Way = (typeof WAYS)[number];

const WORDS: Readonly<Record<Way, string>> = { A: 'migration', B: 'same activities, no Temporal', W: 'the same, as many in flight', C: 'RESTORE alone' };

/** One way, measured once. */
interface Measured {
  readonly way: Way;
  readonly round: number;
  /** Of the restore step. */
  readonly seconds: number;
  readonly tablesPerSecond: number;
  /** From the first RESTORE's start to the last one's end, by the hosts' statement logs. */
  readonly byLogPerSecond: number;
  /** Processor seconds during the restore step, by process. */
  readonly cpu: CpuSeconds;
  readonly statements: readonly StatementKind[];
  /** A only. */
  readonly phases?: Readonly<Record<string, number>>;
  readonly totalSeconds?: number;
  readonly history?: HistoryFigures;
}

interface Choices {
  readonly tables: number;
  readonly parts: number;
  readonly concurrency: number;
  readonly rounds: number;
  readonly hosts: number;
  readonly temporalDefaults: boolean;
  readonly ways: readonly Way[];
  readonly cpuProf: string | undefined;
  readonly json: boolean;
}

function choices(): Choices {
  const { values } = parseArgs({
    options: {
      tables: { type: 'string', default: '500' },
      parts: { type: 'string', default: '1' },
      concurrency: { type: 'string', default: '8' },
      rounds: { type: 'string', default: '2' },
      hosts: { type: 'string', default: '1' },
      'temporal-defaults': { type: 'boolean', default: false },
      'only-migration': { type: 'boolean', default: false },
      'cpu-prof': { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const whole = (name: 'tables' | 'parts' | 'concurrency' | 'rounds' | 'hosts'): number => {
    const number = Number(values[name]);
    if (!Number.isInteger(number) || number < 1) throw new Error(`--${name} takes a whole number from 1`);
    return number;
  };
  return {
    tables: whole('tables'),
    parts: whole('parts'),
    concurrency: whole('concurrency'),
    rounds: whole('rounds'),
    hosts: whole('hosts'),
    temporalDefaults: values['temporal-defaults'],
    ways: values['only-migration'] ? ['A'] : WAYS,
    cpuProf: values['cpu-prof'],
    json: values.json,
  };
}

async function main(): Promise<void> {
  const chosen = choices();
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ch-zk-bench-'));
  const stackDir = path.join(dir, 'stack');
  const end = async (): Promise<void> => {
    await stackDown(stackDir, { deleteData: true }).catch(() => undefined);
    fs.rmSync(dir, { recursive: true, force: true });
  };
  const measured: Measured[] = [];
  const tell = (): void => {
    if (measured.length > 0) console.log(chosen.json ? JSON.stringify({ chosen, measured }, undefined, 2) : resultText(chosen, measured));
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      tell();
      void end().finally(() => process.exit(1));
    });
  }
  try {
    note(`bringing up a stack in ${dir}`);
    await stackUp({ dir: stackDir, hosts: chosen.hosts, replicas: 1, zkRoot: '/r0', temporalDefaults: chosen.temporalDefaults, remember: false });
    const bench = await Bench.on(chosen, dir, stackDir);
    try {
      await bench.run(measured);
      tell();
    } finally {
      await bench.close();
    }
  } finally {
    await end();
  }
}

function note(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
}

class Bench {
  private root = 0;

  private constructor(
    private readonly chosen: Choices,
    private readonly dir: string,
    private readonly stackDir: string,
    private up: StackDescription,
    private readonly connections: Connections,
    private readonly temporal: TemporalConnection,
    private readonly cpu: CpuSampler,
  ) {}

  static async on(chosen: Choices, dir: string, stackDir: string): Promise<Bench> {
    const up = await stackStatus(stackDir);
    const temporal = await connectTemporal({ address: up.temporal.address, namespace: up.temporal.namespace });
    const bench = new Bench(chosen, dir, stackDir, up, new Connections(process.env), temporal, cpuSampler());
    note(`loading ${chosen.tables} tables of ${chosen.parts} part(s) on each of ${chosen.hosts} host(s)`);
    for (const host of up.hosts) {
      await seedTables([host], tables(chosen));
      await createStore(bench.connections.host(bench.target(host)));
    }
    return bench;
  }

  async close(): Promise<void> {
    this.cpu.stop();
    await this.connections.close();
    await this.temporal.connection.close();
  }

  /** Every way in every round; who comes first changes from round to round. */
  async run(measured: Measured[]): Promise<void> {
    for (let round = 0; round < this.chosen.rounds; round += 1) {
      for (let turn = 0; turn < this.chosen.ways.length; turn += 1) {
        const way = this.chosen.ways[(turn + round) % this.chosen.ways.length] ?? 'A';
        const one = await (way === 'A' ? this.migration(round) : this.loop(way, round));
        await this.see();
        note(`round ${round + 1} ${way} (${WORDS[way]}): ${one.seconds.toFixed(1)} s, ${one.tablesPerSecond.toFixed(1)} tables/s`);
        measured.push(one);
      }
    }
  }

  private target({ name, url }: HostDescription, root = this.root): HostTarget {
    return { name, url, user: 'default', zookeeper: { connect: this.up.zookeeper.connect, root: `/r${root}` } };
  }

  /** A: as an operator does it. */
  private async migration(round: number): Promise<Measured> {
    const id = `bench-${this.root}`;
    const next = this.root + 1;
    const spec = this.writeSpec(id, next);
    const env = { TEMPORAL_ADDRESS: this.up.temporal.address, TEMPORAL_UI_ADDRESS: this.up.temporal.ui };
    const worker = await startWorkerProcess(env, this.dir, this.chosen.cpuProf);
    try {
      this.watchCpu(worker.pid);
      const started = Date.now();
      await execa(process.execPath, [CLI, 'start', spec, '--execute'], { env, cwd: this.dir, stdin: 'ignore' });
      let seen = await describeMigration(this.temporal.client, id, { checkWorkers: false });
      while (isRunning(seen.status)) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        seen = await describeMigration(this.temporal.client, id, { checkWorkers: false });
      }
      if (seen.summary.outcome !== 'completed') throw new Error(`${id} ended as ${seen.summary.outcome}: ${seen.closedBecause ?? ''}`);
      const totalSeconds = (Date.parse(seen.closed ?? '') - started) / 1000;
      this.root = next;
      this.up = await stackStatus(this.stackDir);
      const restore = seen.summary.phases.find(({ phase }) => phase === 'restore');
      if (restore?.ended === undefined) throw new Error(`${id} has no restore phase`);
      const phases = Object.fromEntries(
        seen.summary.phases.map(({ phase, started: from, ended }) => [phase, (Date.parse(ended ?? from) - Date.parse(from)) / 1000]),
      );
      const history = await historyFigures(this.temporal.client, id, seen.runId);
      return { ...this.measured('A', round, Date.parse(restore.started), Date.parse(restore.ended)), phases, totalSeconds, history };
    } finally {
      await worker.stop();
    }
  }

  private writeSpec(id: string, root: number): string {
    const { concurrency } = this.chosen;
    const file = path.join(this.dir, `${id}.yaml`);
    const spec = {
      id,
      clickhouse: {
        user: 'default',
        hosts: this.up.hosts.map(({ name, url }) => ({ name, url })),
        restart: { command: [process.execPath, CLI, 'dev', 'restart-host', '{host}', '--zk-root', `/r${root}`, '--dir', this.stackDir], wave: 4 },
      },
      zookeeper: { connect: this.up.zookeeper.connect, root: `/r${this.root}`, after: { root: `/r${root}` } },
      parallel: { detach: concurrency, clean: concurrency, restore: concurrency },
      statusFile: path.join(this.dir, `${id}.status.yaml`),
    };
    fs.writeFileSync(file, stringify(spec));
    return file;
  }

  /** B, W and C. */
  private async loop(way: 'B' | 'W' | 'C', round: number): Promise<Measured> {
    const migration = `bare-${this.root}`;
    const limit = this.chosen.concurrency;
    for (const host of this.up.hosts) await addEvent(this.connections.host(this.target(host)), migration, 'claimed', {});
    const replicas = await this.prepare(migration);
    this.watchCpu(process.pid);
    const from = Date.now();
    await this.onEach(replicas, way === 'W' ? inFlightFor(limit) : limit, async (replica, host) => {
      if (way === 'C') {
        await this.connections.host(host).run(statements.restore(replica), { doing: 'restoring', timeoutMs: 600_000 });
        return;
      }
      const { updates } = await restoreReplica(this.connections, {
        ...{ migration, host, replica, limit, zookeeper: ZOOKEEPER, writable: 'required', blobs: 'locks', alone: true },
      });
      if (updates[0]?.status !== 'RESTORED') throw new Error(`${replica.table} is not restored`);
    });
    const result = this.measured(way, round, from, Date.now());
    for (const host of this.up.hosts) await addEvent(this.connections.host(this.target(host)), migration, 'released', { why: 'completed' });
    if (way === 'C') {
      await this.onEach(replicas, limit, (replica, host) => this.connections.host(host).run(statements.startMerges(replica), { doing: 'merges' }));
    }
    return result;
  }

  /** Brings all tables to where the restore step begins, by the activities that do it in a migration. */
  private async prepare(migration: string): Promise<InventoryReplica[]> {
    const replicas = (await Promise.all(this.up.hosts.map((host) => this.replicasOf(host)))).flat();
    const limit = this.chosen.concurrency;
    await this.onEach(replicas, limit * 2, (replica, host) => detachReplica(this.connections, { migration, host, replica, limit, zookeeper: ZOOKEEPER }));
    await this.onEach(replicas, limit * 2, (replica, host) => {
      const entry = { ...replica, status: 'DETACHED', oldMetadata: 'kept', attached: false, step: 'detached' } as const;
      const table = { key: replica.table, zookeeperName: replica.zookeeperName, zookeeperPath: replica.zookeeperPath, replicas: [entry] };
      return cleanTable(this.connections, { migration, hosts: [host], table, zookeeper: ZOOKEEPER, allowMissingReplicas: [], limit, keep: 'delete' });
    });
    const next = this.root + 1;
    await Promise.all(this.up.hosts.map(({ name }) => restartHost(this.stackDir, name, { zkRoot: `/r${next}` })));
    this.root = next;
    this.up = await stackStatus(this.stackDir);
    await this.onEach(replicas, limit * 2, (replica, host) => attachReplica(this.connections, { migration, host, replica, limit, zookeeper: ZOOKEEPER }));
    return replicas;
  }

  private async replicasOf(host: HostDescription): Promise<InventoryReplica[]> {
    return this.connections.host(this.target(host)).select<InventoryReplica>(
      `SELECT {host:String} AS host, r.database AS database, r.table AS table, toString(t.uuid) AS uuid, r.zookeeper_name AS zookeeperName,
         r.zookeeper_path AS zookeeperPath, r.replica_name AS replicaName, toUInt32(0) AS rows, toUInt32(0) AS bytes, toUInt32(0) AS parts
       FROM system.replicas AS r INNER JOIN system.tables AS t ON r.database = t.database AND r.table = t.name
       WHERE r.database = '${DATABASE}' ORDER BY r.table`,
      { params: { host: host.name }, doing: 'listing replicas' },
    );
  }

  /** A plain pool of `width` a host, on all hosts at once. */
  private async onEach(
    replicas: readonly InventoryReplica[],
    width: number,
    work: (replica: InventoryReplica, host: HostTarget) => Promise<unknown>,
  ): Promise<void> {
    await Promise.all(
      this.up.hosts.map(async (host) => {
        const target = this.target(host);
        const queue = replicas.filter((replica) => replica.host === host.name).values();
        const one = async (): Promise<void> => {
          for (const replica of queue) await work(replica, target);
        };
        await Promise.all(Array.from({ length: width }, one));
      }),
    );
  }

  private watchCpu(restoring: number | undefined): void {
    this.cpu.watch({
      restoring,
      temporal: this.up.temporal.pid ?? undefined,
      zookeeper: this.up.zookeeper.pid ?? undefined,
      // A host is another process after its restart.
      ...Object.fromEntries(this.up.hosts.map(({ name }) => [name, () => this.pidOf(name)])),
    });
  }

  private pidsAt = 0;
  private pids: Readonly<Record<string, number | null>> = {};

  private async pidOf(name: string): Promise<number | undefined> {
    if (Date.now() - this.pidsAt > 1_000) {
      this.pidsAt = Date.now();
      this.pids = Object.fromEntries((await stackStatus(this.stackDir)).hosts.map((host) => [host.name, host.pid]));
    }
    return this.pids[name] ?? undefined;
  }

  private measured(way: Way, round: number, from: number, to: number): Measured {
    const all = this.chosen.tables * this.chosen.hosts;
    const logs = this.up.hosts.map(({ statementLog }) => statementLog);
    const restores = restoresIn(logs, from, to);
    return {
      ...{ way, round, seconds: (to - from) / 1000, tablesPerSecond: (1000 * all) / (to - from) },
      byLogPerSecond: (1000 * restores.count) / (restores.end - restores.start),
      cpu: this.cpu.between(from, to),
      statements: statementKinds(logs, from, to),
    };
  }

  /** Every table writable again and whole, by a plain query. */
  private async see(): Promise<void> {
    for (const host of this.up.hosts) {
      const [row] = await this.connections.host(this.target(host)).select<{ writable: string; parts: string }>(
        `SELECT countIf(is_readonly = 0) AS writable, (SELECT count() FROM system.parts WHERE active AND database = '${DATABASE}') AS parts
         FROM system.replicas WHERE database = '${DATABASE}'`,
        { doing: 'looking whether all is back' },
      );
      const { tables: count, parts } = this.chosen;
      if (Number(row?.writable) !== count || Number(row?.parts) !== count * parts) {
        throw new Error(`${host.name}: ${row?.writable ?? '?'} writable tables with ${row?.parts ?? '?'} parts, expected ${count} with ${count * parts}`);
      }
    }
  }
}

function tables({ tables: count, parts }: Choices): SeedTable[] {
  return Array.from({ length: count }, (_, i): SeedTable => ({
    database: DATABASE,
    name: `events_${String(i).padStart(5, '0')}`,
    columns: 'part UInt32, id UInt64, text String',
    partitionBy: 'part',
    orderBy: 'id',
    data: [{ select: `SELECT number % ${parts}, number, toString(cityHash64(number, ${i})) FROM numbers(${Math.max(100, parts * 10)})` }],
  }));
}

interface WorkerProcess {
  readonly pid: number | undefined;
  /** Lets it drain. */
  stop(): Promise<void>;
}

/** Starts a worker, as an operator does, and waits until it polls. */
async function startWorkerProcess(env: Record<string, string>, cwd: string, cpuProf: string | undefined): Promise<WorkerProcess> {
  const profile = cpuProf === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${path.resolve(cpuProf)}`];
  const worker = execa(process.execPath, [...profile, CLI, 'worker'], { env, cwd, stdin: 'ignore', all: true, reject: false });
  await new Promise<void>((resolve, reject) => {
    worker.all.on('data', (text: Buffer) => {
      if (text.toString().includes('polls')) resolve();
    });
    void worker.then(({ all }) => {
      reject(new Error(`the worker ended: ${all}`));
    });
  });
  return {
    pid: worker.pid,
    stop: async () => {
      worker.kill('SIGTERM');
      await worker;
    },
  };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2;
}

function resultText(chosen: Choices, measured: readonly Measured[]): string {
  const of = (way: Way): readonly Measured[] => measured.filter((one) => one.way === way);
  const speed = (way: Way): number => median(of(way).map((one) => one.tablesPerSecond));
  const style = { style: { head: [], border: [] } };
  const speeds = new Table({ head: ['', 'round', 'restore s', 'tables/s', 'by statement log', 'processor s during restore'], ...style });
  for (const way of chosen.ways) {
    for (const one of of(way)) {
      const cpu = Object.entries(one.cpu).map(([name, seconds]) => `${name === 'restoring' ? (way === 'A' ? 'worker' : 'loop') : name} ${seconds.toFixed(1)}`);
      speeds.push([`${way} ${WORDS[way]}`, one.round + 1, one.seconds.toFixed(2), one.tablesPerSecond.toFixed(1), one.byLogPerSecond.toFixed(1), cpu.join(', ')]);
    }
  }
  return [
    `${chosen.tables} tables × ${chosen.parts} part(s) on ${chosen.hosts} host(s), concurrency ${chosen.concurrency} a host, ${chosen.temporalDefaults ? "Temporal's defaults" : 'Temporal tuned (dev up)'}; ${os.cpus().length} processors, load ${os.loadavg().map((load) => load.toFixed(1)).join(' ')}, Node ${process.version}`,
    speeds.toString(),
    ...of('A').map(migrationText),
    ...chosen.ways.map((way) => `${way}: ${statementsText(of(way).at(-1))}`),
    `medians, tables/s: ${chosen.ways.map((way) => `${way} ${speed(way).toFixed(1)}`).join(', ')}`,
    ...(chosen.ways.length === 1 ? [] : [`A/B ${(speed('A') / speed('B')).toFixed(2)}   A/W ${(speed('A') / speed('W')).toFixed(2)}   A/C ${(speed('A') / speed('C')).toFixed(2)}   B/C ${(speed('B') / speed('C')).toFixed(2)}`]),
  ].join('\n');
}

function migrationText({ round, phases, totalSeconds, history }: Measured): string {
  const times = Object.entries(phases ?? {}).map(([phase, seconds]) => `${phase} ${seconds.toFixed(1)}`);
  if (history === undefined) return '';
  const { runs, activities } = history;
  const waits = Object.entries(activities).map(
    ([name, { count, queuedMs, runMs }]) => `${name} ${count}× (queued ${queuedMs.toFixed(0)} ms, ran ${runMs.toFixed(0)} ms)`,
  );
  return [
    `A round ${round + 1}: ${totalSeconds?.toFixed(1) ?? '?'} s in all; ${times.join(', ')}`,
    `  ${runs.length} run(s); longest history ${Math.max(...runs.map(({ events }) => events))} events, ${Math.max(...runs.map(({ bytes }) => bytes))} bytes; largest event ${history.largestEvent.bytes} bytes (${history.largestEvent.what}); ${history.workflowTasks} workflow tasks`,
    `  medians: ${waits.join(', ')}`,
  ].join('\n');
}

function statementsText(one: Measured | undefined): string {
  return (one?.statements ?? []).slice(0, 9).map(({ kind, count, meanMs }) => `${kind} ${count}× ${meanMs.toFixed(1)} ms`).join('; ');
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
});
