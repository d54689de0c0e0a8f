import assert from 'node:assert/strict';

import { ApplicationFailure } from '@temporalio/common';
import type { LogEntry } from '@temporalio/worker';

import { logLine, workerLogger } from '../src/worker-log';

const failed = (attempt: number, message = 'ch-1 does not answer'): LogEntry => ({
  level: 'WARN',
  message: 'Activity failed',
  timestampNanos: 1_700_000_000_000_000_000n,
  meta: {
    workflowId: 'orders',
    activityId: 'detach ch-1 shop.orders 0123456789abcdef',
    attempt,
    error: ApplicationFailure.create({ type: 'HOST_UNREACHABLE', message }),
  },
});

describe("a worker's log", () => {
  it('tells a failing activity in one line: which, where and why', () => {
    const line = '2023-11-14T22:13:20.000Z warning: orders: Activity failed: detach ch-1 shop.orders (attempt 2): HOST_UNREACHABLE: ch-1 does not answer';
    assert.equal(logLine(failed(2)), line);
    assert.doesNotMatch(logLine(failed(1, 'a\n\u001b[2Jb')) ?? '', /\p{Cc}/u);
  });

  it('tells a fault that lasts less and less often', () => {
    const told = Array.from({ length: 40 }, (_, index) => index + 1).filter((attempt) => logLine(failed(attempt)) !== undefined);
    assert.deepEqual(told, [1, 2, 4, 8, 16, 32]);
  });

  it('says nothing of what goes well', () => {
    const lines: string[] = [];
    const logger = workerLogger((line) => lines.push(line));
    logger.info('Worker state changed', { state: 'RUNNING' });
    assert.deepEqual(lines, []);
    logger.error('Worker failed', { error: new Error('gone') });
    assert.match(lines.join('\n'), /error: Worker failed: gone$/);
  });
});
