/**
 * Kills and stops whatever can be killed and stopped, at random instants of migrations over data of random shape, to another root or in place, which an
 * operator lets run, pauses or aborts. The schedule follows from the seed (`FAULT_SEED`, printed); `FAULT_RUNS` says how many migrations (1 in `npm test`).
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';

import { parse } from 'yaml';

import { killPart, stackStatus, startPart } from '../../src/dev/stack';
import { devCommand, Ground, inPlace, pause, type SpecDocument, sql } from '../support/stack';
import { Dice, randomTables, seedRandom } from './random';
import { finish, KeptWorker } from './support';

const RUNS = Number(process.env['FAULT_RUNS'] ?? 1);
assert.ok(Number.isInteger(RUNS) && RUNS > 0, 'FAULT_RUNS is no number of runs');
/** The one run of `npm test` is always the same schedule; more of them are others every time. */
const SEED = Number(process.env['FAULT_SEED'] ?? (RUNS === 1 ? 5_000 : Date.now() % 1_000_000));

/** What the operator does in a run, one after the other: what was aborted is begun again, where it has not gone forward. */
const HANDS = ['abort', 'none', 'pause', 'none'] as const;

/** Ways that a migration goes: half of them with the old metadata deleted before anything is made anew, as by default. */
const WAYS: Readonly<Record<string, (document: SpecDocument, ground: Ground) => void>> = {
  'another root': () => undefined,
  'another root, again': () => undefined,
  'in place': (document) => {
    inPlace(document);
    document.clickhouse.restart = { none: true };
  },
  'clean: after-verify': (document, ground) => keepOld('after-verify', document, ground),
  'clean: never': (document, ground) => keepOld('never', document, ground),
};

