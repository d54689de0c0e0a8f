import assert from 'node:assert/strict';

import { areRemains, isAncestor, looksLikeTop, pathComponents, refusePath, refuseShape, strangeChildren, TABLE_CHILDREN } from '../../src/domain/guards';

describe('what may be deleted', () => {
  for (const [path, why] of [
    ['', /does not begin/u],
    ['clickhouse/tables/x', /does not begin/u],
    ['/', /plain form|shallow/u],
    ['/clickhouse', /shallow/u],
    ['/clickhouse/', /plain form/u],
    ['/clickhouse//tables/x', /plain form/u],
    ['/clickhouse/tables/x/', /plain form/u],
    ['/clickhouse/tables/..', /\. or \.\./u],
    ['/clickhouse/./tables', /\. or \.\./u],
    ['/zookeeper/quota', /\/zookeeper/u],
  ] as const) {
    it(`is not ${JSON.stringify(path)}`, () => {
      assert.match(refusePath(path) ?? 'nothing stands against it', why);
    });
  }

  it("is a table's path, hostile as its names may be", () => {
    for (const path of ['/clickhouse/tables', '/clickhouse/tables/1/db/t', '/a/таблица 表', '/a/..b', "/a/it's {shard} %2e%2e", '/zookeepers/x']) {
      assert.equal(refusePath(path), undefined, path);
    }
  });

  it('must have what every replicated table has, until its deletion was begun by our own hand', () => {
    const whole = ['columns', 'log', 'metadata', 'replicas', 'mutations'];
    assert.equal(refuseShape(whole, false), undefined);
    for (const child of ['columns', 'log', 'metadata', 'replicas']) {
      assert.match(refuseShape(whole.filter((one) => one !== child), false) ?? '', new RegExp(child, 'u'));
    }
    assert.match(refuseShape([], false) ?? '', /lacks/u);
    assert.equal(refuseShape(['replicas'], true), undefined);
  });

  it('takes what is left of a path for the rest of a table only when nothing else lies there', () => {
    assert.ok(areRemains(['replicas', 'blocks']) && areRemains([]));
    assert.ok(!areRemains(['replicas', 'orders']));
  });

  it('is an ancestor only of what lies below it: a common beginning is none', () => {
    assert.ok(isAncestor('/a/b', '/a/b/c'));
    assert.ok(!isAncestor('/a/b', '/a/bc'));
    assert.ok(!isAncestor('/a/b', '/a/b'));
    assert.ok(!isAncestor('/a/b/c', '/a/b'));
    assert.ok(isAncestor('/', '/a'));
  });

  it('names children that no known version makes', () => {
    assert.deepEqual(strangeChildren([...TABLE_CHILDREN, 'zero_copy_azure_blob_storage', 'orders', 'Log']), ['orders', 'Log']);
  });

  it("knows a table's, or a Replicated database's, top when it sees one", () => {
    assert.ok(looksLikeTop(['replicas', 'log', 'metadata', 'columns']));
    assert.ok(looksLikeTop(['replicas', 'log', 'metadata', 'max_log_ptr']));
    assert.ok(!looksLikeTop(['replicas']));
    assert.ok(!looksLikeTop(['log', 'metadata']));
  });

  it('splits a path into its components', () => {
    assert.deepEqual(pathComponents('/a//b/'), ['a', 'b']);
    assert.deepEqual(pathComponents('/'), []);
  });
});
