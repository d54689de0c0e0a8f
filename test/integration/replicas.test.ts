/** Replicas of one path that do not have the same: writers that do not stop, a replica with more, one with parts of its own, a host gone for good. */
import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import { killPart } from '../../src/dev/stack';
import type { MigrationSummary } from '../../src/domain/summary';
import { finish } from '../faults/support';
import { ProxyHost } from '../support/proxy-host';
import { Ground, hostAt, pause, run, someTables, sql } from '../support/stack';

type Host = Ground['hosts'][number];

describe('replicas that do not have the same', function () {
  this.timeout(240_000);
  let ground: Ground;
  let one: Host;
  let other: Host;

  beforeEach(async () => {
    ground = await Ground.on('replicas');
    await ground.seed(someTables(ground.database, 2));
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    [one, other] = [first, second];
  });

  afterEach(async () => {
    await ground.end();
  });

  const name = (table: string): string => quoteTable({ database: ground.database, table });
  const insert = (table: string, rows: number, from: number): string =>
    `INSERT INTO ${name(table)} SELECT toDate('2030-01-01'), number, 'late' FROM numbers(${from}, ${rows})`;

  async function rowsOf(host: Host, table: string): Promise<number> {
    const [row] = await sql<{ n: string }>(host.url, `SELECT toString(count()) AS n FROM ${name(table)}`);
    return Number(row?.n);
  }

  async function attachedAndActive(host: Host, table: string): Promise<void> {
    await run(host.url, `ATTACH TABLE ${name(table)}`);
    for (;;) {
      const readonly = await sql(host.url, `SELECT 1 FROM system.replicas WHERE database = '${ground.database}' AND table = '${table}' AND is_readonly`);
      if (readonly.length === 0) return;
      await pause(100);
    }
  }

  async function start(gates: string[], change: Record<string, unknown> = {}, ...words: string[]): Promise<void> {
    ground.worker();
    const spec = ground.spec((document) => Object.assign(document, { pauseBefore: gates }, change));
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json', ...words);
    assert.equal(started.code, gates.length === 0 ? 0 : 4, started.stdout + started.stderr);
  }

  it('an INSERT that reached one replica after the other was detached: the table goes back, catches up, and nothing of it is lost', async () => {
    await start(['clean']);
    const before = { t0: 100 * 2, t1: 107 * 2 };
    await attachedAndActive(one, 't0');
    await run(one.url, insert('t0', 11, 0), `DETACH TABLE ${name('t0')} PERMANENTLY SYNC`);
    await ground.cli('approve', ground.id, 'clean');
    assert.equal(await finish(ground), 'completed');
    for (const host of ground.hosts) {
      assert.equal(await rowsOf(host, 't0'), before.t0 + 11, host.name);
      assert.equal(await rowsOf(host, 't1'), before.t1, host.name);
    }
    const { decisions } = await ground.json<MigrationSummary>('status', ground.id);
    assert.ok(decisions.some(({ what }) => /\.t0 goes back: .*REPLICAS_DIFFER|\.t0 goes back: .*record of the replicas differs/u.test(what)), JSON.stringify(decisions));
  });

  it('somebody who writes again and again: after a few tries the table stops and says by way of whom; when they stop, retry completes it', async () => {
    let written = 0;
    // In between, as a load balancer would be: its INSERT comes when the other replica is detached and this one is not yet.
    const writer = await ProxyHost.before(one.url, async ({ text }) => {
      if (!text.startsWith(`DETACH TABLE ${name('t0')}`) || written < 0) return undefined;
      for (let attached = true; attached; await pause(50)) {
        attached = (await sql(other.url, `SELECT 1 FROM system.tables WHERE database = '${ground.database}' AND name = 't0'`)).length > 0;
      }
      await run(one.url, insert('t0', 5, written * 5));
      written += 1;
      return undefined;
    });
    try {
      ground.worker();
      const spec = ground.spec(hostAt(0, writer.url));
      const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
      assert.equal(started.code, 1, started.stdout + started.stderr);
      const { failures } = await ground.status();
      assert.equal(failures.length, 1, JSON.stringify(failures));
      assert.match(failures[0]?.message ?? '', /"ch-2" has \d+ of \d+ parts.*what is lacking was written by way of "ch-1"/u);
      const total = written;
      assert.equal(total, 4, 'detached once, and after each of three returns');
      written = -1;
      assert.equal(await finish(ground), 'completed');
      for (const host of ground.hosts) assert.equal(await rowsOf(host, 't0'), 200 + total * 5, host.name);
    } finally {
      await writer.close();
    }
  });

  it('a replica with more is first, and the others get it; one with parts of its own is never RESTORED, and nothing is doubled', async () => {
    await start(['restart'], { onFailure: 'continue' });
    const more = async (host: Host, table: string, rows: number, from: number): Promise<void> => {
      await run(
        host.url,
        `ATTACH TABLE ${name(table)} AS NOT REPLICATED`,
        insert(table, rows, from),
        `DETACH TABLE ${name(table)} SYNC`,
        `ATTACH TABLE ${name(table)} AS REPLICATED`,
        `DETACH TABLE ${name(table)} PERMANENTLY SYNC`,
      );
    };
    await more(other, 't0', 20, 0);
    await more(other, 't1', 20, 0);
    await more(one, 't1', 3, 1_000);
    await ground.cli('approve', ground.id, 'restart');
    const { outcome } = await ground.until((status) => status.outcome !== 'running', 'the end', 120_000);
    const { failures, decisions } = await ground.json<MigrationSummary>('status', ground.id);
    assert.equal(outcome, 'failed', JSON.stringify(failures));
    assert.deepEqual(failures.map(({ host, table, code }) => [host, table, code]), [['ch-1', 't1', 'PROOF_FAILED']]);
    assert.match(failures[0]?.message ?? '', /missing: 1 part with 3 rows.*1 of these parts lie in detached\//u);
    assert.ok(decisions.some(({ what }) => what.includes('t0: the replicas\' baselines differ: elected ch-2')), JSON.stringify(decisions));
    assert.deepEqual([await rowsOf(one, 't0'), await rowsOf(other, 't0')], [220, 220]);
    assert.deepEqual([await rowsOf(one, 't1'), await rowsOf(other, 't1')], [234, 234]);
    const replicas = (await ground.json<{ replicas: { host: string; table: string; status: string }[] }>('status', ground.id, '--tables')).replicas;
    assert.deepEqual(replicas.filter(({ status }) => status !== 'RESTORED').map(({ host, table }) => [host, table]), [['ch-1', 't1']]);
    const retried = await ground.cli('retry', ground.id, '--skip', '*.t1', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.equal(await finish(ground), 'completed');
  });

  it('a RESTORE that died between parts of the same content, one as SQL cannot name it: told how to rename it, and each is there again', async () => {
    const before = await ground.oracle();
    await start(['restore']);
    const odd = name(`it's \`odd\` "here"`);
    await run(one.url, `SYSTEM RESTORE REPLICA ${odd}`, `ALTER TABLE ${odd} DETACH PARTITION 1`, `ALTER TABLE ${odd} ATTACH PART '1_1_1_0'`);
    const left = await sql<{ path: string }>(one.url, `SELECT path FROM system.detached_parts WHERE database = '${ground.database}' ORDER BY name`);
    assert.equal(left.length, 2);
    // As ATTACH PART leaves a part when its server is killed in it.
    for (const { path } of left.slice(1)) renameSync(path, join(dirname(path), `attaching_${basename(path)}`));
    await ground.cli('approve', ground.id, 'restore');
    const failures: string[] = [];
    assert.equal(await finish(ground, (code) => failures.push(code)), 'completed');
    assert.deepEqual(failures, ['NEEDS_HAND']);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('a replica whose host is gone for good: refused, allowed by name, recorded, and the others are whole', async () => {
    const before = await ground.oracle();
    await killPart(ground.up.dir, other.name);
    ground.worker();
    const spec = ground.spec(({ clickhouse }) => clickhouse.hosts.pop());
    for (let code = 0; code !== 3; await pause(1_000)) {
      // Its session in ZooKeeper outlives it for some seconds.
      const refused = await ground.cli('plan', spec, '--json');
      code = refused.code;
      if (refused.stdout.includes('"REPLICA_ACTIVE_ELSEWHERE"')) code = 0;
      else assert.match(refused.stdout, /"REPLICA_MISSING"/u);
    }
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json', '--allow-missing-replica', other.replica);
    assert.equal(started.code, 0, started.stdout + started.stderr);
    const summary = await ground.json<MigrationSummary>('status', ground.id);
    assert.ok(summary.warnings.some(({ code, message }) => code === 'REPLICA_MISSING' && message.includes(other.replica)), JSON.stringify(summary.warnings));
    const here = Object.fromEntries(Object.entries(before).filter(([key]) => key.startsWith(`${one.name} `)));
    for (const [key, words] of Object.entries(here)) {
      const table = key.slice(`${one.name} ${ground.database}.`.length);
      assert.equal(`${await rowsOf(one, table)} rows`, words.split(',')[0], table);
    }
  });
});