function keepOld(clean: string, document: SpecDocument, ground: Ground): void {
  const reconfigure = (root: string): string[] => devCommand(ground, 'reconfigure-host', '{host}', '--zk-root', root);
  document.zookeeper['clean'] = clean;
  document.clickhouse.restart = { reconfigure: reconfigure(ground.root), reconfigureBack: reconfigure(ground.from), command: devCommand(ground, 'restart-host', '{host}'), wave: 2 };
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
  const hands = new Tally();
  const ends = new Tally();
  let rows = 0;
  let done = 0;

  after(() => {
    process.stdout.write(
      `      seed ${SEED}: ${done} of ${RUNS} runs\n      ways and their ends: ${ends.toString()}\n      kills by phase and part: ${kills.toString()}\n      commands meanwhile: ${hands.toString()}\n      repairs: ${repairs.toString()}\n      failures that were retried: ${failures.toString()}\n      workers that ended by themselves: ${endings.toString()}\n      rows compared: ${rows}\n`,
    );
  });

  /** So many kills, and in the midst of them what the operator does. */
  async function strike(ground: Ground, worker: KeptWorker, dice: Dice, times: number, hand?: () => Promise<void>): Promise<void> {
    const handBefore = dice.number(1, times);
    for (let left = times; left > 0; left -= 1) {
      await pause(dice.number(0, 3_000));
      if (left === handBefore) await hand?.();
      const phase = await phaseOf(ground);
      if (phase === 'ended') return;
      const part = dice.one(['worker', 'temporal', 'zookeeper', ...ground.hosts.map(({ name }) => name)]);
      const stop = dice.one([true, false]);
      kills.add(`${phase} ${stop ? 'SIGSTOP' : 'SIGKILL'} ${part}`);
      if (stop) await stopped(ground, worker, part, dice.number(200, 8_000));
      else await killed(ground, worker, part, dice.number(0, 4_000));
      readStatusFile(ground);
    }
  }

  /** A command of the operator's: one that Temporal did not answer yet is given again. What has ended takes none. */
  async function told(ground: Ground, ...args: string[]): Promise<void> {
    const phase = await phaseOf(ground);
    if (phase === 'ended') return;
    for (const end = Date.now() + 120_000; ; await pause(1_000)) {
      const { code, stdout, stderr } = await ground.cli(...args, ground.id, '--json');
      if (code === 0) break;
      assert.ok(Date.now() < end && code === 1, `${args.join(' ')}: ${code}, ${stdout}${stderr}`);
    }
    hands.add(`${args.join(' ')} in ${phase}`);
  }

  /** Every row of every table by plain queries, and every replica at work. */
  async function whole(ground: Ground, before: Readonly<Record<string, string>>): Promise<void> {
    const after = await ground.oracle();
    assert.deepEqual(after, before);
    for (const host of ground.hosts) await writable(host);
    rows += Object.values(after).reduce((sum, words) => sum + Number.parseInt(words, 10), 0);
  }

  /** After an abort that went forward the hosts are on their new root, all of them or none. */
  async function wentForward(ground: Ground): Promise<boolean> {
    const { hosts } = await stackStatus(ground.up.dir);
    const there = ground.hosts.map(({ name }) => hosts.find((host) => host.name === name)?.zkRoot === ground.root);
    assert.equal(new Set(there).size, 1, 'some of the hosts are on the new root');
    return there.includes(true);
  }

  for (let index = 0; index < RUNS; index += 1) {
    it(`run ${index + 1}: not a row is lost, none doubled, no table left detached`, async () => {
      const dice = new Dice(SEED + index);
      const ground = await Ground.on('fault');
      let worker: KeptWorker | undefined;
      try {
        await seedRandom(ground, randomTables(dice, ground.database));
        const before = await ground.oracle();
        worker = new KeptWorker(ground, (words) => endings.add(words));
        const way = dice.one(Object.keys(WAYS));
        const spec = ground.spec((document) => {
          document['parallel'] = { detach: dice.number(1, 4), clean: dice.number(1, 4), restore: dice.number(1, 3) };
          WAYS[way]?.(document, ground);
        });
        const hand = HANDS[index % HANDS.length];
        const hold = dice.number(0, 5_000);
        const started = await ground.cli('start', spec, '--execute', '--json');
        assert.equal(started.code, 0, started.stdout + started.stderr);
        await strike(ground, worker, dice, dice.number(2, 4), async () => {
          if (hand === 'abort') await told(ground, 'abort');
          if (hand !== 'pause') return;
          await told(ground, 'pause');
          await pause(hold);
          await told(ground, 'resume');
        });
        let outcome = await finish(ground, (code) => failures.add(code));
        if (outcome === 'aborted') {
          assert.equal(hand, 'abort');
          await whole(ground, before);
          const entries = readStatusFile(ground) ?? [];
          assert.ok(entries.every(({ status }) => ['INIT', 'RESTORED'].includes(status)), JSON.stringify(entries));
          if (!(await wentForward(ground))) {
            const again = await ground.cli('start', spec, '--execute', '--json');
            assert.equal(again.code, 0, again.stdout + again.stderr);
            await strike(ground, worker, dice, 1);
            outcome = await finish(ground, (code) => failures.add(code));
          }
        }
        ends.add(`${way}${hand === 'none' ? '' : `, ${hand}`}: ${outcome}`);
        if (outcome === 'aborted') assert.ok(hand === 'abort' && (await wentForward(ground)));
        else assert.equal(outcome, 'completed', JSON.stringify(await ground.status()));
        const said = (await ground.cli('report', ground.id)).stdout;
        for (const [, count] of said.matchAll(/repaired: (\d+) parts/gu)) repairs.add('parts attached by the saved manifest', Number(count));
        for (const [words] of said.matchAll(/proved by the rows of each partition|repaired as a plain table|brought back what a failed RESTORE had left/gu)) repairs.add(words);
        await whole(ground, before);
        const entries = readStatusFile(ground);
        assert.ok(entries !== undefined && entries.length === Object.keys(before).length && entries.every(({ status }) => status === 'RESTORED'));
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
    return outcome === 'running' || outcome === 'waiting' ? phase : 'ended';
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
