import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import fc from 'fast-check';

import { compileGlob, createTableFilter, escapeGlob, type FilterTable, globFault, tableGlobFault } from '../../src/config/table-filter';
import { ROOT } from './helpers';

const ORDERS: FilterTable = {
  host: 'ch-1',
  database: 'shop',
  table: 'orders',
  zookeeperPath: '/clickhouse/tables/1/orders',
  disks: ['default', 's3'],
};
const ALL = { include: [], exclude: [] };

/** Names as ClickHouse takes them in backquotes: anything at all, here mostly what a glob, a path or a regular expression would stumble over. */
const name = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...'.*?[]{}()!+@|,^$-/\\"\'`\n\r\0 ab1:;#~%<>&=é'.split('')),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
  ),
  minLength: 1,
  maxLength: 8,
});

describe('globs on names', function () {
  this.timeout(300_000);

  for (const [pattern, text, matches] of [
    ['shop.*', 'shop.orders', true],
    ['shop.*', 'shop.a/b', true],
    ['shop.*', 'shop.a\nb', true],
    ['shop.*', 'shop..hidden', true],
    ['shop.*', 'shop2.orders', false],
    ['shop.*', 'ashop.orders', false],
    ['Shop.*', 'shop.orders', false],
    ['a.b.*', 'a.b.c', true],
    ['*', 'shop.orders', true],
    ['**', 'shop.a/b', true],
    ['*.orders', 'a.b.orders', true],
    ['*.tmp_*', 'shop.tmp_1', true],
    ['*.tmp_*', 'shop.xtmp_1', false],
    ['shop.?', 'shop./', true],
    ['shop.??', 'shop.a', false],
    ['shop.[a-c]', 'shop.b', true],
    ['shop.[!a-c]', 'shop.b', false],
    ['shop.[!a-c]', 'shop.d', true],
    ['shop.[^a-c]', 'shop.d', true],
    ['{web,app}.*', 'app.x', true],
    ['shop.{a/b,c}', 'shop.a/b', true],
    ['shop.@(a|b)', 'shop.b', true],
    ['shop.!(a|b)', 'shop.b', false],
    ['shop.!(a|b)', 'shop.c', true],
    ['shop.report\\*2024', 'shop.report*2024', true],
    ['shop.report\\*2024', 'shop.report-2024', false],
    ['shop.a\\/b', 'shop.a/b', true],
    ['shop.a\\\\b', 'shop.a\\b', true],
    ['shop.\\d', 'shop.5', false],
    ['shop.\\d', 'shop.d', true],
    ['shop."a"', 'shop."a"', true],
    ['shop.a$', 'shop.a$', true],
    ['/clickhouse/tables/*', '/clickhouse/tables/a/b/c', true],
    ['/clickhouse/tables/*', '/other/clickhouse/tables/a', false],
  ] as const) {
    it(`${pattern} ${matches ? 'matches' : 'does not match'} ${JSON.stringify(text)}`, () => {
      assert.equal(globFault(pattern), undefined);
      assert.equal(compileGlob(pattern)(text), matches);
    });
  }

  it('an escaped name matches itself, and nothing else', () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        assert.equal(globFault(escapeGlob(a)), undefined);
        const matches = compileGlob(escapeGlob(a));
        assert.equal(matches(a), true);
        assert.equal(matches(b), a === b);
      }),
      { numRuns: 5000 },
    );
  });

  it('database.* matches every table of the database, whatever its name', () => {
    fc.assert(
      fc.property(name, name, (database, table) => {
        const joined = `${database}.${table}`;
        for (const pattern of [`${escapeGlob(database)}.*`, `*.${escapeGlob(table)}`, '*', '**', '*.*'])
          assert.equal(compileGlob(pattern)(joined), true);
      }),
      { numRuns: 5000 },
    );
  });

  it('a pattern without a fault can be used on any name', () => {
    fc.assert(
      fc.property(name, name, (pattern, text) => {
        if (globFault(pattern) === undefined) assert.equal(typeof compileGlob(pattern)(text), 'boolean');
      }),
      { numRuns: 5000 },
    );
  });

  for (const [pattern, fault] of [
    ['', /empty/],
    ['x'.repeat(1001), /1000/],
    ['!shop.*', /exclude/],
    ['shop.\\', /\\/],
    ['shop.[a', /bracket/],
    ['shop.{a', /bracket/],
    ['shop.a)', /bracket/],
    ['shop.[z-a]', /bracket|pattern/],
    ['shop.+(a|b)', /repeated/],
    ['shop.t{1..3}', /ranges/],
    ['shop', /shop\.\*/],
  ] as const) {
    it(`${JSON.stringify(pattern.slice(0, 20))} is a fault`, () => {
      assert.match(tableGlobFault(pattern) ?? '', fault);
    });
  }
});

describe('the table filter', () => {
  it('takes every table where nothing is said', () => {
    assert.equal(createTableFilter(ALL)(ORDERS), true);
  });

  for (const [title, selection, taken] of [
    ['takes what is included', { ...ALL, include: ['web.*', 'shop.*'] }, true],
    ['leaves out what is not included', { ...ALL, include: ['web.*'] }, false],
    ['leaves out what is excluded, even where it is included', { include: ['shop.*'], exclude: ['*.orders'] }, false],
    ['takes a table with a part on the disk', { ...ALL, disk: 's3' }, true],
    ['leaves out a table without a part on the disk', { ...ALL, disk: 's' }, false],
    ['takes a table at a matching path', { ...ALL, zkPath: '/clickhouse/*' }, true],
    ['leaves out a table at another path', { ...ALL, zkPath: '/clickhouse' }, false],
    ['takes a listed table', { ...ALL, list: [{ database: 'shop', table: 'orders' }] }, true],
    ['takes a table listed for its host', { ...ALL, list: [{ host: 'ch-1', database: 'shop', table: 'orders' }] }, true],
    ['leaves out a table listed for another host', { ...ALL, list: [{ host: 'ch-2', database: 'shop', table: 'orders' }] }, false],
    ['leaves out what is not listed', { ...ALL, list: [{ database: 'shop.orders', table: '' }] }, false],
    ['leaves out what is listed and excluded', { exclude: ['shop.*'], include: [], list: [{ database: 'shop', table: 'orders' }] }, false],
    ['takes nothing by an empty list', { ...ALL, list: [] }, false],
  ] as const) {
    it(title, () => {
      assert.equal(createTableFilter(selection)(ORDERS), taken);
    });
  }

  it("looks at an auxiliary ensemble's path with its name in front", () => {
    const filter = createTableFilter({ ...ALL, zkPath: 'zk2:/clickhouse/*' });
    assert.equal(filter(ORDERS), false);
    assert.equal(filter({ ...ORDERS, zookeeperName: 'default' }), false);
    assert.equal(filter({ ...ORDERS, zookeeperName: 'zk2' }), true);
  });

  it('does without built-ins of Node, so that a workflow can use it', () => {
    const source = readFileSync(resolve(ROOT, 'dist/src/config/table-filter.js'), 'utf8');
    assert.deepEqual(
      [...source.matchAll(/require\("(.*?)"\)/g)].map((match) => match[1]),
      ['picomatch/posix'],
    );
  });
});
