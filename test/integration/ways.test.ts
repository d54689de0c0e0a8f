/** Every way to move, end to end: real engines, a real ZooKeeper, the command line. */
import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import { Ground, run, someTables, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

interface Planned {
  readonly hosts: { readonly name: string; readonly from: string; readonly to: string; readonly tables: { table: string; zk_path: string; replica: string; statements: string[] }[] }[];
  readonly refusals: { readonly code: string; readonly host: string; readonly table?: string; readonly message: string }[];
  readonly warnings: { readonly code: string; readonly host: string; readonly table?: string }[];
}

/** What replicas are not as they should be: writable, all of a path active, nothing queued. */
async function faulty(ground: Ground, replicas = 2): Promise<unknown[]> {
  const all = await Promise.all(
    ground.hosts.map(({ name, url }) =>
      sql(url, `SELECT '${name}' AS host, table, is_readonly, active_replicas, queue_size, zookeeper_exception FROM system.replicas
        WHERE database != '_ch_zk_migrate' AND (is_readonly OR active_replicas != ${replicas} OR queue_size > 0)`),
    ),
  );
  return all.flat();
}

/** Where a table's metadata is on a host: `[zookeeper_name, path, replica]`. */
async function placeOf(url: string, table: string): Promise<{ name: string; path: string; replica: string } | undefined> {
  const [row] = await sql<{ name: string; path: string; replica: string }>(
    url, `SELECT zookeeper_name AS name, zookeeper_path AS path, replica_name AS replica FROM system.replicas WHERE table = '${table}'`,
  );
  return row;
}

describe('in place, with metadata that is lost in part or altogether', function () {
  this.timeout(240_000);
  let ground: Ground;

  before(async () => {
    ground = await Ground.on('inplace');
    await ground.seed(someTables(ground.database, 5).filter(({ name }) => /^t\d$/u.test(name)));
  });

  after(async () => {
    await ground.end();
  });

  it('is named by the plan, and every table is proved at the same path again', async () => {
    const before = await ground.oracle();
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    const nameOf = (table: string): string => quoteTable({ database: ground.database, table });
    const places = Object.fromEntries(await Promise.all(['t0', 't1', 't2', 't3', 't4'].map(async (table) => [table, (await placeOf(first.url, table))?.path ?? ''] as const)));
    for (const host of [first, second]) await run(host.url, ...['t1', 't2', 't3'].map((table) => `DETACH TABLE ${nameOf(table)} SYNC`));
    await withZooKeeper(ground.up, async (session) => {
      const lose = async (table: string, below: string): Promise<void> => void (await session.deleteTree(`${ground.from}${places[table] ?? ''}${below}`));
      await lose('t1', '');
      await lose('t2', `/replicas/${first.replica}`);
      for (const below of ['/log', '/metadata', `/replicas/${second.replica}/parts`]) await lose('t3', below);
      // Under its attached replicas, which go on as if nothing had happened.
      for (const { replica } of ground.hosts) await session.delete(`${ground.from}${places['t4'] ?? ''}/replicas/${replica}/is_active`);
      await lose('t4', '');
    });
    for (const host of [first, second]) await run(host.url, ...['t1', 't2', 't3'].map((table) => `ATTACH TABLE ${nameOf(table)}`));

    const spec = ground.spec((document) => {
      document.zookeeper = { connect: ground.up.zookeeper.connect, root: ground.from };
      document.clickhouse.restart = { none: true };
    });
    const plan = await ground.json<Planned>('plan', spec);
    assert.deepEqual(plan.refusals, []);
    const lost = new Set(plan.warnings.filter(({ code }) => code === 'METADATA_LOST').map(({ table }) => table));
    assert.deepEqual([...lost].sort(), ['t1', 't2', 't3', 't4']);

    const done = await ground.cli('start', spec, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(await faulty(ground), []);
    for (const [table, path] of Object.entries(places)) assert.equal((await placeOf(first.url, table))?.path, path);
  });
});
