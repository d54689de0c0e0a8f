import { createHash } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import Table from 'cli-table3';
import prettyMs from 'pretty-ms';
import { stringify } from 'yaml';

import { connectTemporal, describeMigration, migrationStartOptions, temporalConfig, webUiLink } from '../client';
import { watchMigration } from '../cli/watch-migration';
import { loadSpec } from '../config/load-spec';
import type { MigrationSummary } from '../domain/summary';
import { startWorker } from '../worker';
import { WORKFLOW_TYPE } from '../workflows/messages';
import { demoSharedTables, demoTables } from './demo-data';
import { LockHeld, withLock } from './lock';
import type { Progress } from './progress';
import { seedTables } from './seed';
import { stackDown, stackUp, type StackDescription } from './stack';
import { readSettings, stackFiles } from './stack-settings';
import { quoteIdentifier } from './sql-text';

const ID = 'demo';
const SHARDS = [1, 2] as const;
const OLD_ROOT = '/old';
const NEW_ROOT = '/new';

export interface DemoOptions {
  /** Where the stack is kept; what was there from an earlier demo is replaced. */
  readonly dir: string;
  /** Leave the stack up. */
  readonly keep: boolean;
  readonly progress: Progress;
  readonly json: boolean;
}

/** What one host holds, by plain queries. */
export interface HostTotals {
  readonly tables: number;
  readonly rows: number;
  readonly parts: number;
  /** An order-free checksum over every row of every table. */
  readonly checksum: string;
  /** Blobs that the files of its active parts name. */
  readonly blobs: number;
  /** As many of them as lie in the object storage's folder, in the size that the server knows. */
  readonly blobsThere: number;
  /** Of the names and sizes of these blobs. */
  readonly blobsChecksum: string;
}

export interface DemoResult {
  readonly ok: boolean;
  readonly hosts: readonly { readonly name: string; readonly before: HostTotals; readonly after: HostTotals }[];
  readonly phases: MigrationSummary['phases'];
  readonly ui: string;
  /** Temporal's address. */
  readonly temporal: string;
  readonly statusFile: string;
  readonly kept: boolean;
  readonly dir: string;
}

/**
 * Brings a stack up, loads data, moves all of it from one root to another with live progress, and compares what was there with what is.
 * However it ends, the stack is taken down, unless it is to be kept.
 *
 * @returns `undefined` when `interrupt` fired
 * @throws Error where another demo runs in the same directory, and whatever goes wrong
 */
export async function runDemo(options: DemoOptions & { readonly interrupt: AbortSignal }): Promise<DemoResult | undefined> {
  const { dir } = options;
  try {
    return await withLock(`${dir}.lock`, 0, () => runLocked(options));
  } catch (error) {
    if (!(error instanceof LockHeld)) throw error;
    throw new Error(`another demo runs in ${dir} (process ${error.holder}): wait for it, or give this one another --dir`, { cause: error });
  }
}

async function runLocked(options: DemoOptions & { readonly interrupt: AbortSignal }): Promise<DemoResult | undefined> {
  const { dir, keep, progress, interrupt } = options;
  await removeOld(dir, progress);
  try {
    return await Promise.race([moveEverything(options), interrupted(interrupt)]);
  } finally {
    // Where something was missing on this machine there is none.
    if (!keep && readSettings(dir) !== undefined) {
      progress(interrupt.aborted ? 'interrupted: taking the stack down' : 'taking the stack down');
      await stackDown(dir);
    }
  }
}

async function interrupted(signal: AbortSignal): Promise<undefined> {
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  return undefined;
}

