import assert from 'node:assert/strict';

import { summaryOf } from '../../src/client/summary-of';
import { emptySummary, type MigrationSummary, SUMMARY_MEMO_KEY } from '../../src/domain/summary';

type Execution = Parameters<typeof summaryOf>[0];

function closed(change: Partial<MigrationSummary>, name: 'COMPLETED' | 'FAILED' = 'COMPLETED'): Execution {
  const summary = { ...emptySummary({ id: 'm', executed: true, started: '2026-01-01T00:00:00.000Z' }), ...change };
  const time = new Date('2026-01-01T00:00:10.000Z');
  return { workflowId: 'm', status: { name } as Execution['status'], startTime: time, closeTime: time, memo: { [SUMMARY_MEMO_KEY]: summary } };
}

describe('the outcome of a closed migration', () => {
  it('is what the workflow said last: an abort that came when all was done aborted nothing', () => {
    assert.equal(summaryOf(closed({ outcome: 'completed', aborting: true }), []).outcome, 'completed');
    assert.equal(summaryOf(closed({ outcome: 'aborted', aborting: true }), []).outcome, 'aborted');
  });

  it('is aborted where the last word is missing and it was on its way back, and failed where the server says so', () => {
    assert.equal(summaryOf(closed({ outcome: 'running', aborting: true }), []).outcome, 'aborted');
    assert.equal(summaryOf(closed({ outcome: 'completed' }, 'FAILED'), []).outcome, 'failed');
  });
});
