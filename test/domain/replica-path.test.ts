import assert from 'node:assert/strict';

import { fillInPath } from '../../src/domain/replica-path';

const NAMES = { database: 'shop', table: 'orders', uuid: '1-2' };

describe('a path with macros', () => {
  it('is filled in from the macros and the table, macros within macros too', () => {
    assert.deepEqual(fillInPath('/t/{layer}/{database}/{table}/{uuid}', { layer: '{shard}-x', shard: '7' }, NAMES), { path: '/t/7-x/shop/orders/1-2' });
    assert.deepEqual(fillInPath('/plain', {}, NAMES), { path: '/plain' });
  });

  it('is none when a macro is not known', () => {
    assert.deepEqual(fillInPath('/t/{shard}/{table}', {}, NAMES), { unknown: 'shard' });
  });
});
