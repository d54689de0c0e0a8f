/**
 * One embedded stack for each process that runs test files, made when the first test asks for it and taken down at the end of the run. The
 * tests of a process run one after the other; each has its own migration id, databases and ZooKeeper root, and drops its databases when it is done.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { execa } from 'execa';
import { stringify } from 'yaml';

import { connectTemporal, describeMigration, type MigrationDescription, type TemporalConnection } from '../../src/client';
import { quoteIdentifier, quoteTable } from '../../src/clickhouse/sql';
import { silent } from '../../src/dev/progress';
import { type SeedOptions, type SeedTable, seedTables } from '../../src/dev/seed';
import { restartHost, type StackDescription, stackDown, stackStatus, stackUp } from '../../src/dev/stack';
import { temporalBinary } from '../../src/dev/temporal-binary';
import type { MigrationSummary } from '../../src/domain/summary';
import { statusDocument } from '../../src/report/status-document';
import { withZooKeeper } from './zookeeper';

export const CLI = resolve(__dirname, '../../src/cli.js');

const STACK = 'stack-';

/** The variable with the folder of the whole run, which `hooks.ts` sets. */
export const RUN_DIR = 'CH_ZK_MIGRATE_TEST_DIR';

let made: Promise<StackDescription> | undefined;

/** The folder of the whole run: everything that tests write lies below it. */
function runDirectory(): string {
  const directory = process.env[RUN_DIR];
  if (directory === undefined) throw new Error(`${RUN_DIR} is not set: run mocha with test/support/hooks`);
  return directory;
}

/** The process's stack: two shards of two replicas, with a disk `object_storage` beside the local one. */
export async function stack(): Promise<StackDescription> {
  const dir = join(runDirectory(), `${STACK}${process.pid}`);
  made ??= stackUp({ dir, hosts: 4, replicas: 2, zkRoot: '/start', zeroCopy: true, remember: false });
  await made;
  return stackStatus(dir);
}

/** Ends the stacks of all processes of the run, and removes its folder. */
export async function endStacks(): Promise<void> {
  const directory = runDirectory();
  for (const name of readdirSync(directory).filter((one) => one.startsWith(STACK))) await stackDown(join(directory, name));
  rmSync(directory, { recursive: true, force: true });
}

export function client(url: string): ClickHouseClient {
  return createClient({ url, username: 'default', log: { level: ClickHouseLogLevel.OFF }, request_timeout: 120_000 });
}

export async function sql<T = Record<string, unknown>>(url: string, query: string): Promise<T[]> {
  const one = client(url);
  try {
    return await (await one.query({ query, format: 'JSONEachRow' })).json<T>();
  } finally {
    await one.close();
  }
}

export async function run(url: string, ...statements: string[]): Promise<void> {
  const one = client(url);
  try {
    for (const query of statements) await one.command({ query });
  } finally {
    await one.close();
  }
}

let counter = 0;

/** Names of one test's own, hostile on purpose where asked. */
export function unique(word: string): string {
  counter += 1;
  return `${word}_${process.pid}_${counter}`;
}

/** One test's ground: its hosts, its tables, its folder, its spec. */
export class Ground {
  readonly id: string;
  readonly database: string;
  readonly dir: string;
  readonly root: string;
  private readonly processes: Child[] = [];

  private constructor(
    readonly up: StackDescription,
    readonly hosts: StackDescription['hosts'],
    word: string,
    readonly from: string,
  ) {
    this.id = unique(word);
    this.database = `db ${this.id}`;
    this.root = `/root-${this.id}`;
    this.dir = mkdtempSync(join(runDirectory(), `${word}-`));
  }

  /** The two hosts of the shard, on one root with nothing replicated left on them from other tests. */
  static async on(word: string, shards: readonly number[] = [1]): Promise<Ground> {
    let up = await stack();
    if (!up.running) up = await stackUp({ dir: up.dir, remember: false });
    const hosts = up.hosts.filter(({ shard }) => shards.includes(shard));
    const [first] = hosts;
    if (first === undefined) throw new Error('no such shard');
    for (const host of hosts) {
      if (host.zkRoot !== first.zkRoot) await restartHost(up.dir, host.name, { zkRoot: first.zkRoot });
      await dropAll(host.url);
    }
    await sweep(up, first.zkRoot);
    return new Ground(up, hosts, word, first.zkRoot);
  }

