import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parse } from 'yaml';

import { connectTemporal } from '../../src/client';
import { freePorts } from '../../src/dev/ports';
import { silent } from '../../src/dev/progress';
import { temporalBinary } from '../../src/dev/temporal-binary';
import { eventually, Ground, inPlace, someTables, sql } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

/** A history is suggested to be continued as new from here on; a server's default is 4,096. */
const EVENTS = 60;
const REPLICAS = 2 * 10;

describe('a migration whose history is continued as new again and again', function () {
  this.timeout(600_000);
  let ground: Ground;
  let server: ChildProcess;

  beforeEach(async () => {
    const shared = await Ground.on('chain');
    const [port = 0, ui = 0] = await freePorts(2);
    const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(ui), '--headless', '--log-level', 'error'];
    server = spawn(await temporalBinary(silent), [...args, '--dynamic-config-value', `limit.historyCount.suggestContinueAsNew=${EVENTS}`], { stdio: 'ignore' });
    const address = `127.0.0.1:${port}`;
    await eventually(() => connectTemporal({ address, namespace: 'default' }).then(async (connected) => connected.close().then(() => true), () => false), 'the server');
    ground = Ground.over({ ...shared.up, hosts: shared.hosts, temporal: { ...shared.up.temporal, address } }, 'chain');
    await ground.seed(someTables(ground.database, 6));
  });

  afterEach(async () => {
    await ground.end();
    server.kill('SIGKILL');
  });

  /** How each run of the migration ended, the last one first. */
  async function runs(): Promise<string[]> {
    const listed = JSON.parse(await ground.temporal('workflow', 'list', '--query', `WorkflowId = '${ground.id}'`, '--output', 'json')) as { status: string }[];
    return listed.map(({ status }) => status.replace(/^WORKFLOW_EXECUTION_STATUS_/u, ''));
  }

  const continued = async (): Promise<number> => (await runs()).filter((status) => status === 'CONTINUED_AS_NEW').length;

  /** Puts somebody else at the new place of a table, so that its RESTORE fails. */
  async function spoil(root: string): Promise<() => Promise<void>> {
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = 't1'`);
    const path = `${root}${row?.path ?? assert.fail()}`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${path}/replicas/stranger`));
    return () => withZooKeeper(ground.up, async (session) => {
      await session.deleteTree(path);
    });
  }

  it('keeps gates, a pause, a failure and what is proved from run to run, and is completed by retry', async () => {
    const before = await ground.oracle();
    const worker = ground.worker();
    const spec = ground.spec((document) => Object.assign(document, { pauseBefore: ['restart', 'restore'], onFailure: 'continue' }));
    const marks = ground.marks();
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    const atFirst = await continued();
    assert.ok(atFirst >= 1, `${atFirst} runs were continued before the restart`);
    assert.equal((await ground.cli('pause', ground.id)).code, 0);
    await ground.cli('approve', ground.id, 'restart');
    const paused = await ground.until(({ waitingFor }) => waitingFor?.reason.startsWith('paused') === true, 'the pause');
    assert.equal(paused.counts.ZK_CLEANED, REPLICAS);
    assert.deepEqual(ground.statements(marks, /^ATTACH TABLE/u), []);
    await ground.cli('resume', ground.id);
    await ground.until(({ waitingFor }) => waitingFor?.gate === 'restore', 'the gate before restore');
    const mend = await spoil(ground.root);
    worker.kill('SIGKILL');
    ground.worker();
    await ground.cli('approve', ground.id, 'restore');
    // The new worker has to begin before anybody sees that the gate is open.
    await ground.until(({ waitingFor }) => waitingFor === null, 'the way through the gate');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const failed = await ground.status();
    assert.deepEqual(failed.failures.map(({ table, code }) => `${table} ${code}`), ['t1 REPLICA_LIVE'], JSON.stringify(failed.failures));
    assert.equal(failed.counts.RESTORED, REPLICAS - 2);
    const [chain] = [await continued()];
    assert.ok(chain > atFirst, `${chain} runs were continued until the failure, ${atFirst} before the restart`);
    await mend();
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    const sent = ground.statements(marks, /^(?:DETACH TABLE|SYSTEM RESTORE REPLICA)/u).map(({ host, text }) => `${host} ${text}`);
    assert.equal(new Set(sent).size, sent.length, 'a statement was sent twice');
    const [mirrored, exported] = [parse(readFileSync(join(ground.dir, 'status.yaml'), 'utf8')), parse((await ground.cli('export', ground.id)).stdout)] as { status: string }[][];
    assert.deepEqual([mirrored?.length, exported?.length], [REPLICAS, REPLICAS]);
    assert.ok([...(mirrored ?? []), ...(exported ?? [])].every(({ status }) => status === 'RESTORED'));
    const { decisions } = await ground.json<{ decisions: { what: string }[] }>('status', ground.id);
    for (const what of ['pause', 'resume', 'approve restart', 'approve restore', 'retry']) assert.ok(decisions.some((one) => one.what === what), `${what}: ${JSON.stringify(decisions)}`);
  });

  it('ends an abort as well', async () => {
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => {
      inPlace(document);
      document['pauseBefore'] = ['restore'];
    });
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    const atFirst = await continued();
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.ok((await continued()) > atFirst);
    assert.deepEqual(await ground.oracle(), before);
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
  });
});
