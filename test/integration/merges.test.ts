import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import type { SeedTable } from '../../src/dev/seed';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { eventually, Ground, hostAt, inPlace, pause, run, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

/** As servers have it by default: what may be merged is chosen as soon as there is enough of it. */
const MERGING = 'max_bytes_to_merge_at_max_space_in_pool = 161061273600, max_bytes_to_merge_at_min_space_in_pool = 1048576';
/** A server that found nothing to merge looks again a second later, and not after a minute. */
const OFTEN = { merge_selecting_sleep_ms: 300, max_merge_selecting_sleep_ms: 1_000 };
const PARTS = 30;

describe('merges', function () {
  this.timeout(600_000);
  let ground: Ground;

  afterEach(async () => {
    await ground.end();
  });

  function manyParts(name: string, settings: SeedTable['settings'] = {}): SeedTable {
    return {
      ...{ database: ground.database, name, columns: 'x UInt64', orderBy: 'x', settings: { ...OFTEN, ...settings } },
      data: Array.from({ length: PARTS }, (_, i) => ({ select: `SELECT number + ${i * 10} FROM numbers(10)` })),
    };
  }

  /** A table of three parts on the first host alone, by its quoted name. */
  async function threeParts(table: string): Promise<string> {
    const { url, replica } = ground.firstHost;
    const name = quoteTable({ database: ground.database, table });
    await ground.onEach(`CREATE DATABASE \`${ground.database}\``);
    await run(url, `CREATE TABLE ${name} (x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/${ground.id}/${table}', '${replica}') ORDER BY x`);
    for (const from of [0, 10, 20]) await run(url, `INSERT INTO ${name} SELECT number + ${from} FROM numbers(10)`);
    return name;
  }

  /** Somebody merges it although its merges are stopped. */
  async function merge(name: string): Promise<void> {
    await run(ground.firstHost.url, `SYSTEM START MERGES ${name}`, `OPTIMIZE TABLE ${name} FINAL`, `SYSTEM STOP MERGES ${name}`);
  }

  async function migrateBehind(proxy: ProxyHost): Promise<void> {
    ground.worker();
    const spec = ground.spec((document) => {
      inPlace(document);
      hostAt(0, proxy.url)(document);
      document.clickhouse.restart = { none: true };
    });
    const done = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
  }

  it('that a server chooses while they are stopped hold up neither the barrier nor a proof, and are done afterwards', async () => {
    ground = await Ground.on('chosen');
    await ground.seed([manyParts('plain'), manyParts('blobs', { storage_policy: 'object_storage' })], { replicate: true });
    const before = await ground.oracle();
    ground.worker();
    assert.equal((await ground.cli('start', ground.spec(), '--execute', '--pause-before', 'detach', '--watch')).code, 4);
    const chosen = async (url: string): Promise<number> => Number((await sql<{ n: string }>(url, `SELECT sum(merges_in_queue) AS n FROM system.replicas WHERE database = '${ground.database}'`))[0]?.n);
    for (const table of ['plain', 'blobs']) {
      const name = quoteTable({ database: ground.database, table });
      await ground.onEach(`SYSTEM STOP MERGES ${name}`);
      await run(ground.firstHost.url, `ALTER TABLE ${name} MODIFY SETTING ${MERGING}`);
    }
    for (const { url } of ground.hosts) await eventually(async () => (await chosen(url)) > 0, 'merges in its queue');
    await ground.cli('approve', ground.id, 'detach');
    const done = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(done.outcome, 'completed', JSON.stringify(done.failures));
    // None went back to catch up.
    const { decisions } = await ground.json<{ decisions: { what: string }[] }>('status', ground.id);
    assert.deepEqual(decisions.filter(({ what }) => what.includes('goes back')), []);
    for (const { url } of ground.hosts) {
      const parts = async (): Promise<number> => Number((await sql<{ n: string }>(url, `SELECT count() AS n FROM system.parts WHERE active AND database = '${ground.database}'`))[0]?.n);
      await eventually(async () => (await parts()) < 2 * PARTS, 'what is merged afterwards');
    }
    assert.deepEqual(await ground.oracle(), before);
  });

  it('that were stopped by a worker which died before it had saved a manifest go on after an abort', async () => {
    ground = await Ground.on('stopped');
    await ground.seed([manyParts('stopped')]);
    const before = await ground.oracle();
    const name = quoteTable({ database: ground.database, table: 'stopped' });
    const proxy = await ProxyHost.before(ground.firstHost.url);
    try {
      const marks = ground.marks();
      const sent = (what: 'START' | 'STOP'): number => ground.statements(marks, new RegExp(`^SYSTEM ${what} MERGES`, 'u')).filter(({ host, text }) => host === ground.firstHost.name && text.endsWith(name)).length;
      let held = false;
      proxy.script = ({ text }) => {
        if (!text.startsWith("INSERT INTO _ch_zk_migrate.manifests") || sent('STOP') === 0) return undefined;
        held = true;
        return TAKEN;
      };
      const worker = ground.worker();
      const spec = ground.spec((document) => {
        inPlace(document);
        hostAt(0, proxy.url)(document);
      });
      assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
      await eventually(() => held, 'the manifest');
      worker.kill('SIGKILL');
      proxy.script = () => undefined;
      const started = sent('START');
      await pause(500);
      ground.worker();
      const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      assert.ok(sent('START') > started, 'no merges were started again');
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('whose sources one server has removed already, and another not yet, make no difference between replicas', async () => {
    ground = await Ground.on('removed');
    await ground.seed([manyParts('removed')], { replicate: true });
    const name = quoteTable({ database: ground.database, table: 'removed' });
    await run(ground.firstHost.url, `OPTIMIZE TABLE ${name} FINAL SETTINGS alter_sync = 2`);
    const before = await ground.oracle();
    const [place] = await sql<{ replica: string }>(ground.firstHost.url, `SELECT replica_path AS replica FROM system.replicas WHERE database = '${ground.database}'`);
    await withZooKeeper(ground.up, async (session) => {
      const parts = `${ground.from}${place?.replica ?? ''}/parts`;
      const sources = ((await session.children(parts)) ?? []).filter((part) => part.endsWith('_0'));
      assert.equal(sources.length, PARTS);
      for (const part of sources) await session.deleteTree(`${parts}/${part}`);
    });
    ground.worker();
    const done = await ground.cli('start', ground.spec((document) => (document['preflight'] = { wait: '500ms' })), '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    const { decisions } = await ground.json<{ decisions: { what: string }[] }>('status', ground.id);
    assert.deepEqual(decisions.filter(({ what }) => what.includes('goes back')), []);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('that were past their last look at being stopped, and one that commits after the manifest was saved, are in the manifest that counts', async () => {
    ground = await Ground.on('late');
    const { url } = ground.firstHost;
    const name = await threeParts('late');
    const before = await ground.oracle();
    // The engine cannot be made to hold a merge at its commit: it is listed by the proxy for two looks.
    let looks = 0;
    let manifests = 0;
    const looksBefore: number[] = [];
    const proxy = await ProxyHost.before(url, async ({ text }) => {
      if (text.includes('FROM system.merges WHERE') && text.includes('result_part_name AS part') && (looks += 1) <= 2) {
        return JSON.stringify({ data: [{ database: ground.database, table: 'late', part: 'all_0_1_1' }], rows: 1 });
      }
      if (text.startsWith('INSERT INTO _ch_zk_migrate.manifests') && manifests < 2) {
        looksBefore.push(looks);
        manifests += 1;
      }
      // With the first manifest on disk and before the look that comes ahead of the DETACH.
      if (text.includes('AND (database, table, name) NOT IN') && manifests === 1) {
        await merge(name);
      }
      return undefined;
    });
    try {
      await migrateBehind(proxy);
      assert.deepEqual(looksBefore, [3, 3]);
      const takes = await sql<{ parts: string }>(url, `SELECT toString(count()) AS parts FROM _ch_zk_migrate.manifests WHERE migration = '${ground.id}' AND kind = 'detach' GROUP BY take ORDER BY min(at)`);
      assert.deepEqual(takes.map(({ parts }) => Number(parts)), [3, 1]);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('that commit after the last look before the DETACH are told by the baseline, which has every row of each partition', async () => {
    ground = await Ground.on('last');
    const { url } = ground.firstHost;
    const name = await threeParts('last');
    const before = await ground.oracle();
    let merged = 0;
    const proxy = await ProxyHost.before(url, async ({ text }) => {
      if (text.startsWith('DETACH TABLE') && (merged += 1) === 1) {
        await merge(name);
      }
      return undefined;
    });
    try {
      await migrateBehind(proxy);
      const takes = await sql<{ kind: string; parts: string }>(url, `SELECT kind, toString(count()) AS parts FROM _ch_zk_migrate.manifests WHERE migration = '${ground.id}' GROUP BY kind, take ORDER BY min(at)`);
      assert.deepEqual(takes.map(({ kind, parts }) => `${kind} ${parts}`), ['detach 3', 'baseline 1']);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });
});
