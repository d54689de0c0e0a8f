import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { StatusDocument } from '../../src/report/status-document';
import { parseStatusFile } from '../../src/report/status-file';
import { HOSTILE, openStage, type Ran, type Stage } from './stage';

/** Against a real Temporal server; the workflow is a small one of the same name (see fake-migrate.ts). */
describe('commands on a migration', function () {
  this.timeout(300_000);
  let stage: Stage;
  let stopWorker: () => Promise<void>;

  before(async function () {
    this.timeout(300_000);
    stage = await openStage();
    stopWorker = await stage.work();
  });

  after(async () => {
    await stopWorker();
    await stage.stop();
  });

  const json = (ran: Ran): StatusDocument => JSON.parse(ran.stdout) as StatusDocument;
  const status = async (id: string) => json(await stage.run('status', id, '--json'));

  async function until(id: string, holds: (document: StatusDocument) => boolean): Promise<StatusDocument> {
    for (;;) {
      const document = await status(id);
      if (holds(document)) return document;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  it('watch of a migration that completes ends with 0, its status on stdout and progress on stderr', async () => {
    await stage.start('plain-1');
    const ran = await stage.run('watch', 'plain-1');
    assert.equal(ran.exit, 0, ran.stderr);
    assert.match(ran.stdout, /plain-1 {2}completed/);
    assert.match(ran.stdout, /RESTORED 2/);
    assert.match(ran.stderr, /plain-1: /);
  });

  it('status --json has every field that scripts rely on, and --tables adds the replicas', async () => {
    await stage.start('plain-2');
    await stage.run('watch', 'plain-2');
    const ran = await stage.run('status', 'plain-2', '--tables', '--json');
    assert.equal(ran.exit, 0);
    const document = json(ran);
    assert.equal(document.id, 'plain-2');
    assert.equal(document.outcome, 'completed');
    assert.equal(document.waitingFor, null);
    assert.deepEqual(document.counts, { INIT: 0, DETACHED: 0, ZK_CLEANED: 0, RESTORED: 2, SKIPPED: 0 });
    assert.deepEqual(document.failures, []);
    for (const time of [document.started, document.updated]) assert.match(time, /^\d{4}-.*Z$/);
    assert.deepEqual(
      document.phases.map(({ phase }) => phase),
      ['detach'],
    );
    assert.deepEqual(
      document.replicas?.map(({ host, db, table, status: word, old_metadata: old }) => ({ host, db, table, word, old })),
      [
        { host: 'ch-1', db: 'shop', table: HOSTILE, word: 'RESTORED', old: 'deleted' },
        { host: 'ch-2', db: 'shop', table: HOSTILE, word: 'RESTORED', old: 'deleted' },
      ],
    );
  });

  it('a migration at a gate gives 4, says which gate and what to type, and approve lets it through', async () => {
    await stage.start('gate-1');
    const waiting = await stage.run('watch', 'gate-1', '--json');
    assert.equal(waiting.exit, 4, waiting.stderr);
    assert.deepEqual(json(waiting).waitingFor, { reason: 'waits before clean', gate: 'clean' });
    const look = await stage.run('status', 'gate-1');
    assert.equal(look.exit, 4);
    assert.match(look.stdout, /ch-zk-migrate approve gate-1 clean/);
    const approved = await stage.run('approve', 'gate-1', 'clean', '--reason', 'backups are there');
    assert.equal(approved.exit, 0, approved.stderr);
    assert.equal((await stage.run('watch', 'gate-1')).exit, 0);
  });

  it('pause and resume answer with what has come of it', async () => {
    await stage.start('gate-2');
    await until('gate-2', ({ outcome }) => outcome === 'waiting');
    const paused = await stage.run('pause', 'gate-2', '--reason', 'lunch', '--json');
    assert.equal(paused.exit, 0, paused.stderr);
    assert.equal(json(paused).paused, true);
    assert.match(json(paused).waitingFor?.reason ?? '', /paused by .+@.+: lunch/);
    const resumed = await stage.run('resume', 'gate-2', '--json');
    assert.equal(json(resumed).paused, false);
    await stage.run('approve', 'gate-2', 'clean');
    assert.equal((await stage.run('watch', 'gate-2')).exit, 0);
  });

  it('resume opens the gate that it has seen and no other; by hand, without one, whatever gate it waits at', async () => {
    await stage.start('real-1');
    const handle = stage.client.workflow.getHandle('real-1');
    const decided = async (count: number) => until('real-1', ({ decisions }) => decisions.length === count);
    await until('real-1', ({ paused }) => paused);
    const first = await stage.run('resume', 'real-1');
    assert.match(first.stdout, /^real-1 (?:is not paused any more: waiting: at the gate|goes on: )/);
    await until('real-1', ({ waitingFor }) => waitingFor?.gate === 'clean');
    // Somebody else saw the same pause; and somebody saw another gate.
    await handle.signal('resume', { by: 'other', gate: null });
    await handle.signal('resume', { by: 'other', gate: 'restore' });
    const closed = await decided(3);
    assert.deepEqual([closed.waitingFor?.gate, closed.approved], ['clean', []]);
    // A pause at the gate is lifted alone.
    await handle.signal('pause');
    await decided(4);
    await stage.run('resume', 'real-1');
    assert.equal((await decided(5)).outcome, 'waiting');
    await stage.run('resume', 'real-1');
    const open = await until('real-1', ({ outcome }) => outcome === 'completed');
    const stays = 'resume: the gate before clean stays closed';
    assert.deepEqual(open.decisions.map(({ what }) => what), ['resume', stays, stays, 'pause', 'resume', 'resume: lets clean through']);
    const { events } = await handle.fetchHistory();
    const sent = (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: signal }) =>
      signal?.signalName === 'resume' ? [JSON.parse(Buffer.from(signal.input?.payloads?.[0]?.data ?? []).toString()) as { by: string; gate?: string | null }] : [],
    );
    assert.deepEqual(sent.filter(({ by }) => by !== 'other').map(({ gate }) => gate), [null, null, 'clean']);

    await stage.start('real-2');
    const bare = stage.client.workflow.getHandle('real-2');
    // A signal that comes with the start is handled before the pause that it would lift.
    await until('real-2', ({ paused }) => paused);
    await bare.signal('resume');
    await until('real-2', ({ waitingFor }) => waitingFor?.gate === 'clean');
    await bare.signal('resume');
    await until('real-2', ({ outcome }) => outcome === 'completed');
  });

  it('set changes a limit, and refuses with 2 what is none before anything is sent', async () => {
    await stage.start('gate-3');
    const done = await stage.run('set', 'gate-3', 'parallel.restore=2', '--json');
    assert.equal(done.exit, 0, done.stderr);
    assert.equal(json(done).limits.restore, 2);
    const refused = await stage.run('set', 'gate-3', 'parallel.restore=5000');
    assert.equal(refused.exit, 2);
    assert.match(refused.stderr, /from 1 to 1000/);
    const malformed = await stage.run('set', 'gate-3', 'parallel.restore', 'speed=9', '--json');
    assert.equal(malformed.exit, 2);
    const { error } = JSON.parse(malformed.stdout) as { error: { code: string; faults: { path: string }[] } };
    assert.deepEqual(
      error.faults.map(({ path }) => path),
      ['parallel.restore', 'speed'],
    );
    await stage.run('approve', 'gate-3', 'clean');
  });

  it('a failed migration gives 1, with the failure; retry goes on in a new run of the same chain, and forgets nothing', async () => {
    await stage.start('fail-1');
    const failed = await stage.run('watch', 'fail-1', '--json');
    assert.equal(failed.exit, 1);
    const before = json(failed);
    assert.equal(before.outcome, 'failed');
    assert.deepEqual(before.failures, [
      { host: 'ch-1', db: 'shop', table: HOSTILE, phase: 'detach', code: 'UNKNOWN_TABLE', message: 'it is <gone>' },
    ]);
    assert.match(before.closedBecause ?? '', /TABLES_FAILED: 1 table failed/);
    const tables = await status('fail-1')
      .then(() => stage.run('status', 'fail-1', '--tables', '--json'))
      .then(json);
    assert.equal(tables.replicas?.[0]?.error, 'UNKNOWN_TABLE: it is <gone>');

    const retried = await stage.run('retry', 'fail-1', '--watch', '--json');
    assert.equal(retried.exit, 0, retried.stderr);
    const now = json(retried);
    assert.notEqual(now.runId, before.runId);
    assert.equal(now.started, before.started);
    const after = json(await stage.run('status', 'fail-1', '--tables', '--json'));
    assert.deepEqual(
      after.replicas?.map(({ status: word, error }) => ({ word, error })),
      [
        { word: 'RESTORED', error: undefined },
        { word: 'RESTORED', error: undefined },
      ],
    );
    const again = await stage.run('retry', 'fail-1');
    assert.equal(again.exit, 0);
    assert.match(again.stdout, /nothing to retry/);
  });

  it('retry of a migration that holds after a failure goes on in the same run', async () => {
    await stage.start('hold-1');
    const held = await until('hold-1', ({ outcome }) => outcome === 'waiting');
    const retried = await stage.run('retry', 'hold-1', '--watch', '--json');
    assert.equal(retried.exit, 0, retried.stderr);
    assert.equal(json(retried).runId, held.runId);
  });

  it('retry of a migration that runs says so, with 1', async () => {
    await stage.start('gate-4');
    await until('gate-4', ({ outcome }) => outcome === 'waiting');
    const ran = await stage.run('retry', 'gate-4');
    assert.equal(ran.exit, 1);
    assert.match(ran.stderr, /nothing to retry/);
    assert.match(ran.stderr, /next: ch-zk-migrate watch gate-4/);
    await stage.run('abort', 'gate-4');
  });

  it('abort of a running migration is taken in, and --watch ends with 0 once it is aborted', async () => {
    await stage.start('gate-5');
    await until('gate-5', ({ outcome }) => outcome === 'waiting');
    const ran = await stage.run('abort', 'gate-5', '--watch', '--json');
    assert.equal(ran.exit, 0, ran.stderr);
    assert.equal(json(ran).outcome, 'aborted');
    const again = await stage.run('abort', 'gate-5');
    assert.match(again.stdout, /nothing to abort/);
  });

  it('a terminated migration is failed whatever its memo says, with who did it; abort begins a run that goes back', async () => {
    await stage.start('gate-6');
    await until('gate-6', ({ outcome }) => outcome === 'waiting');
    await stage.client.workflow.getHandle('gate-6').terminate('wrong cluster');
    const ran = await stage.run('status', 'gate-6', '--json');
    assert.equal(ran.exit, 1);
    assert.equal(json(ran).outcome, 'failed');
    assert.match(json(ran).closedBecause ?? '', /^terminated by .*: wrong cluster$/);
    const refused = await stage.run('pause', 'gate-6');
    assert.equal(refused.exit, 1);
    assert.match(refused.stderr, /has ended .*\n.*ch-zk-migrate retry gate-6/);
    const aborted = await stage.run('abort', 'gate-6', '--watch', '--json');
    assert.equal(aborted.exit, 0, aborted.stderr);
    assert.equal(json(aborted).outcome, 'aborted');
  });

  it('an activity that is tried again is shown with its last failure', async () => {
    await stage.start('stuck-1');
    const document = await until('stuck-1', ({ reasons }) => reasons.some((reason) => reason.includes('HOST_UNREACHABLE')));
    assert.match(document.reasons.join('\n'), /detachReplica is retried: HOST_UNREACHABLE: host ch-1 does not answer \(attempt \d+/);
    await stage.client.workflow.getHandle('stuck-1').terminate();
  });

  it('status works without a worker, and says that none polls the task queue', async () => {
    await stage.start('lonely-1', { taskQueue: 'nobody-here' });
    const ran = await stage.run('status', 'lonely-1');
    assert.equal(ran.exit, 0, ran.stderr);
    assert.match(ran.stdout, /no worker polls task queue "nobody-here": start one with `ch-zk-migrate worker --task-queue nobody-here`/);
    const aborted = await stage.run('abort', 'lonely-1');
    assert.equal(aborted.exit, 0);
    assert.match(aborted.stdout, /recorded, and not taken in yet/);
    await stage.client.workflow.getHandle('lonely-1').terminate();
  });

  it('an unknown id is refused with 1 and the next command, by every command', async () => {
    const commands = [
      ['status'],
      ['watch'],
      ['pause'],
      ['resume'],
      ['approve', 'clean'],
      ['set', 'parallel.clean=1'],
      ['retry'],
      ['abort'],
      ['export'],
      ['report'],
    ];
    for (const [command = '', ...rest] of commands) {
      const ran = await stage.run(command, 'never-heard-of', ...rest);
      assert.equal(ran.exit, 1, `${command}: ${ran.stdout}${ran.stderr}`);
      assert.match(ran.stderr, /knows no migration "never-heard-of"[\s\S]*next: ch-zk-migrate list/, command);
      assert.equal(ran.stdout, '', command);
    }
  });

  it('list names a migration once, with its latest outcome, however many runs it had', async () => {
    await stage.start('again-1');
    await stage.run('watch', 'again-1');
    const { migrations } = JSON.parse((await stage.run('list', '--json')).stdout) as { migrations: { id: string; outcome: string }[] };
    assert.deepEqual(
      migrations.filter(({ id }) => id === 'again-1').map(({ outcome }) => outcome),
      ['completed'],
    );
    assert.deepEqual(
      migrations.filter(({ id }) => id === 'fail-1').map(({ outcome }) => outcome),
      ['completed'],
    );
  });

  it('export writes the status file of the whole chain, and prints the same to stdout', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'export-'));
    try {
      const file = join(folder, 'new', 'status.yaml');
      const ran = await stage.run('export', 'again-1', '--output', file);
      assert.equal(ran.exit, 0, ran.stderr);
      const text = await readFile(file, 'utf8');
      assert.equal((await stage.run('export', 'again-1')).stdout, text);
      assert.match(text, /^# Migration again-1, phase finish, completed, /);
      assert.deepEqual(
        parseStatusFile(text).map(({ host, table, status: word }) => [host, table, word]),
        [
          ['ch-1', HOSTILE, 'RESTORED'],
          ['ch-2', HOSTILE, 'RESTORED'],
        ],
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('report is one page that loads nothing, names who let what through, and holds no unescaped name', async () => {
    const { stdout, exit } = await stage.run('report', 'gate-1');
    assert.equal(exit, 0);
    assert.match(stdout, /approve clean<\/td><td[^>]*>[^<]+@[^<]+<\/td><td[^>]*>backups are there/);
    assert.doesNotMatch(stdout, /<b>/);
    assert.doesNotMatch(stdout, /<(?:script|link|img|iframe)|\ssrc=|@import|url\(/);
    const failed = await stage.run('report', 'fail-1');
    assert.match(failed.stdout, /it is &lt;gone&gt;/);
    assert.match(failed.stdout, /<td[^>]*>retry \(run /);
  });

  it('Ctrl-C while watching gives 130 and the last status as the one document, and says that the migration goes on and how to watch again', async () => {
    await stage.start('stuck-2');
    const child = stage.spawn('watch', 'stuck-2', '--json');
    let document = '';
    child.stdout?.on('data', (piece: Buffer) => (document += piece.toString()));
    let words = '';
    let sent = false;
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => resolve());
      child.stderr?.on('data', (piece: Buffer) => {
        words += piece.toString();
        if (!sent && words.includes('stuck-2: ')) sent = child.kill('SIGINT');
      });
    });
    assert.equal(child.exitCode, 130, words);
    assert.match(words, /goes on.*ch-zk-migrate watch stuck-2/);
    assert.equal((JSON.parse(document) as StatusDocument).outcome, 'waiting');
    await stage.client.workflow.getHandle('stuck-2').terminate();
  });

  it('a namespace that is not there is named, with what to do', async () => {
    const ran = await stage.run('list', '--namespace', 'elsewhere', '--json');
    assert.equal(ran.exit, 1);
    const { error } = JSON.parse(ran.stdout) as { error: { code: string; message: string; next: string } };
    assert.equal(error.code, 'NAMESPACE_NOT_FOUND');
    assert.match(error.message, /"elsewhere"/);
    assert.match(error.next, /--namespace/);
  });
});
