import assert from 'node:assert/strict';

import fc from 'fast-check';

import { fnv1a64, replicaId, replicaLabel, tableOrderKey } from '../../src/domain/inventory';

describe('the order of the inventory', () => {
  it('is the same in every run: FNV-1a, 64 bits, by its published values', () => {
    assert.equal(fnv1a64(''), 'cbf29ce484222325');
    assert.equal(fnv1a64('a'), 'af63dc4c8601ec8c');
    assert.equal(fnv1a64('foobar'), '85944171f73967e8');
  });

  it('gives one key to one (ensemble, root, path), and another to every other', () => {
    const word = fc.string({ maxLength: 6 });
    fc.assert(
      fc.property(fc.tuple(word, word, word), fc.tuple(word, word, word), (a, b) => {
        assert.equal(tableOrderKey(...a) === tableOrderKey(...b), a.every((one, i) => one === b[i]));
      }),
    );
    assert.notEqual(tableOrderKey('zk:1', '/a', '/b/c'), tableOrderKey('zk:1', '/a/b', '/c'));
    assert.notEqual(tableOrderKey('zk:1', '/a', '/t'), tableOrderKey('zk:2', '/a', '/t'));
  });

  it('mixes the tables of shards: neighbours of one shard do not stand together', () => {
    const keys = [1, 2].flatMap((shard) =>
      Array.from({ length: 100 }, (_, i) => ({ shard, key: tableOrderKey('zk:1', '/r', `/clickhouse/tables/${shard}/db/t${i}`) })),
    );
    const first = keys.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, 50);
    const ofFirst = first.filter(({ shard }) => shard === 1).length;
    assert.ok(ofFirst > 10 && ofFirst < 40, `${ofFirst} of 50 are of shard 1`);
  });

  it('tells replicas apart whose names run into each other', () => {
    assert.notEqual(replicaId({ host: 'a', database: 'b.c', table: 'd' }), replicaId({ host: 'a', database: 'b', table: 'c.d' }));
    assert.equal(replicaLabel({ host: 'ch-1', database: 'shop', table: 'orders' }), 'ch-1 shop.orders');
  });
});
