import assert from 'node:assert/strict';

import { insertsInto, loggedNames, together, writerWords } from '../../src/domain/writers';

describe('who writes into a table', () => {
  const table = { database: 'a b', table: 'it`s \\ "x"' };

  it('is seen by the target of an INSERT, however its names are quoted, and by nothing else in it', () => {
    for (const text of [
      'INSERT INTO `a b`.`it\\`s \\\\ "x"` VALUES (1)',
      'insert into table "a b"."it`s \\\\ ""x""" (c) SELECT 1',
      '-- a comment\n/* and */ INSERT INTO `a b` . `it``s \\\\ "x"` FORMAT CSV',
    ]) {
      assert.ok(insertsInto(text, 'default', table), text);
    }
    assert.ok(insertsInto('INSERT INTO t VALUES (1)', 'shop', { database: 'shop', table: 't' }));
    for (const text of ['INSERT INTO t VALUES (1)', 'INSERT INTO other.x SELECT * FROM shop.t', 'INSERT INTO shop.t2 VALUES (1)', 'SELECT 1', 'INSERT INTO FUNCTION remote(shop.t)']) {
      assert.ok(!insertsInto(text, 'default', { database: 'shop', table: 't' }), text);
    }
  });

  it('is looked for in the log under each form that its names may have there', () => {
    assert.deepEqual(loggedNames({ database: 'shop', table: 'a b' }), ['shop.a b', 'shop.`a b`', '`shop`.a b', '`shop`.`a b`']);
  });

  it('is one for each user, address and client, the busiest first, and some of many', () => {
    const writer = { user: 'u', address: '::1', client: '', inserts: 1 };
    const many = Array.from({ length: 6 }, (_, i) => ({ ...writer, user: `other ${i}` }));
    assert.equal(writerWords(together([writer, { ...writer, client: 'c' }, { ...writer, inserts: 2 }])), 'by user "u" from ::1, 3 INSERTs; by user "u" from ::1 (c), 1 INSERT');
    assert.match(writerWords(together([...many, { ...writer, address: '' }])), /^by user "other 0".*; by user "other 4" from ::1, 1 INSERT; and 2 more$/u);
    assert.equal(writerWords([]), '');
  });
});
