import assert from 'node:assert/strict';

import { PartIndex } from '../../src/domain/part-name';
import { isBrokenEntry, stillOwed } from '../../src/domain/queue-entry';

const entry = (...lines: string[]): string => ['format version: 4', 'create_time: 2024-01-01 00:00:00', 'source replica: a', 'block_id: 1_2_3', ...lines, ''].join('\n');
const PARTS = new PartIndex(['1_0_2_1', '2_5_5_0', '20180101_20180131_1_1_0']);

describe('what a lone replica still has to do', () => {
  for (const [what, text, owed] of [
    ['a part that is there', entry('get', '2_5_5_0', 'part_type: Compact'), undefined],
    ['a part that was merged into one that is there', entry('get', '1_1_1_0'), undefined],
    ['a part of the oldest form that is there', entry('get', '20180101_20180131_1_1_0'), undefined],
    ['a part that is not there', entry('get', '2_6_6_0'), 'get'],
    ['a part of another partition', entry('get', '3_1_1_0'), 'get'],
    ['an attached part that is there', entry('attach', '2_5_5_0', 'part_checksum: 00'), undefined],
    ['a merge', entry('merge', '1_0_2_1', '1_3_3_0', 'into', '1_0_3_2', 'deduplicate: 0', 'part_type: Compact'), undefined],
    ['a merge that drops equal rows', entry('merge', '1_0_2_1', 'into', '1_0_2_2', 'deduplicate: 1'), 'merge'],
    ['a partition that is dropped', entry('drop', '2_0_0_999999999_2147483647'), 'drop'],
    ['another table\'s partition that takes the place of one', entry('REPLACE_RANGE', 'drop_range_name: 1_0_9_999999999'), 'REPLACE_RANGE'],
    ['an entry with an id', ['format version: 7', 'create_time: x', 'source replica: a', 'block_id: ', 'log_entry_id: x', 'detach', '1_0_0_999_9', ''].join('\n'), 'detach'],
    ['one that is not understood', 'format version: 100\ntype { }\n', 'unknown'],
    ['one without a value', '', 'unknown'],
  ] as const) {
    it(`is ${owed === undefined ? 'not ' : ''}${what}`, () => {
      assert.equal(stillOwed(text, PARTS), owed);
    });
  }
});

describe('an entry that no server can read', () => {
  for (const [what, text, broken] of [
    ['without a value', '', true],
    ['of garbage', '\0garbage }{ 42\n', true],
    ['cut off in its first line', 'format version: ', true],
    ['of this version', entry('get', '2_5_5_0'), false],
    ['of a newer version', 'format version: 100\ntype { }\n', false],
  ] as const) {
    it(`is ${broken ? '' : 'not '}one ${what}`, () => {
      assert.equal(isBrokenEntry(text), broken);
    });
  }
});
