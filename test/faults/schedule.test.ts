/**
 * Kills and stops whatever can be killed and stopped, at random instants of migrations over data of random shape. The schedule follows from
 * the seed (`FAULT_SEED`, printed); `FAULT_RUNS` says how many migrations (1 in `npm test`).
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';

import { parse } from 'yaml';

import { quoteTable } from '../../src/clickhouse/sql';
import { type SeedTable, seedTables } from '../../src/dev/seed';
import { killPart, stackStatus, startPart } from '../../src/dev/stack';
import { Ground, pause, run, sql } from '../support/stack';
import { finish, KeptWorker } from './support';

const RUNS = Number(process.env['FAULT_RUNS'] ?? 1);
/** The one run of `npm test` is always the same schedule; more of them are others every time. */
const SEED = Number(process.env['FAULT_SEED'] ?? (RUNS === 1 ? 5_000 : Date.now() % 1_000_000));

/** mulberry32: a small generator whose numbers follow from its seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class Dice {
  private readonly next: () => number;
  constructor(seed: number) {
    this.next = generator(seed);
  }

  /** A whole number from `low` to `high`. */
  number(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  one<T>(of: readonly T[]): T {
    return of[this.number(0, of.length - 1)] as T;
  }
}

/** Ends the name of a table from which rows are deleted once it is filled (a lightweight delete). */
const DELETED_FROM = ' deleted';
/** Ends the name of a table that is filled on one replica and fetched by the other: with merges on, or sharing its blobs. */
const FETCHED = ' fetched';

async function seedRandom(ground: Ground, tables: readonly SeedTable[]): Promise<void> {
  await ground.seed(tables.filter(({ name }) => !name.endsWith(FETCHED)));
  await seedTables(ground.hosts, tables.filter(({ name }) => name.endsWith(FETCHED)), { replicate: true });
  for (const table of tables.filter(({ name }) => name.endsWith(DELETED_FROM))) {
    await run(ground.firstHost.url, `DELETE FROM ${quoteTable({ database: table.database, table: table.name })} WHERE user < 10 SETTINGS mutations_sync = 2, lightweight_deletes_sync = 2`);
  }
}

