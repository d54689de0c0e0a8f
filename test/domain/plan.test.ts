import assert from 'node:assert/strict';

import { estimate, type PlannedTable, RATES } from '../../src/domain/plan';

function tables(count: number, parts = 1, znodes: number | null = 0): PlannedTable[] {
  return Array.from({ length: count }, (_, i) => ({ db: 'd', table: `t${i}`, zk_path: `/c/t${i}`, replica: 'r', rows: 1, bytes: 1, parts, znodes, statements: [] }));
}

describe('the estimate of a plan', () => {
  it('is nothing for nothing', () => {
    assert.equal(estimate([], 4).seconds, 0);
    assert.equal(estimate([{ tables: [], restarts: false }], 4).seconds, 0);
  });

  it('lets hosts work side by side: a second one like the first costs nothing', () => {
    const one = { tables: tables(4_000), restarts: false };
    assert.equal(estimate([one, one], 4).seconds, estimate([one], 4).seconds);
  });

  it('adds a restart a wave, only for hosts that are restarted', () => {
    const still = { tables: [], restarts: false };
    const moves = { tables: [], restarts: true };
    assert.equal(estimate([moves, moves, moves, still], 2).seconds, 2 * RATES.restartSeconds);
    assert.equal(estimate([moves, moves, moves], 1).seconds, 3 * RATES.restartSeconds);
  });

  it('grows with tables, parts and nodes; nodes that could not be counted are none', () => {
    const seconds = (of: PlannedTable[]): number => estimate([{ tables: of, restarts: false }], 1).seconds;
    assert.ok(seconds(tables(4_000)) > seconds(tables(400)));
    assert.ok(seconds(tables(400, 100)) > seconds(tables(400, 1)));
    assert.ok(seconds(tables(400, 1, 1_000)) > seconds(tables(400, 1, 0)));
    assert.equal(seconds(tables(400, 1, null)), seconds(tables(400, 1, 0)));
  });
});
