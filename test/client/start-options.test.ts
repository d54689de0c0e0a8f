import assert from 'node:assert/strict';

import { escapeMarkdown, migrationStartOptions, webUiLink } from '../../src/client';
import { SUMMARY_MEMO_KEY } from '../../src/domain/summary';
import { pendingReasons } from '../../src/client/pending';
import { spec } from '../cli/stage';
import { summary } from '../report/summaries';

describe('start options', () => {
  it('a dry run has an id of its own, and is never the migration', () => {
    assert.equal(migrationStartOptions({ spec: spec('m'), execute: false }).workflowId, 'm.plan');
    assert.equal(migrationStartOptions({ spec: spec('m'), execute: true }).workflowId, 'm');
  });

  it('a running migration is never touched, and no timeout or retry policy is set', () => {
    const options = migrationStartOptions({ spec: spec('m'), execute: true });
    assert.equal(options.workflowIdConflictPolicy, 'FAIL');
    assert.deepEqual(
      [
        options.workflowExecutionTimeout,
        options.workflowRunTimeout,
        options.retry,
        // eslint-disable-next-line @typescript-eslint/no-deprecated -- the old way must not be taken either
        options.searchAttributes,
        options.typedSearchAttributes,
      ],
      Array(5).fill(undefined),
    );
  });

  it('names are escaped, and whatever their length Temporal takes them', () => {
    const hosts = Array.from({ length: 500 }, (_, index) => ({
      ...spec('m').hosts[0],
      name: `<b>\`*é${'x'.repeat(200)}${String(index)}`,
    })) as never;
    const { staticDetails = '', staticSummary = '' } = migrationStartOptions({
      spec: spec('m', { hosts, tables: { include: ['<i>*'], exclude: [] } }),
      execute: true,
    });
    assert.ok(Buffer.byteLength(staticDetails) <= 8000);
    assert.ok(Buffer.byteLength(staticSummary) <= 200);
    assert.doesNotMatch(staticDetails, /<[bi]>/);
    assert.equal(escapeMarkdown('a\n[b](c) <d> `e`'), 'a \\[b\\]\\(c\\) &lt;d&gt; \\`e\\`');
  });

  it('a run that goes on shows what the closed one knew, from its first moment', () => {
    const previous = summary({ replicas: 7, phase: 'restore', outcome: 'failed', failuresTotal: 2 });
    const resume = {
      runId: 'r',
      mode: 'retry' as const,
      approved: [],
      decisions: [],
      limits: spec('m').parallel,
      started: 'then',
      phases: [],
    };
    const { memo } = migrationStartOptions({ spec: spec('m'), execute: true, resume }, { previous });
    const shown = memo?.[SUMMARY_MEMO_KEY] as typeof previous;
    assert.deepEqual(
      [shown.replicas, shown.phase, shown.outcome, shown.failuresTotal, shown.started],
      [7, 'restore', 'running', 0, 'then'],
    );
  });
});

describe('web UI link', () => {
  it('is what was said, or a thousand ports above the server', () => {
    const server = { address: 'localhost:7233', namespace: 'a/b' };
    assert.equal(webUiLink({ ...server, ui: 'https://ui/' }, 'm#1', 'r'), 'https://ui/namespaces/a%2Fb/workflows/m%231/r/history');
    assert.equal(webUiLink(server, 'm'), 'http://localhost:8233/namespaces/a%2Fb/workflows/m');
    assert.equal(webUiLink({ ...server, ui: 'ui.example:80' }, 'm'), 'http://ui.example:80/namespaces/a%2Fb/workflows/m');
  });
});

describe('reasons of pending activities', () => {
  it('alike ones are one reason, with their number and the next attempt', () => {
    const activity = {
      activityId: '1',
      activity: 'detachReplica',
      state: 'scheduled' as const,
      attempt: 3,
      lastFailure: { code: 'HOST_UNREACHABLE', message: 'ch-1' },
      nextAttempt: '2026-01-01T00:00:09.500Z',
    };
    const reasons = pendingReasons(
      [activity, { ...activity, attempt: 7 }, { ...activity, attempt: 1 }],
      Date.parse('2026-01-01T00:00:00.000Z'),
    );
    assert.deepEqual(reasons, ['detachReplica is retried: HOST_UNREACHABLE: ch-1 (2 activities, attempt 7, next try in 10 s)']);
  });

  it('what an activity waits for is a reason, work is none', () => {
    const activity = { activityId: '1', activity: 'restartHost', state: 'started' as const, attempt: 1 };
    assert.deepEqual(pendingReasons([activity, { ...activity, waitingItself: 'waiting until ch-1 is back' }], 0), [
      'waiting until ch-1 is back',
    ]);
  });
});
