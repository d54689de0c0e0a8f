/** Hosts whose replicas stay readonly whatever is done, as a development server without replication, and `verify.writable: report`. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import { type SeedTable } from '../../src/dev/seed';
import { reconfigureHost, restartHost, stackDown, stackUp } from '../../src/dev/stack';
import { statementSeen } from '../faults/support';
import { ProxyHost } from '../support/proxy-host';
import { Ground, hostAt, run, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

const DEFAULT = '/clickhouse/tables/{shard}/{database}/{table}';
const OWN = '/of its own/{database}/{table}';

describe('where replicas cannot become active', function () {
  this.timeout(600_000);
  let dir: string;
  let ground: Ground;
  const closing: (() => Promise<void>)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'ch-zk-migrate-inactive-'));
    ground = Ground.over(await stackUp({ dir, hosts: 1, zkRoot: '/start', activate: false, remember: false }), 'inactive');
    await defaultPath(OWN);
    await ground.seed([table('closed')]);
    await defaultPath(DEFAULT);
    await ground.seed([table('open'), table('whole')]);
  });

  after(async () => {
    await ground.end();
    await stackDown(dir, { deleteData: true });
  });

  const name = (of: string): string => quoteTable({ database: ground.database, table: of });

  function table(of: string): SeedTable {
    return {
      database: ground.database, name: of, columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x',
      data: [{ select: 'SELECT number % 6, number FROM numbers(60)' }, { select: 'SELECT 0, number + 100 FROM numbers(10)' }],
    };
  }

  async function engineOf(of: string): Promise<string | undefined> {
    return (await sql<{ engine: string }>(ground.firstHost.url, `SELECT engine FROM system.tables WHERE database = '${ground.database}' AND name = '${of}'`))[0]?.engine;
  }

  async function defaultPath(replicaPath: string): Promise<void> {
    await reconfigureHost(dir, ground.firstHost.name, { replicaPath });
    await restartHost(dir, ground.firstHost.name);
  }

  /** Leaves a table as a RESTORE does that dies before its last two parts: registered, and these in `detached/` under their old names. */
  async function died(of: string): Promise<void> {
    const { url, replica } = ground.firstHost;
    await run(url, `SYSTEM RESTORE REPLICA ${name(of)}`);
    const parts = await sql<{ name: string; path: string; old: string; at: string }>(
      url,
      `SELECT p.name AS name, p.path AS path, m.name AS old, i.zookeeper_path AS at FROM system.parts AS p
       INNER JOIN (SELECT * FROM _ch_zk_migrate.manifests WHERE kind = 'baseline' AND migration = '${ground.id}') AS m ON m.database = p.database AND m.table = p.table AND m.partition_id = p.partition_id
       INNER JOIN (SELECT * FROM _ch_zk_migrate.inventory WHERE migration = '${ground.id}') AS i ON i.database = p.database AND i.table = p.table
       WHERE p.active AND p.database = '${ground.database}' AND p.table = '${of}' ORDER BY p.name DESC LIMIT 2`,
    );
    assert.equal(parts.length, 2);
    await run(url, `DETACH TABLE ${name(of)} SYNC`);
    for (const part of parts) {
      const folder = part.path.replace(/\/$/u, '');
      assert.equal(basename(folder), part.name);
      renameSync(folder, join(folder, '../detached', part.old));
      await withZooKeeper(ground.up, (session) => session.deleteTree(`${ground.from}${part.at}/replicas/${replica}/parts/${part.name}`));
    }
    await run(url, `ATTACH TABLE ${name(of)}`);
  }

  it('an abort says of each that it is readonly, and ends where that is only to be reported', async () => {
    const before = await ground.oracle();
    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      delete document.zookeeper['after'];
      document.clickhouse.restart = { none: true };
      Object.assign(document, { id: `${ground.id}-back`, verify: { writable: 'report' }, pauseBefore: ['clean'] });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const aborted = await ground.cli('abort', `${ground.id}-back`, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { outcome, warnings } = JSON.parse(aborted.stdout) as { outcome: string; warnings: { code: string; table: string }[] };
    assert.equal(outcome, 'aborted');
    assert.deepEqual(warnings.filter(({ code }) => code === 'LEFT_READONLY').map(({ table: of }) => of), ['closed', 'open', 'whole'], aborted.stdout);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('a RESTORE that died is repaired as a plain table, through the death of a worker and merges before they are stopped; where that way is closed its statements are said, and retry completes what a hand did', async () => {
    const before = await ground.oracle();
    const { url } = ground.firstHost;
    let merged = 0;
    const proxy = await ProxyHost.before(url, async ({ text }) => {
      if (!/^SYSTEM STOP MERGES .*`open`/u.test(text) || (await engineOf('open')) !== 'MergeTree') return undefined;
      await run(url, `OPTIMIZE TABLE ${name('open')} PARTITION 0 FINAL`);
      merged += 1;
      return undefined;
    });
    closing.push(() => proxy.close());
    const first = ground.worker();
    const started = await ground.cli('start', ground.spec((document) => {
      delete document.zookeeper['after'];
      hostAt(0, proxy.url)(document);
      document.clickhouse.restart = { none: true };
      Object.assign(document, { verify: { writable: 'report' }, pauseBefore: ['restore'], onFailure: 'continue' });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    for (const of of ['open', 'closed']) await died(of);
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    await statementSeen(ground, marks, /^ATTACH TABLE .*`open` AS NOT REPLICATED/u);
    first.kill('SIGKILL');
    await first;
    ground.worker();
    const { failures, counts } = await ground.until(({ outcome }) => outcome === 'failed', 'the end');
    assert.deepEqual(failures.map(({ table: of, code }) => [of, code]), [['closed', 'NEEDS_HAND']], JSON.stringify(failures));
    assert.equal(counts.RESTORED, 2);
    assert.deepEqual(ground.statements(marks, /`closed` (AS|ATTACH)|DETACH TABLE .*`closed`/u), []);
    assert.equal(ground.statements(marks, /`open` ATTACH PART/u).length, 2);
    assert.ok(merged > 0, 'nothing was merged while it was a plain table');

    const message = failures[0]?.message ?? '';
    assert.match(message, /short of 2 parts .* set default_replica_path to \/of its own\//u);
    const steps = /By hand, in this order: (.*); then retry$/iu.exec(message)?.[1]?.split('; ') ?? [];
    assert.equal(steps.length, 9, message);
    await defaultPath(OWN);
    for (const step of steps) {
      const [, path] = /^delete (.*) in ZooKeeper/u.exec(step) ?? [];
      if (path === undefined) await run(ground.firstHost.url, step);
      else await withZooKeeper(ground.up, (session) => session.deleteTree(path));
    }
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    // RESTORE puts aside what a merge has put out of use.
    assert.deepEqual(await sql(ground.firstHost.url, `SELECT table FROM system.detached_parts WHERE database = '${ground.database}' AND partition_id != '0'`), []);
    assert.deepEqual(
      await sql(ground.firstHost.url, `SELECT DISTINCT engine FROM system.tables WHERE database = '${ground.database}'`),
      [{ engine: 'ReplicatedMergeTree' }],
    );
  });
});
