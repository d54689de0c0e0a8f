import assert from 'node:assert/strict';

import fc from 'fast-check';

import { compareManifests, describeDifference, isEqual, type ManifestPart, NO_DIFFERENCE } from '../../src/domain/manifest';

function part(name: string, rows: number, hash = `h-${name}`, partitionId = '202401', uncompressed = hash): ManifestPart {
  return { name, partitionId, rows, hashOfAllFiles: hash, hashOfUncompressedFiles: uncompressed };
}

describe('manifests are multisets of parts', () => {
  it('names play no part: RESTORE gives every part a new one', () => {
    const before = [part('202401_5_9_3', 10, 'a'), part('202401_12_12_0', 7, 'b')];
    const after = [part('202401_0_0_0', 7, 'b'), part('202401_1_1_0', 10, 'a')];
    assert.deepEqual(compareManifests(before, after, 'hashOfAllFiles'), NO_DIFFERENCE);
  });

  it('counts identical parts: two of three copies are one part short', () => {
    const copies = [1, 2, 3].map((n) => part(`all_${n}_${n}_0`, 5, 'same'));
    assert.deepEqual(compareManifests(copies, copies.slice(1), 'hashOfAllFiles'), { missingParts: 1, missingRows: 5, extraParts: 0, extraRows: 0 });
    assert.deepEqual(compareManifests(copies.slice(1), copies, 'hashOfAllFiles'), { missingParts: 0, missingRows: 0, extraParts: 1, extraRows: 5 });
    assert.ok(isEqual(compareManifests(copies, [...copies].reverse(), 'hashOfAllFiles')));
  });

  it('leaves parts without rows out of both sides: the server drops them by itself', () => {
    const full = part('a', 3);
    assert.ok(isEqual(compareManifests([full, part('empty', 0)], [full], 'hashOfAllFiles')));
    assert.ok(isEqual(compareManifests([full], [full, part('other empty', 0)], 'hashOfAllFiles')));
    assert.ok(isEqual(compareManifests([], [], 'hashOfAllFiles')));
  });

  it('tells equal contents in another partition, and equal rows with another hash, apart', () => {
    assert.equal(isEqual(compareManifests([part('a', 3, 'h', '202401')], [part('a', 3, 'h', '202402')], 'hashOfAllFiles')), false);
    const stale = compareManifests([part('202401_1_1_0', 15, 'real')], [part('202401_1_1_0', 10, 'stale')], 'hashOfAllFiles');
    assert.deepEqual(stale, { missingParts: 1, missingRows: 15, extraParts: 1, extraRows: 10 });
  });

  it('across replicas compression may differ: only the hash that is asked for counts', () => {
    const lz4 = [part('a', 3, 'lz4', 'p', 'plain')];
    const zstd = [part('a', 3, 'zstd', 'p', 'plain')];
    assert.ok(isEqual(compareManifests(lz4, zstd, 'hashOfUncompressedFiles')));
    assert.equal(isEqual(compareManifests(lz4, zstd, 'hashOfAllFiles')), false);
  });

  it('says what is missing and what is too much, in one line', () => {
    assert.equal(describeDifference({ missingParts: 3, missingRows: 120, extraParts: 1, extraRows: 1 }), 'missing: 3 parts with 120 rows; not in the manifest: 1 part with 1 row');
    assert.equal(describeDifference(NO_DIFFERENCE), 'no difference');
  });

  it('keeps the balance: rows of one side plus what is missing are the rows of the other', () => {
    const parts = fc.array(
      fc.record({ rows: fc.integer({ min: 0, max: 4 }), hash: fc.constantFrom('a', 'b', 'c'), partition: fc.constantFrom('p', 'q') }).map((one) => part('n', one.rows, `${one.hash}${one.rows}`, one.partition)),
      { maxLength: 30 },
    );
    const rows = (of: readonly ManifestPart[]): number => of.reduce((sum, one) => sum + one.rows, 0);
    fc.assert(
      fc.property(parts, parts, (expected, actual) => {
        const { missingParts, missingRows, extraParts, extraRows } = compareManifests(expected, actual, 'hashOfAllFiles');
        assert.equal(rows(expected) - missingRows, rows(actual) - extraRows);
        const counted = (of: readonly ManifestPart[]): number => of.filter((one) => one.rows > 0).length;
        assert.equal(counted(expected) - missingParts, counted(actual) - extraParts);
        assert.deepEqual(compareManifests(actual, expected, 'hashOfAllFiles'), { missingParts: extraParts, missingRows: extraRows, extraParts: missingParts, extraRows: missingRows });
      }),
    );
  });
});
