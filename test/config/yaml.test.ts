import assert from 'node:assert/strict';

import { assertFault, faultsOf, specOf, specText } from './helpers';

describe('a spec as YAML', () => {
  for (const [title, text, line, message] of [
    ['an empty file', '', 1, /empty/],
    ['a file of comments', '# nothing\n', 1, /empty/],
    ['a list', '- a\n', 1, /expected a mapping.*found a list/],
    ['a text', '\n\nhello\n', 3, /expected a mapping.*found a string/],
    ['an open bracket', 'id: a\nclickhouse: [1, 2\n', 3, /left open/],
    ['an open quote', 'id: "a\n', 2, /missing/],
    ['a tab for indentation', 'id: a\nclickhouse:\n\thosts: []\n', 3, /tab/],
    ['a second document', 'id: a\n---\nid: b\n', 2, /one document/],
    ['an unknown tag', 'id: !vault abc\n', 1, /tag/],
    ['an alias of nothing', 'id: *nothing\n', 1, /alias|YAML/],
    ['an alias of itself', 'id: &a [*a]\n', 1, /./],
    ['another version of YAML', '%YAML 1.1\n---\nid: yes\n', 1, /1\.2/],
    ['a mapping for a key', '? { a: b }\n: c\n', 1, /key/],
  ] as const) {
    it(`refuses ${title}, with its line`, () => {
      const fault = faultsOf(text).find((each) => message.test(each.message));
      assert.equal(fault?.line, line, JSON.stringify(faultsOf(text)));
    });
  }

  it('refuses aliases that stand for too much', () => {
    const levels = Array.from(
      { length: 10 },
      (_, index) => `a${String(index + 1)}: &a${String(index + 1)} [${Array.from({ length: 10 }, () => `*a${String(index)}`).join(', ')}]`,
    );
    assertFault(['a0: &a0 [x]', ...levels].join('\n'), '', 1, /aliases/);
  });

  for (const [title, piece] of [
    ['lists', '['],
    ['mappings', '{a: '],
    ['items', '- '],
    ['explicit keys', '? '],
  ] as const) {
    for (const depth of [150, 2000, 10_000]) {
      it(`refuses ${String(depth)} ${title} in each other, and lives on`, () => {
        assertFault(`# deep\n${piece.repeat(depth)}`, '', 2, /nested too deeply/);
      }).timeout(300_000);
    }
  }

  it('finds every key that is written twice, and goes on', () => {
    const text = `${specText({ restart: '{ sql: true, sql: true }' })}\nid: again\nholdOnFailure: 1\n`;
    assert.deepEqual(
      faultsOf(text).map(({ path, line, message }) => [path, line, message.replace(/;.*|,.*/, '')]),
      [
        ['clickhouse.restart.sql', 6, 'the key is written twice'],
        ['id', 9, 'the key is written twice'],
        ['holdOnFailure', 10, 'a duration needs a unit'],
      ],
    );
  });

  it('does not repeat what stands in a line that it cannot read', () => {
    for (const text of [
      'password: "hunter2\n',
      'a: hunter2: x\n',
      '@hunter2',
      'x: "\\hunter2"',
      '- hunter2\nb: c',
      '&a *hunter2',
      '%hunter2\n---\na',
      'a: !hunter2 b',
      '*hunter2',
    ]) {
      assert.doesNotMatch(JSON.stringify(faultsOf(text)), /hunter2/, text);
    }
  });

  it('takes anchors and aliases', () => {
    const spec = specOf(specText({ restart: '{ command: &c [ssh, "{host}"], reconfigure: *c }' }));
    assert.deepEqual(spec.hosts[0]?.restart.reconfigure, ['ssh', 'ch-1']);
  });

  it('points at the alias for a fault in what it stands for', () => {
    assertFault(
      specText({ restart: '{ sql: true, reconfigure: &c ["{x}"] }', host: '{ name: ch-1, url: "http://a" }' }),
      'clickhouse.restart.reconfigure[0]',
      6,
      /\{x\}/,
    );
  });

  it('says that merge keys are not read', () => {
    assertFault(specText({ rest: '<<: { id: x }' }), '["<<"]', 8, /merge/);
  });
});
