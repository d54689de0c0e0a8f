import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(__dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'docs/safety.md'), 'utf8');

/** Each test file that a text names, with the titles in “…” that follow it. */
function named(text: string): { file: string; titles: string[] }[] {
  return [...text.matchAll(/`(test\/[\w/.-]+\.ts)`([^]*?)(?=`test\/|$)/gu)].map(([, file = '', rest = '']) => ({
    file,
    titles: [...rest.matchAll(/“([^”]*)”/gu)].map(([, title = '']) => title.replace(/\s+/gu, ' ')),
  }));
}

/** The titles of a test file's tests and groups, as they are written there. */
function titlesOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  return [...source.matchAll(/\b(?:it|describe)\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/gu)].map(([, , title = '']) => title.replace(/\\([^])/gu, '$1'));
}

describe('docs/safety.md', () => {
  it('each test that it names exists, in that file and under that title', () => {
    const all = named(PAGE);
    assert.ok(all.length > 20, String(all.length));
    const faults = all.flatMap(({ file, titles }) => {
      if (!existsSync(join(ROOT, file))) return [`${file}: no such file`];
      const known = titlesOf(file);
      return titles.filter((title) => !known.includes(title)).map((title) => `${file}: no test “${title}”`);
    });
    assert.deepEqual(faults, []);
  });

  it('each promise has a test', () => {
    const rows = [...PAGE.matchAll(/^\| (\d+a?) \|.*$/gmu)].map(([row, number = '']) => ({ number, tests: named(row) }));
    assert.deepEqual(rows.map(({ number }) => number).filter((number) => /^\d+$/u.test(number)).map(Number), Array.from({ length: 13 }, (_, i) => i + 1));
    assert.deepEqual(rows.filter(({ tests }) => tests.length === 0 || tests.some(({ titles }) => titles.length === 0)).map(({ number }) => number), []);
  });
});
