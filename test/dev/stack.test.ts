import assert from 'node:assert/strict';

import { Connection } from '@temporalio/client';

import { identify } from '../../src/dev/processes';
import { seedTables, type SeedTable } from '../../src/dev/seed';
import { killPart, restartHost, stackDown, stackStatus, stackUp, startPart } from '../../src/dev/stack';
import { makeSandbox, type Sandbox } from './sandbox';

const TABLES: SeedTable[] = [
  {
    ...{ database: "o'dd `name`", name: 'two words', columns: 'p UInt8, x UInt64', partitionBy: 'p', orderBy: 'x' },
    data: [{ select: 'SELECT number % 4, number FROM numbers(400)' }, { rows: [{ p: 9, x: '18446744073709551615' }] }],
  },
  { database: 'shop', name: 'empty', columns: 'x UInt8', orderBy: 'x', data: [] },
];

describe('the embedded stack', function () {
  this.timeout(300_000);
  let sandbox: Sandbox;
  const dir = (): string => sandbox.stack.dir;
  const states = async (host: number): Promise<unknown[]> =>
    sandbox.rows(host, 'SELECT `table`, is_readonly, active_replicas, queue_size FROM system.replicas ORDER BY `table`');
  const proof = async (host: number): Promise<unknown[]> =>
    sandbox.rows(
      host,
      'SELECT database, `table`, partition_id, rows, hash_of_all_files FROM system.parts WHERE active AND `table` IN ({tables:Array(String)}) ORDER BY ALL',
      { tables: TABLES.map((table) => table.name) },
    );

  before(async () => {
    sandbox = await makeSandbox({ hosts: 2, replicas: 2, zkRoot: '/old' });
  });
  after(async () => {
    await sandbox.remove();
  });

  it('is described with what scripts rely on', () => {
    const { stack } = sandbox;
    assert.equal(stack.running, true);
    assert.equal(stack.temporal.namespace, 'default');
    assert.deepEqual(
      stack.hosts.map(({ name, zkRoot, shard }) => ({ name, zkRoot, shard })),
      [
        { name: 'ch-1', zkRoot: '/old', shard: 1 },
        { name: 'ch-2', zkRoot: '/old', shard: 1 },
      ],
    );
  });

  it('offers no search attribute that nothing sets', async () => {
    const { address, namespace } = sandbox.stack.temporal;
    const connection = await Connection.connect({ address });
    try {
      const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
      assert.deepEqual(Object.keys(customAttributes ?? {}).filter((name) => name.startsWith('chZk')), []);
    } finally {
      await connection.close();
    }
  });

  it('changes nothing when it is brought up again', async () => {
    assert.deepEqual(await stackUp({ dir: dir(), remember: false, hosts: 3 }), sandbox.stack);
  });

  it('seeds replicas that are active, writable and equal', async () => {
    await seedTables(sandbox.stack.hosts, TABLES);
    const active = TABLES.map(({ name }) => ({ table: name, is_readonly: 0, active_replicas: 2, queue_size: 0 }));
    const expected = active.sort((a, b) => (a.table < b.table ? -1 : 1));
    assert.deepEqual(await states(1), expected);
    assert.deepEqual(await states(2), expected);
    assert.deepEqual(await proof(1), await proof(2));
  });

  it('moves both replicas to another root, where they can be restored', async () => {
    const name = "`o'dd \\`name\\``.`two words`";
    const before = await proof(1);
    for (const host of [1, 2]) await sandbox.run(host, `DETACH TABLE ${name} PERMANENTLY SYNC`);
    await Promise.all(['ch-1', 'ch-2'].map((host) => restartHost(dir(), host, { zkRoot: '/new' })));
    assert.deepEqual(
      (await stackStatus(dir())).hosts.map((host) => host.zkRoot),
      ['/new', '/new'],
    );
    for (const host of [1, 2]) await sandbox.run(host, `ATTACH TABLE ${name}`);
    for (const host of [1, 2]) await sandbox.run(host, `SYSTEM RESTORE REPLICA ${name}`);
    for (const host of [1, 2]) await sandbox.run(host, `SYSTEM SYNC REPLICA ${name}`);
    assert.deepEqual(await proof(2), before);
  });

  it('starts again what was killed, with its data and on the same ports', async () => {
    for (const part of ['ch-1', 'temporal', 'zookeeper']) {
      const killed = await killPart(dir(), part);
      assert.equal(killed.running, false);
    }
    await startPart(dir(), 'zookeeper');
    const up = await stackUp({ dir: dir(), remember: false });
    assert.equal(up.running, true);
    assert.deepEqual(withoutPids(up), withoutPids(sandbox.stack), 'ports, names and directories stay');
    assert.deepEqual(await proof(1), await proof(2));
  });

  it('leaves nothing running when it is brought down, and continues afterwards', async () => {
    const pids = await stackStatus(dir()).then(({ temporal, zookeeper, hosts }) => [temporal, zookeeper, ...hosts].map((part) => part.pid ?? 0));
    await stackDown(dir());
    assert.deepEqual(
      pids.filter((pid) => identify(pid) !== undefined),
      [],
    );
    const up = await stackUp({ dir: dir(), remember: false });
    assert.deepEqual(withoutPids(up), withoutPids(sandbox.stack));
    assert.deepEqual(await proof(1), await proof(2));
  });

  it('refuses a part that it does not have, naming those it has', async () => {
    await assert.rejects(restartHost(dir(), 'ch-9'), /no host named ch-9; it has ch-1, ch-2/);
    await assert.rejects(killPart(dir(), 'nonsense'), /it has temporal, zookeeper, ch-1, ch-2/);
  });
});

/** A description without what changes when parts are started again; the roots were changed by a test above. */
function withoutPids(stack: Awaited<ReturnType<typeof stackStatus>>): unknown {
  return JSON.parse(JSON.stringify(stack, (key, value: unknown) => (key === 'pid' || key === 'zkRoot' ? undefined : value)));
}
