import assert from 'node:assert/strict';

import fc from 'fast-check';

import { quoteIdentifier, quoteString, quoteTable, statements } from '../../src/clickhouse/sql';

/** What ClickHouse's lexer makes of a quoted word, or undefined where the word ends before the text does. */
function unquote(text: string, quote: '`' | "'"): string | undefined {
  const escapes: Record<string, string> = { n: '\n', r: '\r', t: '\t', '0': '\0', b: '\b', f: '\f', a: '\x07', v: '\v', e: '\x1b' };
  if (!text.startsWith(quote) || !text.endsWith(quote) || text.length < 2) return undefined;
  let out = '';
  for (let i = 1; i < text.length - 1; i += 1) {
    const character = text[i] ?? '';
    if (character === quote) return undefined;
    if (character !== '\\') {
      out += character;
      continue;
    }
    i += 1;
    if (i >= text.length - 1) return undefined;
    const escaped = text[i] ?? '';
    out += escapes[escaped] ?? escaped;
  }
  return out;
}

const HOSTILE = ['`; DROP TABLE x; --', "it's", '\\', '\\`', '`\\', 'a\nb\tc\rd', '\0', '..', '%2e', '{x}', '{{', 'таблица 表 🦆', '"', '``', 'x'.repeat(300), ' ', ''];

describe('names in SQL', () => {
  for (const name of HOSTILE) {
    it(`come back as they were: ${JSON.stringify(name.slice(0, 30))}`, () => {
      assert.equal(unquote(quoteIdentifier(name), '`'), name);
      assert.equal(unquote(quoteString(name), "'"), name);
    });
  }

  it('come back as they were, whatever they are', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('`', "'", '\\', '\n', '\0', 'n', '0', ' ', 'é', '{', '"', ';') }), (name) => {
        assert.equal(unquote(quoteIdentifier(name), '`'), name);
        assert.equal(unquote(quoteString(name), "'"), name);
      }),
    );
  });

  it('stay one line: a statement in a log is a line', () => {
    for (const name of HOSTILE) assert.doesNotMatch(statements.detach({ database: name, table: name }), /[\n\r\0]/u);
  });

  it('of a database and a table cannot run into each other', () => {
    assert.notEqual(quoteTable({ database: 'a.b', table: 'c' }), quoteTable({ database: 'a', table: 'b.c' }));
    assert.notEqual(quoteTable({ database: 'a`.`b', table: 'c' }), quoteTable({ database: 'a', table: 'b`.`c' }));
  });

  it('are detached for good: a plain DETACH is undone by any start of the server', () => {
    assert.equal(statements.detach({ database: 'd', table: 't' }), 'DETACH TABLE `d`.`t` PERMANENTLY SYNC');
    assert.equal(statements.attachPart({ database: 'd', table: 't' }, "all'_1_1_0"), "ALTER TABLE `d`.`t` ATTACH PART 'all\\'_1_1_0'");
  });
});
