import assert from 'node:assert/strict';

import { PlanCache } from '../../src/activities/plan-cache';
import type { Plan, PlannedTable } from '../../src/domain/plan';

function planOf(tables: number): Plan {
  const list = Array.from({ length: tables }, () => ({}) as PlannedTable);
  return {
    id: 'm', hosts: [{ name: 'ch-1', version: '', restart: '', from: '', to: '', tables: list }], refusals: [], warnings: [], estimate: { seconds: 0, how: '' }, known: false,
  };
}

describe('what a dry run found, between its pages', () => {
  it('is there for its own run, until it is let go of', () => {
    const cache = new PlanCache();
    const plan = planOf(1);
    cache.put('a', plan);
    assert.equal(cache.get('a'), plan);
    assert.equal(cache.get('b'), undefined);
    cache.drop('a');
    assert.equal(cache.get('a'), undefined);
  });

  it('is bounded: the oldest goes first, and what is too large is not kept', () => {
    const cache = new PlanCache();
    for (const run of ['a', 'b', 'c']) cache.put(run, planOf(1));
    assert.deepEqual(['a', 'b', 'c'].map((run) => cache.get(run) !== undefined), [false, true, true]);
    cache.put('d', planOf(199_999));
    assert.deepEqual(['b', 'c', 'd'].map((run) => cache.get(run) !== undefined), [false, true, true]);
    cache.put('e', planOf(2));
    assert.deepEqual(['c', 'd', 'e'].map((run) => cache.get(run) !== undefined), [false, false, true]);
    cache.put('e', planOf(200_001));
    assert.equal(cache.get('e'), undefined);
    cache.clear();
  });

  it('does not outlive its time, and holds up no process that ends', async () => {
    const cache = new PlanCache(20);
    cache.put('a', planOf(1));
    await new Promise((done) => setTimeout(done, 60));
    assert.equal(cache.get('a'), undefined);
  });
});
