import assert from 'node:assert/strict';

import { type Candidate, electFirst } from '../../src/domain/election';

function candidate(host: string, change: Partial<Candidate> = {}): Candidate {
  return { host, replicaName: host, parts: 4, rows: 100, digest: 'd', registered: false, ...change };
}

describe('the first replica', () => {
  it('is the one with the most rows, then the most parts, then the least name', () => {
    assert.equal(electFirst([candidate('a'), candidate('b', { rows: 101 })]).host, 'b');
    assert.equal(electFirst([candidate('a'), candidate('b', { parts: 5 })]).host, 'b');
    assert.equal(electFirst([candidate('a', { parts: 99 }), candidate('b', { rows: 101 })]).host, 'b');
    assert.equal(electFirst([candidate('b'), candidate('a')]).host, 'a');
  });

  it('stays the one whose nodes are in ZooKeeper already, however little it has: a run that was killed chose it', () => {
    assert.equal(electFirst([candidate('a', { rows: 1_000 }), candidate('b', { rows: 0, parts: 0, registered: true })]).host, 'b');
  });

  it('is the same in whatever order the answers came', () => {
    const all = [candidate('c', { rows: 7 }), candidate('a', { rows: 7 }), candidate('b', { rows: 7, parts: 1 })];
    const elected = [all, [...all].reverse(), [all[1], all[2], all[0]].flatMap((one) => one ?? [])].map((order) => electFirst(order).host);
    assert.deepEqual(elected, ['a', 'a', 'a']);
  });

  it('is nobody where there is no candidate: that is an error, not a guess', () => {
    assert.throws(() => electFirst([]), RangeError);
  });

  it('leaves the list it was given as it was', () => {
    const given = [candidate('b'), candidate('a')];
    electFirst(given);
    assert.deepEqual(given.map(({ host }) => host), ['b', 'a']);
  });
});
