import assert from 'node:assert/strict';

import { Connections } from '../../src/activities/deps';
import { freezeInventory, loadPage } from '../../src/activities/inventory';
import { inspect } from '../../src/activities/preflight';
import type { HostTarget } from '../../src/activities/types';
import { addEvent, createStore, STORE_DATABASE, writeInventory } from '../../src/clickhouse/store';
import { loadSpec } from '../../src/config/load-spec';
import { MigrationError } from '../../src/domain/failure';
import { Ground, run, someTables, sql } from '../support/stack';

describe("the inventory in the hosts' own tables", function () {
  this.timeout(600_000);
  let ground: Ground;
  let connections: Connections;

  beforeEach(async () => {
    ground = await Ground.on('inventory');
    connections = new Connections({});
  });

  afterEach(async () => {
    await connections.close();
    await ground.end();
  });

  const targets = (): HostTarget[] =>
    ground.hosts.map(({ name, url }) => ({ name, url, user: 'default', zookeeper: { connect: ground.up.zookeeper.connect, root: ground.from } }));

  /** Tables `0`, `1`, …; on the first host, so many replicas of each. */
  async function write(perTable: readonly number[]): Promise<void> {
    for (const [i, target] of targets().entries()) {
      const host = connections.host(target);
      await createStore(host);
      const replicas = perTable.flatMap((count, n) => Array.from({ length: i === 0 ? count : 1 }, (_, one) => ({ table: `t${n}`, name: `t${n} ${one}` })));
      await writeInventory(
        host,
        ground.id,
        'a take',
        replicas.map(({ table, name }) => ({
          sortKey: table,
          createQuery: '',
          replica: {
            ...{ host: target.name, database: ground.database, table: name, uuid: '00000000-0000-0000-0000-000000000000', zookeeperName: 'default' },
            ...{ zookeeperPath: `/${table}`, replicaName: `${target.name} ${name}`, rows: 1, bytes: 1, parts: 1 },
          },
        })),
      );
      for (const kind of ['claimed', 'sealed']) await addEvent(host, ground.id, kind, { take: 'a take' });
    }
  }

  /** Page by page: each table with its replicas. */
  async function pages(limit: number): Promise<string[][]> {
    const seen: string[][] = [];
    for (let after: string | undefined; ; ) {
      const page = await loadPage(connections, { migration: ground.id, hosts: targets(), limit, ...(after === undefined ? {} : { after }) });
      seen.push(page.tables.map(({ key, replicas }) => `${key}: ${replicas.length}`));
      if (page.next === undefined) return seen;
      after = page.next;
    }
  }

  it('comes in pages that hold all replicas of a table, and none of them is empty', async () => {
    await write([2, 2, 1, 1]);
    assert.deepEqual(await pages(2), [['t0: 3', 't1: 3'], ['t2: 2', 't3: 2']]);
    assert.deepEqual(await pages(3), [['t0: 3', 't1: 3', 't2: 2'], ['t3: 2']]);
    assert.deepEqual(await pages(4), [['t0: 3', 't1: 3', 't2: 2', 't3: 2']]);
  });

  it('is read where an older version made it; where it is gone, that is an error and no empty page', async () => {
    await write([1]);
    await connections.close();
    for (const { url } of ground.hosts) await run(url, `ALTER TABLE ${STORE_DATABASE}.inventory DROP COLUMN new_path, DROP COLUMN new_replica`);
    assert.deepEqual(await pages(2), [['t0: 2']]);
    await connections.close();
    await run(ground.firstHost.url, `DROP TABLE ${STORE_DATABASE}.inventory SYNC`);
    await assert.rejects(pages(2), MigrationError);
  });

  it('of a migration that has begun takes no host more; a plan for it says that its tables are not checked again', async () => {
    await ground.seed(someTables(ground.database, 1));
    const both = (await loadSpec(ground.spec())).spec;
    const one = (await loadSpec(ground.spec((document) => (document.clickhouse.hosts = document.clickhouse.hosts.slice(0, 1))))).spec;
    await freezeInventory(connections, { spec: one });
    await assert.rejects(freezeInventory(connections, { spec: both }), (error: unknown) => error instanceof MigrationError && error.type === 'HELD');
    const second = ground.hosts[1]?.url ?? '';
    assert.deepEqual(await sql(second, `SELECT name FROM system.tables WHERE database = '${STORE_DATABASE}'`), []);
    assert.equal((await freezeInventory(connections, { spec: one })).resumed, true);

    const { warnings } = await inspect(connections, both);
    const begun = warnings.find(({ code }) => code === 'ALREADY_BEGUN')?.message ?? '';
    assert.match(begun, new RegExp(`^${ground.firstHost.name} knows .* not checked again`, 'u'));
  });
});
