import assert from 'node:assert/strict';

import { planned, words } from '../support/findings';
import { OldClickHouse } from '../support/old-clickhouse';
import { eventually, Ground, run, type SpecDocument } from '../support/stack';
import { nodesAt, withZooKeeper } from '../support/zookeeper';

describe('beside a real server of 2018', function () {
  this.timeout(600_000);
  let ground: Ground;
  let old: OldClickHouse;

  before(async function () {
    // Fetched and unpacked the first time.
    this.timeout(600_000);
    ground = await Ground.on('old');
    old = await OldClickHouse.start(ground.up.zookeeper.connect, ground.from);
  });

  after(async () => {
    await old.stop();
    await ground.end();
  });

  it('the server that is too old for RESTORE is refused, by plan and by start, and nothing is made on it', async () => {
    const instead = (document: SpecDocument): void => {
      document.clickhouse.hosts = [{ name: 'ch-old', url: old.url }];
    };
    const { refusals } = await planned(ground, instead);
    assert.deepEqual(refusals.map(({ code, host }) => [code, host]), [['TOO_OLD', 'ch-old']]);
    assert.match(refusals[0]?.message ?? '', /18\.16\.1/u);
    ground.worker();
    const started = await ground.cli('start', ground.spec(instead), '--execute', '--watch', '--json');
    assert.equal(started.code, 3, started.stdout + started.stderr);
    assert.equal(await old.query('SHOW DATABASES'), 'default\nsystem');
  });

  it('its live replica of a table is never robbed of its nodes: not by plan, and not when it comes back before the deletion', async () => {
    const { url, replica } = ground.firstHost;
    const path = `/clickhouse/${ground.id}/live`;
    const name = `\`${ground.database}\`.live`;
    const active = async (wanted: boolean): Promise<void> => {
      const node = `${ground.from}${path}/replicas/old/is_active`;
      const isThere = async (): Promise<boolean> => (await withZooKeeper(ground.up, (session) => session.exists(node))) !== undefined;
      await eventually(async () => (await isThere()) === wanted, `that the old server's replica is ${wanted ? 'active' : 'not active'}`, { everyMs: 200 });
    };
    // A server of today refuses to join a path that one of 2018 leads, so it is away for that moment.
    await old.query(`CREATE TABLE live (d Date, x UInt64) ENGINE = ReplicatedMergeTree('${path}', 'old') PARTITION BY d ORDER BY x`);
    await old.query('DETACH TABLE live');
    await run(
      url,
      `CREATE DATABASE \`${ground.database}\``,
      `CREATE TABLE ${name} (d Date, x UInt64) ENGINE = ReplicatedMergeTree('${path}', '${replica}') PARTITION BY d ORDER BY x SETTINGS index_granularity_bytes = 0, enable_mixed_granularity_parts = 0`,
      `INSERT INTO ${name} SELECT toDate('2024-01-01') + number % 3, number FROM numbers(100)`,
    );
    await old.query('ATTACH TABLE live');
    await active(true);
    const before = await ground.oracle();
    const here = (document: SpecDocument): void => {
      delete document.zookeeper['after'];
      document.clickhouse.hosts.pop();
      document.tables = { include: [`${ground.database}.live`] };
      document['pauseBefore'] = ['clean'];
    };
    for (const allowed of [[], ['--allow-missing-replica', 'old']]) {
      assert.deepEqual(words((await planned(ground, here, ...allowed)).refusals), ['REPLICA_ACTIVE_ELSEWHERE live']);
    }

    // Away, it may be given up, by its name only.
    await old.query('DETACH TABLE live');
    await active(false);
    assert.deepEqual(words((await planned(ground, here)).refusals), ['REPLICA_MISSING live']);
    const gated = await ground.cli('start', ground.spec(here), '--execute', '--allow-missing-replica', 'old', '--watch', '--json');
    assert.equal(gated.code, 4, gated.stdout + gated.stderr);

    // It comes back at the worst moment.
    await old.query('ATTACH TABLE live');
    await active(true);
    const nodes = (): Promise<number> => nodesAt(ground.up, `${ground.from}${path}`);
    const there = await nodes();
    assert.equal((await ground.cli('approve', ground.id, 'clean')).code, 0);
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the barrier');
    assert.deepEqual(failed.failures.map(({ code, phase }) => [code, phase]), [['REPLICA_LIVE', 'clean']]);
    assert.ok((await nodes()) >= there - 1, 'nodes of a live replica were deleted');
    assert.equal(await old.query('SELECT is_readonly, is_session_expired FROM system.replicas'), '0\t0');

    await old.query('DETACH TABLE live');
    await active(false);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });
});
