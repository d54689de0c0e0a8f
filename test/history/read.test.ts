import assert from 'node:assert/strict';

import { createHistoryReader } from '../../src/history/read';
import { firstEvent, pagesForward, walkChain } from '../../src/history/runs';
import { openStage, type Stage } from '../cli/stage';

/** Against a real Temporal server; the workflow is a small one of the same name (see ../cli/fake-migrate.ts). */
describe('history reader', function () {
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

  async function until<T>(look: () => Promise<T>, holds: (seen: T) => boolean): Promise<T> {
    for (;;) {
      const seen = await look();
      if (holds(seen)) return seen;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  it('what is read bit by bit while it happens is what is read at once afterwards', async () => {
    const reader = createHistoryReader(stage.client);
    await stage.start('again-gate');
    const seen = await until(
      () => reader.read('again-gate'),
      ({ status }) => status === 'COMPLETED',
    );
    assert.deepEqual(
      seen.replicas.map(({ status }) => status),
      ['RESTORED', 'RESTORED'],
    );
    const afresh = await createHistoryReader(stage.client).read('again-gate');
    assert.deepEqual(seen.replicas, afresh.replicas);
    assert.equal(seen.runId, afresh.runId);
  });

  it('a chain that continued as new is walked to its first run, or to the run that is known', async () => {
    await stage.start('again-chain');
    await stage.client.workflow.getHandle('again-chain').result();
    const { runId } = await stage.client.workflow.getHandle('again-chain').describe();
    const { runs, continues } = await walkChain(stage.client, 'again-chain', runId);
    assert.equal(runs.length, 2);
    assert.equal(continues, false);
    const short = await walkChain(stage.client, 'again-chain', runId, runs[0]?.runId);
    assert.deepEqual([short.runs.map((run) => run.runId), short.continues], [[runId], true]);
  });

  it('a reset is recognised: what its base had done stays, and what follows counts', async () => {
    const id = 'gate-reset';
    const reader = createHistoryReader(stage.client, { audit: true });
    await stage.start(id);
    await until(
      () => reader.read(id),
      ({ summary }) => summary.outcome === 'waiting',
    );
    const before = await reader.read(id);
    await stage.client.workflow.getHandle(id).signal('approve', 'clean');
    await stage.client.workflow.getHandle(id).result();
    const runId = await resetToFirstTask(id, before.runId);
    const after = await reader.read(id);
    assert.equal(after.runId, runId);
    assert.deepEqual(
      after.replicas.map(({ status }) => status),
      ['RESTORED', 'RESTORED'],
    );
    assert.deepEqual(
      after.audit?.runs.map(({ as }) => as),
      ['start', 'reset'],
    );
    const { runs } = await walkChain(stage.client, id, runId);
    assert.equal(runs[0]?.runId, before.runId);
    assert.ok((runs[1]?.copiedUpTo ?? 0) > 0);
    await until(
      () => reader.read(id),
      ({ status }) => status !== 'RUNNING',
    );
    assert.deepEqual((await reader.read(id)).replicas, (await createHistoryReader(stage.client, { audit: true }).read(id)).replicas);
  });

  it('readers that call at once get the whole, once', async () => {
    const reader = createHistoryReader(stage.client, { audit: true });
    await stage.start('gate-many');
    await until(
      () => reader.read('gate-many'),
      ({ summary }) => summary.outcome === 'waiting',
    );
    const views = await Promise.all(Array.from({ length: 5 }, () => reader.read('gate-many')));
    for (const { audit } of views) assert.equal(audit?.activities.filter(({ activity }) => activity === 'detachReplica').length, 2);
    await stage.client.workflow.getHandle('gate-many').terminate();
  });

  it('a message is kept with who sent it and what it said', async () => {
    await stage.start('gate-audit');
    await stage.client.workflow.getHandle('gate-audit').signal('approve', { phase: 'clean', by: 'ann@desk', reason: 'ticket 1' });
    await stage.client.workflow.getHandle('gate-audit').result();
    const { audit } = await createHistoryReader(stage.client, { audit: true }).read('gate-audit');
    assert.deepEqual(
      audit?.messages.map(({ name, form, payload }) => ({ name, form, payload })),
      [{ name: 'approve', form: 'signal', payload: { phase: 'clean', by: 'ann@desk', reason: 'ticket 1' } }],
    );
  });

  async function resetToFirstTask(workflowId: string, runId: string): Promise<string> {
    assert.ok(await firstEvent(stage.client, workflowId, runId));
    let taskId = 0;
    for await (const events of pagesForward(stage.client, workflowId, runId)) {
      for (const event of events) {
        if (taskId === 0 && event.workflowTaskCompletedEventAttributes) taskId = Number(event.eventId);
      }
    }
    const answer = await stage.client.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId, runId },
      workflowTaskFinishEventId: taskId as never,
      reason: 'test',
      requestId: `reset-${runId}`,
    });
    return answer.runId ?? '';
  }
});
