import assert from 'node:assert/strict';

import { type SkipRule, skippedBy, skipWords, withRequest } from '../../src/config/skips';

describe('what retries leave out', () => {
  const left = (rules: readonly SkipRule[], ...tables: readonly string[]): string[] => {
    const isSkipped = skippedBy(rules);
    return tables.filter((table) => isSkipped({ database: 'shop', table }));
  };

  it('stays left out until it is taken back; of what is asked for one after the other, the last decides', () => {
    let rules = withRequest([], { skip: ['shop.a', 'shop.tmp_*'] });
    assert.deepEqual(left(rules, 'a', 'b', 'tmp_1', 'tmp_2'), ['a', 'tmp_1', 'tmp_2']);
    rules = withRequest(rules, {});
    rules = withRequest(rules, { unskip: ['shop.tmp_1'] });
    assert.deepEqual(left(rules, 'a', 'b', 'tmp_1', 'tmp_2'), ['a', 'tmp_2']);
    assert.deepEqual(rules.map(skipWords), ['shop.a', 'shop.tmp_*', 'but not shop.tmp_1']);
    rules = withRequest(rules, { skip: ['shop.tmp_*'] });
    assert.deepEqual(left(rules, 'a', 'b', 'tmp_1', 'tmp_2'), ['a', 'tmp_1', 'tmp_2']);
  });

  it('and is taken back, in one request, is left out where that asks for both', () => {
    assert.deepEqual(left(withRequest(['shop.a', 'shop.b'], { unskip: ['shop.*'], skip: ['shop.b'] }), 'a', 'b'), ['b']);
  });

  it('grows with the globs that are asked for, and not with how often they are; nothing is kept where nothing is left out', () => {
    let rules: SkipRule[] = [];
    for (let i = 0; i < 9; i += 1) rules = withRequest(withRequest(rules, { skip: ['shop.a', 'shop.b'] }), { unskip: ['shop.b'] });
    assert.deepEqual(rules, ['shop.a', { unskip: 'shop.b' }]);
    assert.deepEqual(withRequest(rules, { unskip: ['*'] }), []);
    assert.deepEqual(withRequest(['shop.a'], { unskip: ['shop.a'] }), []);
  });

  it('is nothing by a glob that cannot be read', () => {
    assert.deepEqual(left(['a[', 'shop.b'], 'a', 'b'), ['b']);
  });
});
