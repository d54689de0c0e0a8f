import assert from 'node:assert/strict';

import { areMerged, type CountedPart, outsideOf, parsePartName, PartIndex } from '../../src/domain/part-name';

const parts = (...names: string[]): CountedPart[] => names.map((name) => ({ name, rows: 10 }));

describe('the name of a part', () => {
  it('says its partition, blocks, level and mutation', () => {
    assert.deepEqual(parsePartName('202401_3_7_2'), { partition: '202401', first: 3, last: 7, level: 2, mutation: 0 });
    assert.deepEqual(parsePartName('all_0_10_2_15'), { partition: 'all', first: 0, last: 10, level: 2, mutation: 15 });
    assert.equal(parsePartName('20180101_20180131_1_1_0'), undefined);
    assert.equal(parsePartName('broken_1_2'), undefined);
  });

  it('tells which parts a list neither has nor covers', () => {
    assert.deepEqual(outsideOf(['a_0_5_2', 'b_1_1_0'], ['a_0_5_2', 'a_2_3_1', 'a_5_6_1', 'b_2_2_0', 'c_1_1_0', 'x']), ['a_5_6_1', 'b_2_2_0', 'c_1_1_0', 'x']);
  });
});

describe('a list of parts', () => {
  const index = new PartIndex(['a_0_5_2', 'a_6_6_0_9', 'b_1_1_0']);
  for (const [name, made] of [
    ['a_0_5_2', true],
    ['a_2_3_1', true],
    ['a_0_0_0', true],
    ['a_6_6_0', true],
    ['a_0_5_2_9', false],
    ['a_2_3_3', false],
    ['a_5_6_1', false],
    ['b_2_2_0', false],
    ['c_0_5_0', false],
    ['20180101_20180131_1_1_0', false],
  ] as const) {
    it(`has ${made ? '' : 'nothing that was made of '}${name}${made ? ', or what was made of it' : ''}`, () => {
      assert.equal(index.hasMadeOf(name), made);
    });
  }
});

describe('parts that came for others', () => {
  for (const [what, went, came, merged] of [
    ['merged ones', parts('a_0_0_0', 'a_1_1_0'), [{ name: 'a_0_1_1', rows: 20 }], true],
    ['merged ones with their mutation', parts('a_0_0_0_5', 'a_1_1_0'), [{ name: 'a_0_1_1_5', rows: 20 }], true],
    ['what a mutation was made of, which was undone', parts('a_0_1_2_5'), parts('a_0_1_2'), false],
    ['a mutated one', parts('a_0_1_2'), parts('a_0_1_2_5'), false],
    ['merged ones without a mutation', parts('a_0_0_0_5', 'a_1_1_0_5'), [{ name: 'a_0_1_1', rows: 20 }], false],
    ['what a merge was made of', [{ name: 'a_0_1_1', rows: 20 }], parts('a_0_0_0', 'a_1_1_0'), false],
    ['merged ones with fewer rows', parts('a_0_0_0', 'a_1_1_0'), parts('a_0_1_1'), false],
    ['some that are not among them', parts('a_0_0_0', 'b_1_1_0'), [{ name: 'a_0_1_1', rows: 20 }], false],
    ['one more', parts('a_0_0_0'), [...parts('a_0_1_1'), ...parts('b_0_0_0')], false],
    ['another of the same name', parts('a_0_0_1'), parts('a_0_0_1'), false],
    ['one of an unknown form', parts('20180101_20180131_1_1_0'), parts('20180101_20180131_1_2_1'), false],
  ] as const) {
    it(`are ${merged ? '' : 'not '}a merge: ${what}`, () => {
      assert.equal(areMerged(went, came), merged);
    });
  }
});
