import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { parse } from 'yaml';

import { connectTemporal } from '../../src/client';
import { quoteTable } from '../../src/clickhouse/sql';
import { restartHost } from '../../src/dev/stack';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { Ground, hostAt, inPlace, run, someTables, sql } from '../support/stack';

describe('what is no single table', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('whole');
  });

  afterEach(async () => {
    await ground.end();
  });

  /** A migration in place, whose first host refuses the statements that begin so, for as long as its script stands. */
  async function startedBusy(statement: string): Promise<ProxyHost> {
    const proxy = await ProxyHost.before(ground.firstHost.url, ({ text, response }) => {
      if (!text.startsWith(statement)) return undefined;
      response.writeHead(500, { 'x-clickhouse-exception-code': '202' }).end('Code: 202. DB::Exception: Too many simultaneous queries (TOO_MANY_SIMULTANEOUS_QUERIES)');
      return TAKEN;
    });
    ground.worker();
    const spec = ground.spec((document) => {
      inPlace(document);
      hostAt(0, proxy.url)(document);
    });
    assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
    return proxy;
  }

  it('the status file, export and status name every replica from the beginning, however many pages there are', async () => {
    // More than a page of the inventory.
    await ground.seed(Array.from({ length: 105 }, (_, i) => ({ database: ground.database, name: `t${i}`, columns: 'x UInt8', orderBy: 'x', data: [] })));
    ground.worker();
    const started = await ground.cli('start', ground.spec(), '--execute', '--pause-before', 'detach', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const { replicas } = await ground.json<{ replicas: { status: string }[] }>('status', ground.id, '--tables');
    assert.equal(replicas.length, 210);
    assert.ok(replicas.every(({ status }) => status === 'INIT'));
    assert.equal((parse((await ground.cli('export', ground.id)).stdout) as unknown[]).length, 210);
    await ground.until(() => (parse(readFileSync(ground.statusFile, 'utf8')) as unknown[]).length === 210, 'all of them in the status file', 60_000);
    assert.equal((await ground.cli('abort', ground.id, '--watch')).code, 0);
  });

  it('an answer that is final, to a question that is no table\'s, fails the migration with its code and the retry; which ends it', async () => {
    await ground.seed(someTables(ground.database, 1));
    const before = await ground.oracle();
    const proxy = await ProxyHost.before(ground.firstHost.url);
    try {
      ground.worker();
      const spec = ground.spec((document) => {
        inPlace(document);
        hostAt(0, proxy.url)(document);
        Object.assign(document, { pauseBefore: ['restore'], holdOnFailure: '10m' });
      });
      assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
      proxy.script = ({ text, response }) => {
        if (!text.includes('FROM _ch_zk_migrate.inventory')) return undefined;
        response.writeHead(403, { 'x-clickhouse-exception-code': '516' }).end('Code: 516. DB::Exception: default: Authentication failed (AUTHENTICATION_FAILED)');
        return TAKEN;
      };
      await ground.cli('approve', ground.id, 'restore');
      const held = await ground.until(({ waitingFor }) => waitingFor?.reason.includes('failed in restore') === true, 'the hold');
      assert.deepEqual(held.failures.map(({ code }) => code), ['AUTHENTICATION_FAILED']);

      // What somebody sends by hand is looked at before it is taken.
      const { client, connection } = await connectTemporal({ address: ground.up.temporal.address, namespace: ground.up.temporal.namespace });
      try {
        const handle = client.workflow.getHandle(ground.id);
        for (const request of [{ skip: 'shop.*' }, { skip: ['a['] }, { unskip: ['a['] }, { unskip: '*' }, { tables: [1] }]) {
          await assert.rejects(handle.executeUpdate('retry', { args: [request] }), JSON.stringify(request));
        }
      } finally {
        await connection.close();
      }
      proxy.script = () => undefined;
      const retried = await ground.cli('retry', ground.id, '--watch', '--json');
      assert.equal(retried.code, 0, retried.stdout + retried.stderr);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('a mutation that was accepted and not done when its table was detached is done before anything is deleted', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    ground.worker();
    const started = await ground.cli('start', ground.spec(), '--execute', '--pause-before', 'detach', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    const table = quoteTable({ database: ground.database, table: 't0' });
    await ground.onEach(`SYSTEM STOP MERGES ${table}`);
    await run(ground.firstHost.url, `ALTER TABLE ${table} DELETE WHERE user < 500 SETTINGS mutations_sync = 0`);
    const rows = async (): Promise<unknown[]> => Promise.all(ground.hosts.map(({ url }) => sql(url, `SELECT countIf(user < 500) AS gone, countIf(user >= 500) AS kept FROM ${table}`)));
    const kept = (await rows()).map((one) => Number((one as { kept: string }[])[0]?.kept));
    assert.ok(kept.every((n) => n > 0));
    await ground.cli('approve', ground.id, 'detach');
    const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual((await rows()).map((one) => (one as { gone: string; kept: string }[])[0]).map((row) => [Number(row?.gone), Number(row?.kept)]), kept.map((n) => [0, n]));
  });

  it('a server that has too much to do is waited for, with the reason', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    const before = await ground.oracle();
    const proxy = await startedBusy('SYSTEM RESTORE REPLICA');
    try {
      await ground.until(({ reasons }) => reasons.some((reason) => reason.includes('HOST_BUSY')), 'the reason');
      proxy.script = () => undefined;
      const ended = await ground.until(({ outcome }) => outcome !== 'running', 'the end');
      assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('a table whose merges could not be started again is not done with: its run waits, and where that is ended, retry starts them', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    const before = await ground.oracle();
    const proxy = await startedBusy('SYSTEM START MERGES');
    try {
      await ground.until(({ reasons, counts }) => counts.RESTORED === 2 && reasons.some((reason) => reason.includes('HOST_BUSY')), 'all proved, and not all started');
      await ground.temporal('workflow', 'terminate', '--workflow-id', ground.id, '--reason', 'test');
      proxy.script = () => undefined;
      const marks = ground.marks();
      const retried = await ground.cli('retry', ground.id, '--watch', '--json');
      assert.equal(retried.code, 0, retried.stdout + retried.stderr);
      assert.ok(ground.statements(marks, /^SYSTEM START MERGES/u).some(({ host }) => host === ground.firstHost.name));
      assert.deepEqual(ground.statements(marks, /^(?:DETACH TABLE|SYSTEM RESTORE)/u), []);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('a host that somebody restarted on the wrong root is waited for again after retry', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    const before = await ground.oracle();
    await ground.startByHand();
    await ground.until(({ waitingFor }) => (waitingFor?.reason ?? '').includes('by hand'), 'that somebody is asked');
    for (const { name } of ground.hosts) await restartHost(ground.up.dir, name);
    const astray = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    assert.ok(astray.failures.every(({ code }) => code === 'WRONG_ROOT'), JSON.stringify(astray.failures));
    assert.equal((await ground.cli('retry', ground.id)).code, 0);
    await ground.until(({ waitingFor, outcome }) => outcome === 'waiting' && (waitingFor?.reason ?? '').includes('by hand'), 'that somebody is asked again');
    for (const { name } of ground.hosts) await restartHost(ground.up.dir, name, { zkRoot: ground.root });
    const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual(await ground.oracle(), before);
  });
});
