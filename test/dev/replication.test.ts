import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { seedTables } from '../../src/dev/seed';
import { makeSandbox, type Sandbox } from './sandbox';

const COLUMNS = '(p UInt8, x UInt64, text String)';
const ENGINE = 'ENGINE = ReplicatedMergeTree PARTITION BY p ORDER BY x';

describe('activated hosts replicate as servers do', function () {
  this.timeout(300_000);
  let sandbox: Sandbox;
  const content = async (host: number, table: string): Promise<unknown> =>
    sandbox.rows(host, `SELECT count() AS n, sum(cityHash64(*)) AS hash FROM ${table}`);
  const lag = async (host: number, table: string): Promise<number | undefined> =>
    (await sandbox.rows<{ q: number }>(host, 'SELECT queue_size AS q FROM system.replicas WHERE `table` = {table:String}', { table }))[0]?.q;

  before(async () => {
    sandbox = await makeSandbox({ hosts: 2, replicas: 2, zeroCopy: true });
  });
  after(async () => {
    await sandbox.remove();
  });

  for (const [layout, settings] of [
    ['compact', ''],
    ['wide', 'SETTINGS min_bytes_for_wide_part = 0'],
  ] as const) {
    it(`sends ${layout} parts, mutations and merges both ways`, async () => {
      const table = `default.${layout}`;
      for (const host of [1, 2]) await sandbox.run(host, `CREATE TABLE ${table} ${COLUMNS} ${ENGINE} ${settings}`);
      await sandbox.run(1, `INSERT INTO ${table} SELECT number % 3, number, repeat('ab', number % 50) FROM numbers(20000)`);
      await sandbox.run(2, `INSERT INTO ${table} SELECT 1, number, 'second' FROM numbers(100)`);
      await sandbox.run(1, `ALTER TABLE ${table} DELETE WHERE x % 7 = 0 SETTINGS mutations_sync = 2`);
      await sandbox.run(2, `OPTIMIZE TABLE ${table} FINAL`);
      for (const host of [1, 2]) await sandbox.run(host, `SYSTEM SYNC REPLICA ${table}`);
      assert.deepEqual(await content(1, table), await content(2, table));
    });
  }

  it('clones a replica that is made later, with its projections', async () => {
    const create = `CREATE TABLE default.late (p UInt8, x UInt64, PROJECTION sums (SELECT p, sum(x) GROUP BY p)) ${ENGINE}`;
    await sandbox.run(1, create);
    await sandbox.run(1, 'INSERT INTO default.late SELECT number % 2, number FROM numbers(1000)');
    await sandbox.run(2, create);
    await sandbox.run(2, 'SYSTEM SYNC REPLICA default.late');
    assert.deepEqual(await content(1, 'default.late'), await content(2, 'default.late'));
    assert.deepEqual(await sandbox.rows(2, "SELECT count() AS n FROM system.projection_parts WHERE active AND `table` = 'late'"), [{ n: 2 }]);
  });

  it('has a replica lag while its fetches are stopped, and catch up afterwards', async () => {
    for (const host of [1, 2]) await sandbox.run(host, `CREATE TABLE default.lagging ${COLUMNS} ${ENGINE}`);
    await sandbox.run(2, 'SYSTEM STOP FETCHES default.lagging');
    await sandbox.run(1, "INSERT INTO default.lagging VALUES (1, 1, 'one')");
    await sandbox.run(2, 'SYSTEM SYNC REPLICA default.lagging PULL');
    assert.equal(await lag(2, 'lagging'), 1);
    await sandbox.run(2, 'SYSTEM START FETCHES default.lagging');
    await sandbox.run(2, 'SYSTEM SYNC REPLICA default.lagging');
    assert.deepEqual(await content(1, 'default.lagging'), await content(2, 'default.lagging'));
  });

  it('shares the blobs of a zero-copy table between its replicas', async () => {
    const table = {
      ...{ database: 'default', name: 'shared', columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x' },
      settings: { storage_policy: 'object_storage' },
      data: [{ select: 'SELECT number % 4, number FROM numbers(4000)' }],
    };
    await seedTables(sandbox.stack.hosts, [table], { replicate: true });
    const blobs = async (host: number): Promise<unknown[]> =>
      sandbox.rows(host, "SELECT remote_path FROM system.remote_data_paths WHERE local_path LIKE '%data.bin' ORDER BY remote_path");
    assert.equal((await blobs(1)).length, 4);
    assert.deepEqual(await blobs(1), await blobs(2));
    assert.deepEqual(await content(1, 'default.shared'), await content(2, 'default.shared'));
    assert(countFiles(path.join(sandbox.stack.dir, 'blobs')) > 0);
  });
});

function countFiles(dir: string): number {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => statSync(path.join(dir, name)).isFile()).length;
}