async function moveEverything({ dir, keep, progress, json, interrupt }: DemoOptions & { readonly interrupt: AbortSignal }): Promise<DemoResult> {
  progress('bringing up Temporal, ZooKeeper and four ClickHouse hosts (two shards of two replicas)');
  const up = await stackUp({ dir, hosts: 4, replicas: 2, zkRoot: OLD_ROOT, zeroCopy: true, progress });
  const tables = demoTables();
  const shared = demoSharedTables();
  progress(`loading ${tables.length + shared.length} tables on each host, ${shared.length} of them zero-copy tables`);
  await Promise.all(
    SHARDS.map(async (shard) => {
      const hosts = up.hosts.filter((host) => host.shard === shard);
      await seedTables(hosts, tables);
      await seedTables(hosts, shared, { replicate: true });
    }),
  );
  const before = await totals(up);
  const statusFile = path.resolve('status', `${ID}.yaml`);
  const spec = writeSpec(up, statusFile);
  progress(`migrating everything from ${OLD_ROOT} to ${NEW_ROOT}; the spec is ${spec}`);
  const { code, summary, ui } = await migrate(up, spec, { json, interrupt });
  const after = await totals(up);
  const hosts = up.hosts.map(({ name }, index) => ({ name, before: at(before, index), after: at(after, index) }));
  const same = hosts.every((host) => JSON.stringify(host.before) === JSON.stringify(host.after));
  const there = hosts.every(({ after: { blobs, blobsThere } }) => blobs > 0 && blobs === blobsThere);
  return { ok: code === 0 && same && there, hosts, phases: summary.phases, ui, temporal: up.temporal.address, statusFile, kept: keep, dir };
}

/** Ends and deletes the stack of an earlier demo; a directory without one is left as it is. */
async function removeOld(dir: string, progress: Progress): Promise<void> {
  if (readSettings(dir) === undefined) return;
  progress(`removing what an earlier demo left in ${dir}`);
  await stackDown(dir, { deleteData: true });
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError('no such host');
  return item;
}

function writeSpec(up: StackDescription, statusFile: string): string {
  const cli = path.resolve(__dirname, '../cli.js');
  const file = path.join(up.dir, 'demo.yaml');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(
    file,
    stringify({
      id: ID,
      clickhouse: {
        user: 'default',
        hosts: up.hosts.map(({ name, url }) => ({ name, url })),
        restart: { command: [process.execPath, cli, 'dev', 'restart-host', '{host}', '--zk-root', NEW_ROOT, '--dir', up.dir], wave: 2 },
      },
      zookeeper: { connect: up.zookeeper.connect, root: OLD_ROOT, after: { root: NEW_ROOT } },
      statusFile,
    }),
  );
  return file;
}

async function migrate(
  up: StackDescription,
  specFile: string,
  { json, interrupt }: { readonly json: boolean; readonly interrupt: AbortSignal },
): Promise<{ code: number; summary: MigrationSummary; ui: string }> {
  const { spec } = await loadSpec(specFile);
  const where = { address: up.temporal.address, namespace: up.temporal.namespace };
  const connection = await connectTemporal(where);
  const worker = await startWorker({
    temporal: temporalConfig(where), client: connection.client, taskQueue: spec.taskQueue, env: process.env, handleSignals: false,
  });
  try {
    await connection.client.workflow.start(WORKFLOW_TYPE, migrationStartOptions({ spec, execute: true }));
    const code = await watchMigration(connection, spec.id, { stay: true, quiet: true, json, interrupt, hint: 'Ctrl-C ends the demo' });
    const { summary, runId } = await describeMigration(connection.client, spec.id);
    return { code, summary, ui: webUiLink({ ...where, ui: up.temporal.ui }, spec.id, runId) };
  } finally {
    worker.drain();
    await worker.ended;
    await connection.close();
  }
}

/** Rows, parts, blobs and checksums of each host, by plain queries and a look into the object storage's folder: what the migration says plays no part. */
async function totals(up: StackDescription): Promise<HostTotals[]> {
  return Promise.all(up.hosts.map(({ url }) => totalsOf(url, stackFiles(up.dir).blobs)));
}

