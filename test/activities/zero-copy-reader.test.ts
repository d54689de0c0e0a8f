import assert from 'node:assert/strict';

import { batchesOf, batchesOfBytes, ofParts, type Part, slicesOf } from '../../src/activities/zero-copy-reader';

const GIB = 1024 ** 3;

function part(name: string, bytes: number, marks = 1, rows = 1_000): Part {
  return { name, bytes, marks, rows };
}

describe('the batches in which blobs are read', () => {
  const names = (batches: readonly (readonly Part[])[]): string[] => batches.map((batch) => batch.map(({ name }) => name).join(' '));

  it('have every part once, in order, and none is larger than it may be but of one part', () => {
    const parts = [part('a', 0, 3), part('b', 0, 3), part('c', 0, 9), part('d', 0, 1), part('e', 0, 5), part('f', 0, 4)];
    assert.deepEqual(names(batchesOf(parts, ({ marks }) => marks, 6)), ['a b', 'c', 'd e', 'f']);
    assert.deepEqual(batchesOf([], ({ marks }) => marks, 6), []);
  });

  it('name so few parts that their query is not too long', () => {
    const parts = Array.from({ length: 1_200 }, (_, i) => part(`${'0123456789abcdef'.repeat(2)}_${i}_${i}_0`, 1));
    const batches = batchesOfBytes(parts);
    assert.deepEqual(batches.flat(), parts);
    for (const batch of batches) assert.ok(2 * ofParts(batch).length < 200_000, String(ofParts(batch).length));
  });

  it('of a part that is too large are ranges of all its rows', () => {
    assert.deepEqual(slicesOf(part('a', GIB)), [{ from: 0, to: 1_000 }]);
    assert.deepEqual(slicesOf(part('a', 40 * GIB)), [{ from: 0, to: 334 }, { from: 334, to: 668 }, { from: 668, to: 1_000 }]);
    assert.deepEqual(slicesOf(part('a', 40 * GIB, 1, 2)), [{ from: 0, to: 1 }, { from: 1, to: 2 }]);
  });
});
