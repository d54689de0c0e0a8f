import assert from 'node:assert/strict';

import * as fc from 'fast-check';

import { NumberSet } from '../../src/domain/number-set';

function setOf(...batches: readonly (readonly number[])[]): NumberSet {
  const set = new NumberSet();
  for (const batch of batches) {
    for (const value of batch) set.add(value);
  }
  return set;
}

function missing(set: NumberSet, other: NumberSet): number {
  return [...set.missingIn(other)].reduce((sum, n) => sum + n, 0);
}

describe('a set of very many numbers', () => {
  it('has what a Set has, however it was filled', () => {
    const some = fc.array(fc.oneof(fc.nat(20), fc.nat(2 ** 31 - 1).map((n) => n * 1_024), fc.maxSafeNat().map((n) => Math.max(0, n - 1))), { maxLength: 60 });
    fc.assert(
      fc.property(some, some, some, (one, two, other) => {
        const [set, expected] = [setOf(one, two), new Set([...one, ...two])];
        assert.equal(set.size, expected.size);
        for (const value of [...one, ...two, ...other]) assert.equal(set.has(value), expected.has(value));
        assert.equal(missing(set, setOf(other)), [...expected].filter((value) => !other.includes(value)).length);
      }),
    );
  });

  it('grows', () => {
    const numbers = Array.from({ length: 100_000 }, (_, i) => (i * 7_919) % 100_000);
    const set = setOf(numbers, numbers);
    assert.equal(set.size, 100_000);
    assert.deepEqual([set.has(0), set.has(99_999), set.has(100_000)], [true, true, false]);
    assert.deepEqual([missing(set, setOf()), missing(set, setOf([5, 100_000])), missing(setOf([5, 100_000]), set)], [100_000, 99_999, 1]);
  });
});