async function totalsOf(url: string, folder: string): Promise<HostTotals> {
  const client = createClient({ url, log: { level: ClickHouseLogLevel.OFF } });
  const select = async <T>(query: string): Promise<T[]> => (await client.query({ query, format: 'JSONEachRow' })).json<T>();
  try {
    const tables = await select<{ database: string; name: string }>(
      "SELECT database, name FROM system.tables WHERE engine LIKE 'Replicated%' AND database != '_ch_zk_migrate' ORDER BY database, name",
    );
    let rows = 0;
    let sum = 0n;
    for (const { database, name } of tables) {
      const [row] = await select<{ n: string; h: string }>(
        `SELECT toString(count()) AS n, toString(sum(cityHash64(*))) AS h FROM ${quoteIdentifier(database)}.${quoteIdentifier(name)}`,
      );
      rows += Number(row?.n ?? 0);
      sum = BigInt.asUintN(64, sum + BigInt(row?.h ?? 0));
    }
    const [parts] = await select<{ n: string }>("SELECT toString(count()) AS n FROM system.parts WHERE active AND database != '_ch_zk_migrate'");
    const blobs = await select<Blob>(
      `SELECT DISTINCT remote_path AS blob, toString(size) AS bytes FROM system.remote_data_paths
       WHERE arrayExists(part -> startsWith(path || local_path, part), (SELECT groupArray(path) FROM system.parts WHERE active AND database != '_ch_zk_migrate'))
       ORDER BY remote_path`,
    );
    return {
      tables: tables.length,
      rows,
      parts: Number(parts?.n ?? 0),
      checksum: sum.toString(16).padStart(16, '0'),
      blobs: blobs.length,
      blobsThere: blobs.filter((blob) => isThere(blob, folder)).length,
      blobsChecksum: createHash('sha256').update(JSON.stringify(blobs)).digest('hex').slice(0, 16),
    };
  } finally {
    await client.close();
  }
}

interface Blob {
  readonly blob: string;
  readonly bytes: string;
}

function isThere({ blob, bytes }: Blob, folder: string): boolean {
  if (!blob.startsWith(`${folder}${path.sep}`)) return false;
  return statSync(blob, { throwIfNoEntry: false })?.size === Number(bytes);
}

/** How this program is called from here: a checkout is not on the PATH. */
function program(): string {
  const [, file = ''] = process.argv;
  return path.basename(file) === 'cli.js' ? `node ${path.relative('', file)}` : path.basename(file);
}

/** The result as a person reads it. */
export function demoText(result: DemoResult): string {
  const head = ['host', 'tables', 'rows before', 'rows after', 'parts before', 'parts after', 'checksum', 'blobs before', 'blobs after', ''];
  const proof = new Table({ head, style: { head: [], border: [] } });
  for (const { name, before, after } of result.hosts) {
    const same = JSON.stringify(before) === JSON.stringify(after);
    const blobs = [before.blobs, `${after.blobs}, ${after.blobsThere === after.blobs ? 'all there' : `${after.blobs - after.blobsThere} GONE`}`];
    proof.push([name, after.tables, before.rows, after.rows, before.parts, after.parts, after.checksum, ...blobs, same ? 'proved equal' : 'NOT EQUAL']);
  }
  const times = new Table({ head: ['phase', 'time'], style: { head: [], border: [] } });
  for (const { phase, started, ended } of result.phases) {
    times.push([phase, ended === undefined ? '' : prettyMs(Date.parse(ended) - Date.parse(started))]);
  }
  return [
    proof.toString(),
    times.toString(),
    `status file: ${result.statusFile}`,
    `web ui:      ${result.ui}${result.kept ? '' : ' (the stack is down now; --keep leaves it up)'}`,
    ...(result.kept
      ? [
          'the stack is up:',
          `  look at it:  TEMPORAL_ADDRESS=${result.temporal} ${program()} status ${ID} --tables`,
          `  end it:      ${program()} dev down --dir ${result.dir}`,
        ]
      : []),
    result.ok ? 'every row is back, and every blob is there: RESTORED and proved' : 'the demo FAILED, see above',
  ].join('\n');
}