/** Tables of a random shape. */
function randomTables(dice: Dice, database: string): SeedTable[] {
  const columns = 'day Date, user UInt32, note String';
  const merging = { max_bytes_to_merge_at_max_space_in_pool: 161_061_273_600, max_bytes_to_merge_at_min_space_in_pool: 1_048_576 };
  const shapes: ((name: string) => SeedTable)[] = [
    (name) => ({ database, name, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 300, number % 97, toString(number) FROM numbers(${dice.number(1, 3_000)})` }] }),
    (name) => ({ database, name, columns, partitionBy: 'day', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % ${dice.number(30, 200)}, number, 'x' FROM numbers(${dice.number(200, 2_000)})` }] }),
    (name) => ({ database, name, columns, orderBy: 'user', data: [] }),
    (name) => ({ database, name, columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x', data: Array.from({ length: dice.number(2, 5) }, () => ({ select: 'SELECT number % 2, number FROM numbers(9)' })) }),
    (name) => ({ database, name, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', settings: { min_bytes_for_wide_part: 0 }, data: [{ select: `SELECT toDate('2024-01-01') + number % 90, number, repeat('w', number % 40) FROM numbers(${dice.number(10, 900)})` }] }),
    // Merged while the migration runs, wherever the server may: the only shape with merges on.
    (name) => ({ database, name: `${name}${FETCHED}`, columns: 'x UInt64', orderBy: 'x', settings: merging, data: Array.from({ length: dice.number(3, 7) }, (_, i) => ({ select: `SELECT number + ${i * 10} FROM numbers(${dice.number(1, 400)})` })) }),
    (name) => ({ database, name, columns: 'day Date, user UInt32, note String TTL day + INTERVAL 90 YEAR', partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 60, number, 't' FROM numbers(${dice.number(10, 600)})` }] }),
    (name) => ({ database, name: `${name}${DELETED_FROM}`, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', data: [{ select: `SELECT toDate('2024-01-01') + number % 120, number % 50, 'd' FROM numbers(${dice.number(50, 900)})` }] }),
    (name) => ({ database, name: `${name}${FETCHED}`, columns, partitionBy: 'toYYYYMM(day)', orderBy: 'user', settings: { storage_policy: 'object_storage' }, data: [{ select: `SELECT toDate('2024-01-01') + number % 200, number, 'z' FROM numbers(${dice.number(50, 900)})` }] }),
    (name) => ({ database, name, columns: `${columns}, PROJECTION sums (SELECT user, count() GROUP BY user)`, orderBy: 'user', data: [{ select: `SELECT today(), number % 7, 'p' FROM numbers(${dice.number(10, 900)})` }] }),
  ];
  return Array.from({ length: dice.number(6, 14) }, (_, i) => dice.one(shapes)(`t ${i}`));
}

class Tally {
  private readonly counts = new Map<string, number>();

  add(what: string, by = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by);
  }

  toString(): string {
    return [...this.counts].sort().map(([what, n]) => `${what}: ${n}`).join(', ') || 'none';
  }
}

describe(`a random schedule of kills (seed ${SEED}, ${RUNS} run${RUNS === 1 ? '' : 's'})`, function () {
  this.timeout(600_000);
  const kills = new Tally();
  const repairs = new Tally();
  const failures = new Tally();
  const endings = new Tally();
  let rows = 0;
  let done = 0;

  after(() => {
    process.stdout.write(
      `      seed ${SEED}: ${done} of ${RUNS} runs\n      kills by phase and part: ${kills.toString()}\n      repairs: ${repairs.toString()}\n      failures that were retried: ${failures.toString()}\n      workers that ended by themselves: ${endings.toString()}\n      rows compared: ${rows}\n`,
    );
  });

  for (let index = 0; index < RUNS; index += 1) {
    it(`run ${index + 1}: not a row is lost, none doubled, no table left detached`, async () => {
      const dice = new Dice(SEED + index);
      const ground = await Ground.on('fault');
      let worker: KeptWorker | undefined;
      try {
        await seedRandom(ground, randomTables(dice, ground.database));
        const before = await ground.oracle();
        worker = new KeptWorker(ground, (words) => endings.add(words));
        const spec = ground.spec((document) => (document['parallel'] = { detach: dice.number(1, 4), clean: dice.number(1, 4), restore: dice.number(1, 3) }));
        const started = await ground.cli('start', spec, '--execute', '--json');
        assert.equal(started.code, 0, started.stdout + started.stderr);
        for (let left = dice.number(2, 4); left > 0; left -= 1) {
          await pause(dice.number(0, 3_000));
          const phase = await phaseOf(ground);
          if (phase === 'ended') break;
          const part = dice.one(['worker', 'temporal', 'zookeeper', ...ground.hosts.map(({ name }) => name)]);
          const stop = dice.one([true, false]);
          kills.add(`${phase} ${stop ? 'SIGSTOP' : 'SIGKILL'} ${part}`);
          if (stop) await stopped(ground, worker, part, dice.number(200, 8_000));
          else await killed(ground, worker, part, dice.number(0, 4_000));
          readStatusFile(ground);
        }
        const outcome = await finish(ground, (code) => failures.add(code));
        assert.equal(outcome, 'completed', JSON.stringify(await ground.status()));
        const said = (await ground.cli('report', ground.id)).stdout;
        for (const [, count] of said.matchAll(/repaired: (\d+) parts/gu)) repairs.add('parts attached by the saved manifest', Number(count));
        for (const [words] of said.matchAll(/proved by the rows of each partition/gu)) repairs.add(words);
        const after = await ground.oracle();
        assert.deepEqual(after, before);
        for (const host of ground.hosts) await writable(host);
        rows += Object.values(after).reduce((sum, words) => sum + Number.parseInt(words, 10), 0);
        const entries = readStatusFile(ground);
        assert.ok(entries !== undefined && entries.length === Object.keys(after).length && entries.every(({ status }) => status === 'RESTORED'));
        done += 1;
      } finally {
        worker?.leave();
        await ground.end();
      }
    });
  }
});

/** A kill of ZooKeeper may come last: then a server takes a moment to get its session again, and no longer. */
async function writable(host: { readonly name: string; readonly url: string }): Promise<void> {
  for (const end = Date.now() + 240_000; ; await pause(500)) {
    const readonly = await sql(host.url, 'SELECT database, table FROM system.replicas WHERE is_readonly');
    if (readonly.length === 0) return;
    assert.ok(Date.now() < end, `readonly on ${host.name}: ${JSON.stringify(readonly)}`);
  }
}

async function phaseOf(ground: Ground): Promise<string> {
  try {
    const { phase, outcome } = await ground.status();
    return outcome === 'running' ? phase : 'ended';
  } catch {
    return 'unknown';
  }
}

/** Whole at every moment, or not there yet. */
function readStatusFile(ground: Ground): { status: string }[] | undefined {
  if (!existsSync(ground.statusFile)) return undefined;
  const entries = parse(readFileSync(ground.statusFile, 'utf8')) as unknown;
  assert.ok(Array.isArray(entries), 'the status file is no list');
  return entries as { status: string }[];
}

async function killed(ground: Ground, worker: KeptWorker, part: string, ms: number): Promise<void> {
  if (part === 'worker') return worker.killed(ms);
  await killPart(ground.up.dir, part);
  await pause(ms);
  await startPart(ground.up.dir, part);
}

async function stopped(ground: Ground, worker: KeptWorker, part: string, ms: number): Promise<void> {
  const up = await stackStatus(ground.up.dir);
  const pid =
    part === 'worker' ? worker.pid
    : part === 'temporal' ? up.temporal.pid
    : part === 'zookeeper' ? up.zookeeper.pid
    : up.hosts.find(({ name }) => name === part)?.pid;
  if (pid === undefined || pid === null) return;
  try {
    process.kill(pid, 'SIGSTOP');
    await pause(ms);
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    // It ended meanwhile (a host that is restarted by the migration).
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