  /** All hosts of a stack of the test's own. */
  static over(up: StackDescription, word: string): Ground {
    return new Ground(up, up.hosts, word, up.hosts[0]?.zkRoot ?? '');
  }

  get firstHost(): StackDescription['hosts'][number] {
    const [first] = this.hosts;
    if (first === undefined) throw new Error('no host');
    return first;
  }

  hostsOfShard(shard: number): StackDescription['hosts'] {
    return this.hosts.filter((host) => host.shard === shard);
  }

  /** Tables on every shard of the ground. */
  async seed(tables: readonly SeedTable[], options: SeedOptions = {}): Promise<void> {
    for (const shard of new Set(this.hosts.map((host) => host.shard))) await seedTables(this.hostsOfShard(shard), tables, options);
  }

  /** A spec file; `change` edits the document before it is written. */
  spec(change: (document: SpecDocument) => void = () => undefined): string {
    const document: SpecDocument = {
      id: this.id,
      clickhouse: {
        user: 'default',
        hosts: this.hosts.map(({ name, url }) => ({ name, url })),
        restart: { command: devCommand(this, 'restart-host', '{host}', '--zk-root', this.root), wave: 4 },
      },
      zookeeper: { connect: this.up.zookeeper.connect, root: this.from, after: { root: this.root } },
      tables: {},
      statusFile: join(this.dir, 'status.yaml'),
    };
    change(document);
    const file = join(this.dir, 'spec.yaml');
    writeFileSync(file, stringify(document));
    return file;
  }

  get statusFile(): string {
    return join(this.dir, 'status.yaml');
  }

  get env(): Record<string, string> {
    return { TEMPORAL_ADDRESS: this.up.temporal.address, TEMPORAL_UI_ADDRESS: this.up.temporal.ui };
  }

