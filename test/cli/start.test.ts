import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openStage, type Stage, TASK_QUEUE } from './stage';

/** Against a real Temporal server; the workflow is a small one of the same name (see fake-migrate.ts). */
describe('start and worker', function () {
  this.timeout(300_000);
  let stage: Stage;
  let stopWorker: () => Promise<void>;
  let folder: string;

  before(async function () {
    this.timeout(300_000);
    folder = await mkdtemp(join(tmpdir(), 'start-'));
    stage = await openStage();
    stopWorker = await stage.work();
  });

  after(async () => {
    await stopWorker();
    await stage.stop();
    await rm(folder, { recursive: true });
  });

  async function specFile(id: string, taskQueue = TASK_QUEUE): Promise<string> {
    const file = join(folder, `${id}.yaml`);
    const lines = [
      `id: ${id}`,
      'clickhouse: { hosts: [ { name: ch-1, url: "http://127.0.0.1:1", restart: { none: true } } ] }',
      'zookeeper: { connect: "127.0.0.1:1", root: /old, after: { root: /old } }',
      `taskQueue: ${taskQueue}`,
      `statusFile: ${join(folder, 'status.yaml')}`,
    ];
    await writeFile(file, `${lines.join('\n')}\n`);
    return file;
  }

  /** A command that runs on, with what it has said so far. */
  function follow(child: ChildProcess) {
    const said = { stdout: '', stderr: '' };
    child.stdout?.on('data', (piece: Buffer) => (said.stdout += piece.toString()));
    child.stderr?.on('data', (piece: Buffer) => (said.stderr += piece.toString()));
    const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    return { said, ended };
  }

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 100));
  }

  it('a dry run that no worker takes says so once, with how to start one, and ends with the reason when it is terminated', async () => {
    const { said, ended } = follow(stage.spawn('start', await specFile('lonely', 'nobody-here'), '--json'));
    await until(() => said.stderr !== '');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal(said.stderr, 'lonely.plan waits: no worker polls task queue "nobody-here": start one with `ch-zk-migrate worker --task-queue nobody-here`\n');
    await stage.client.workflow.getHandle('lonely.plan').terminate('enough');
    assert.equal(await ended, 1);
    const { error } = JSON.parse(said.stdout) as { error: { code: string; message: string } };
    assert.equal(error.code, 'DRY_RUN_FAILED');
    assert.match(error.message, /lonely\.plan failed: terminated by .*: enough/);
  });

  it('a dry run that fails gives its reason and the next command', async () => {
    const file = await specFile('blind-1');
    const { exit, stderr } = await stage.run('start', file);
    assert.equal(exit, 1);
    assert.match(stderr, /blind-1\.plan failed: MISSING_VARIABLE: CLICKHOUSE_PASSWORD is not set/);
    assert.ok(stderr.includes(`next: ch-zk-migrate doctor ${file}`), stderr);
  });

  it('a migration that its preflight refuses gives 3 with the reasons in its one document, in start and in whatever watches it', async () => {
    const file = await specFile('refused-1');
    const refusals = [{ code: 'UNKNOWN_REPLICA', host: 'ch-1', message: 'a replica is on no host', fix: 'name its host' }];
    for (const args of [
      ['start', file, '--execute', '--json'],
      ['start', file, '--execute', '--watch', '--json'],
      ['watch', 'refused-1', '--json'],
      ['retry', 'refused-1', '--watch', '--json'],
    ]) {
      const { exit, stdout, stderr } = await stage.run(...args);
      assert.equal(exit, 3, `${args.join(' ')}: ${stdout}${stderr}`);
      assert.deepEqual((JSON.parse(stdout) as { refusals: unknown }).refusals, refusals, args.join(' '));
    }
    const { exit, stderr } = await stage.run('start', file, '--execute');
    assert.equal(exit, 3);
    assert.match(stderr, /UNKNOWN_REPLICA ch-1: a replica is on no host\n {4}-> name its host/);
  });

  it('a migration that fails before it has begun gives 1 with the reason', async () => {
    const file = await specFile('blind-2');
    const ran = await stage.run('start', file, '--execute', '--json');
    assert.equal(ran.exit, 1, ran.stderr);
    const { id, closedBecause } = JSON.parse(ran.stdout) as { id: string; closedBecause: string };
    assert.equal(id, 'blind-2');
    assert.match(closedBecause, /^MISSING_VARIABLE: /);
    assert.match((await stage.run('start', file, '--execute')).stderr, /failed: MISSING_VARIABLE: /);
  });

  it('--with-worker stays where the migration waits for somebody, with --watch too: its worker is needed for what comes then', async () => {
    const handle = stage.client.workflow.getHandle('own-worker');
    const { said, ended } = follow(stage.spawn('start', await specFile('own-worker', 'own-queue'), '--execute', '--watch', '--with-worker', '--json'));
    let left = false;
    void ended.then(() => (left = true));
    await until(() => handle.signal('pause').then(() => true, () => left));
    await until(() => left || said.stderr.includes('paused'));
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert.equal(left, false, said.stderr + said.stdout);
    await handle.terminate();
    assert.equal(await ended, 1, said.stderr);
    assert.equal((JSON.parse(said.stdout) as { outcome: string }).outcome, 'failed');
  });

  it('worker --json is one document once it polls', async () => {
    const child = stage.spawn('worker', '--task-queue', 'some-queue', '--json');
    const { said, ended } = follow(child);
    await until(() => said.stdout.endsWith('}\n') || child.exitCode !== null);
    child.kill('SIGTERM');
    assert.equal(await ended, 0, said.stderr);
    const { identity, ...rest } = JSON.parse(said.stdout) as Record<string, unknown>;
    assert.deepEqual(rest, { taskQueue: 'some-queue', taskQueues: ['some-queue'], namespace: 'default', address: stage.address });
    assert.match(String(identity), /^\d+@/);
  });
});
