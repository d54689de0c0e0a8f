import assert from 'node:assert/strict';

import { STATUSES } from '../../src/domain/status';
import { differenceWords, judge, NOTHING_LEFT, type SeenReplica } from '../../src/domain/take-over';

const UNTOUCHED: SeenReplica = { place: 'before', moves: false, remade: false, alone: true, left: NOTHING_LEFT };
const PLAIN = { plain: ['1_1_1_0'], stuck: [] };
const STUCK = { plain: [], stuck: [{ name: 'ignored_1_1_1_0', path: '/data/detached/ignored_1_1_1_0' }] };

describe('what a replica is that a status file names', () => {
  it('whatever the file says, it is ZK_CLEANED where its nodes are gone, and RESTORED where it lives at its new place', () => {
    for (const said of STATUSES) {
      assert.equal(judge(said, { ...UNTOUCHED, place: 'none' }).found, 'ZK_CLEANED', said);
      assert.equal(judge(said, { ...UNTOUCHED, place: 'after', moves: true }).found, 'RESTORED', said);
    }
  });

  it('a host that moves has restored nothing that is registered at the old place', () => {
    for (const said of STATUSES) assert.equal(judge(said, { ...UNTOUCHED, moves: true, remade: true }).found, 'INIT', said);
  });

  it("in place it is RESTORED only by the file's word and by metadata younger than the server's start", () => {
    const found = (remade: boolean) => STATUSES.map((said) => judge(said, { ...UNTOUCHED, remade }).found);
    assert.deepEqual(found(true), ['INIT', 'INIT', 'RESTORED', 'RESTORED']);
    assert.deepEqual(found(false), ['INIT', 'INIT', 'INIT', 'INIT']);
  });

  it('one of several replicas of a path goes the whole way', () => {
    for (const place of ['none', 'before'] as const) assert.equal(judge('RESTORED', { ...UNTOUCHED, place, remade: true, alone: false }).found, 'INIT', place);
  });

  it('parts in detached/ are suspicious where a RESTORE may have been, and not where none was', () => {
    const suspicious = (change: Partial<SeenReplica>) => STATUSES.filter((said) => judge(said, { ...UNTOUCHED, ...change }).suspicious);
    assert.deepEqual(suspicious({}), []);
    assert.deepEqual(suspicious({ left: PLAIN }), ['ZK_CLEANED', 'RESTORED']);
    assert.deepEqual(suspicious({ left: STUCK }), ['DETACHED', 'ZK_CLEANED', 'RESTORED']);
    for (const change of [{ place: 'none' }, { place: 'after' }] as const) assert.equal(suspicious({ ...change, left: PLAIN }).length, 4, change.place);
    assert.equal(suspicious({ remade: true, left: PLAIN }).length, 4);
  });

  it('zero-copy locks in the way of a RESTORE make it go the whole way, and what a RESTORE left because of them is not suspicious', () => {
    for (const said of STATUSES) {
      assert.equal(judge(said, { ...UNTOUCHED, place: 'none', zeroCopy: { strays: [] } }).found, 'INIT', said);
      const broken: SeenReplica = { ...UNTOUCHED, remade: true, left: PLAIN, zeroCopy: { strays: ['1_1_1_0'] } };
      assert.deepEqual(judge(said, broken), { found: 'INIT', suspicious: false }, said);
      assert.equal(judge(said, { ...broken, zeroCopy: { strays: [] } }).suspicious, true, said);
    }
    assert.equal(judge('RESTORED', { ...UNTOUCHED, remade: true, zeroCopy: { strays: [] } }).found, 'RESTORED');
  });

  it('a difference is said in words, and none where there is none', () => {
    for (const said of STATUSES) {
      assert.equal(differenceWords(said, said, UNTOUCHED), undefined);
      for (const found of STATUSES) if (said !== found) assert.match(differenceWords(said, found, UNTOUCHED) ?? '', new RegExp(`the file says ${said}, and .*: it goes on as ${found}`, 'u'));
    }
    assert.equal(differenceWords('SKIPPED', 'INIT', UNTOUCHED), undefined);
  });
});