  /** Runs the command line to its end. */
  async cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const result = await execa(process.execPath, [CLI, ...args], {
      env: this.env, reject: false, stdin: 'ignore', timeout: 300_000, cwd: this.dir, maxBuffer: 512 * 1024 * 1024,
    });
    return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
  }

  async json<T>(...args: string[]): Promise<T> {
    const { stdout, stderr } = await this.cli(...args, '--json');
    try {
      return JSON.parse(stdout) as T;
    } catch (error) {
      throw new Error(`no JSON from ${args.join(' ')}: ${stdout}\n${stderr}`, { cause: error });
    }
  }

  async status(): Promise<StatusDocument> {
    return this.json<StatusDocument>('status', this.id);
  }

  /** Starts a worker of its own; `kill('SIGKILL')` ends it as a power cut does. */
  worker(): Child {
    const child = execa(process.execPath, [CLI, 'worker'], { env: this.env, reject: false, stdin: 'ignore', cwd: this.dir, all: true });
    this.processes.push(child);
    return child;
  }

  /** One look at the migration, without a process for it. */
  async described(): Promise<MigrationDescription> {
    return this.connected(({ client }) => describeMigration(client, this.id));
  }

  /** Waits until the status, as `status --json` prints it, is as wanted; while Temporal does not answer there is none. */
  async until(wanted: (status: StatusDocument) => boolean, what: string, withinMs = PATIENCE_MS): Promise<StatusDocument> {
    const end = Date.now() + withinMs;
    // One connection for many looks: making one costs more than a look.
    let connected: TemporalConnection | undefined;
    let last = '';
    try {
      for (; Date.now() < end; await pause(200)) {
        let status: StatusDocument;
        try {
          connected ??= await this.connect();
          status = JSON.parse(JSON.stringify(statusDocument(await describeMigration(connected.client, this.id), ''))) as StatusDocument;
        } catch (error) {
          last = (error as Error).message;
          await connected?.close();
          connected = undefined;
          continue;
        }
        if (wanted(status)) return status;
        last = JSON.stringify(status, undefined, 1).slice(0, 4_000);
      }
    } finally {
      await connected?.close();
    }
    throw new Error(`not seen: ${what}; ${last}`);
  }

  private connect(): Promise<TemporalConnection> {
    return connectTemporal({ address: this.up.temporal.address, namespace: this.up.temporal.namespace });
  }

  private async connected<T>(work: (connected: TemporalConnection) => Promise<T>): Promise<T> {
    const connected = await this.connect();
    try {
      return await work(connected);
    } finally {
      await connected.close();
    }
  }

  /** Begins a migration whose hosts somebody restarts by hand. */
  async startByHand(): Promise<void> {
    this.worker();
    const spec = this.spec((document) => {
      document.clickhouse.restart = { manual: true, wave: 2 };
    });
    const started = await this.cli('start', spec, '--execute');
    if (started.code !== 0) throw new Error(started.stdout + started.stderr);
  }

  /** What Temporal's Web UI shows as the workflow's details. */
  async details(): Promise<string> {
    return this.connected(async ({ client }) => {
      const metadata: { currentDetails?: string } = await client.workflow.getHandle(this.id).query('__temporal_workflow_metadata');
      return metadata.currentDetails ?? '';
    });
  }

  async end(): Promise<void> {
    for (const child of this.processes) child.kill('SIGKILL');
    await Promise.allSettled(this.processes);
    const up = await stackUp({ dir: this.up.dir, remember: false });
    for (const host of up.hosts.filter(({ name }) => this.hosts.some((mine) => mine.name === name))) await dropAll(host.url);
  }

  /** Temporal's own command line. */
  async temporal(...args: string[]): Promise<string> {
    const { stdout } = await execa(await temporalBinary(silent), [...args, '--address', this.up.temporal.address], { stdin: 'ignore' });
    return stdout;
  }

  /** The same statements on every host of the ground. */
  async onEach(...statements: string[]): Promise<void> {
    for (const { url } of this.hosts) await run(url, ...statements);
  }

  /** Every table's rows and an order-free checksum of its data, by plain queries: what the program says plays no part. */
  async oracle(hosts = this.hosts): Promise<Record<string, string>> {
    const seen: Record<string, string> = {};
    for (const host of hosts) {
      for (const { database, table } of await userTables(host.url)) {
        const [row] = await sql<{ n: string; h: string }>(
          host.url,
          `SELECT toString(count()) AS n, toString(sum(cityHash64(*))) AS h FROM ${quoteTable({ database, table })}`,
        );
        seen[`${host.name} ${database}.${table}`] = `${row?.n ?? '?'} rows, ${row?.h ?? '?'}`;
      }
    }
    return seen;
  }

  /** Statements that hosts ran since `marks`, whose text matches. */
  statements(marks: Readonly<Record<string, number>>, pattern: RegExp): { host: string; text: string }[] {
    return this.hosts.flatMap((host) =>
      readFileSync(host.statementLog)
        .subarray(marks[host.name] ?? 0)
        .toString()
        .split('\n')
        // The last one is empty, or being written.
        .slice(0, -1)
        .flatMap((line) => {
          const { text } = JSON.parse(line) as { text?: string };
          return text !== undefined && pattern.test(text) ? [{ host: host.name, text }] : [];
        }),
    );
  }

  /** Where the statement logs end now. */
  marks(): Record<string, number> {
    return Object.fromEntries(this.hosts.map((host) => [host.name, statSync(host.statementLog).size]));
  }
}

export interface SpecDocument {
  id: string;
  clickhouse: {
    user: string;
    passwordEnv?: string;
    hosts: Record<string, unknown>[];
    restart: Record<string, unknown>;
  };
  zookeeper: Record<string, unknown>;
  tables: Record<string, unknown>;
  statusFile: string;
  [key: string]: unknown;
}

/** A command of the embedded stack as an argument vector for a spec. */
export function devCommand({ up }: Ground, ...args: string[]): string[] {
  return [process.execPath, CLI, 'dev', ...args, '--dir', up.dir];
}

/** Changes a spec: nothing moves. */
export function inPlace(document: SpecDocument): void {
  delete document.zookeeper['after'];
}

/** Changes a spec: one of its hosts answers elsewhere. */
export function hostAt(index: number, url: string): (document: SpecDocument) => void {
  return (document) => {
    document.clickhouse.hosts[index] = { ...document.clickhouse.hosts[index], url };
  };
}

export type StatusDocument = Pick<MigrationSummary, 'id' | 'phase' | 'outcome' | 'waitingFor' | 'counts' | 'failures' | 'phases'> & {
  runId: string;
  reasons: string[];
  replicas?: { host: string; db: string; table: string; status: string; error?: string }[];
};

export async function userTables(url: string): Promise<{ database: string; table: string }[]> {
  return sql(
    url,
    `SELECT database, name AS table FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema', '_ch_zk_migrate')
     ORDER BY database, table`,
  );
}

async function dropAll(url: string): Promise<void> {
  const rows = await sql<{ name: string }>(
    url,
    "SELECT name FROM system.databases WHERE name NOT IN ('system', 'default', 'INFORMATION_SCHEMA', 'information_schema')",
  );
  for (const { name } of rows) await run(url, `DROP DATABASE IF EXISTS ${quoteIdentifier(name)} SYNC`);
}

/** Removes what dropped databases left in ZooKeeper: the nodes of tables that were detached, or of a run that was killed. No live replica's. */
async function sweep(up: StackDescription, root: string): Promise<void> {
  await withZooKeeper(up, async (session) => {
    const paths = (await session.listTree(`${root}/clickhouse`)).map(({ path }) => path);
    const live = paths.filter((path) => path.endsWith('/is_active'));
    const tops = paths.filter((path) => path.endsWith('/replicas')).map((path) => path.slice(0, -'/replicas'.length));
    for (const top of tops.filter((path) => !live.some((node) => node.startsWith(`${path}/`)))) await session.deleteTree(top);
  });
}

export async function pause(ms: number): Promise<void> {
  await new Promise((done) => setTimeout(done, ms));
}

/** How long is waited for what comes at once on a quick machine. */
export const PATIENCE_MS = 240_000;

/** Asks again and again until it is seen. */
export async function eventually(seen: () => boolean | Promise<boolean>, what: string, { everyMs = 100, withinMs = PATIENCE_MS } = {}): Promise<void> {
  for (const end = Date.now() + withinMs; !(await seen()); await pause(everyMs)) if (Date.now() > end) throw new Error(`not seen: ${what}`);
}

/** Small tables with many shapes: partitions, one with many parts, equal parts, an empty one, hostile names. */
export function someTables(database: string, count = 8): SeedTable[] {
  const plain = Array.from({ length: count }, (_, i): SeedTable => ({
    database,
    name: `t${i}`,
    columns: 'day Date, user UInt32, note String',
    partitionBy: 'toYYYYMM(day)',
    orderBy: '(user, day)',
    data: [0, 1].map((half) => ({
      select: `SELECT toDate('2024-01-01') + number % 90, cityHash64(${i}, ${half}, number) % 1000, concat('n', toString(number)) FROM numbers(${100 + i * 7})`,
    })),
  }));
  return [
    ...plain,
    {
      database, name: 'many parts', columns: 'day Date, user UInt32', partitionBy: 'day', orderBy: 'user',
      data: [{ select: "SELECT toDate('2024-01-01') + number % 60, number FROM numbers(600)" }],
    },
    { database, name: 'empty', columns: 'day Date', orderBy: 'day', data: [] },
    {
      database, name: "it's `odd` \"here\"", columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x',
      data: Array.from({ length: 3 }, () => ({ select: 'SELECT 1, number FROM numbers(5)' })),
    },
    { database, name: 'таблица 表', columns: 'x UInt64', orderBy: 'x', data: [{ select: 'SELECT number FROM numbers(17)' }] },
  ];
}

/** A process that a test started. */
export interface Child extends PromiseLike<unknown> {
  readonly pid?: number | undefined;
  kill(signal: NodeJS.Signals): boolean;
}
