import assert from 'node:assert/strict';

import { escapeMarkdown } from '../../src/domain/markdown';
import { RateMeter } from '../../src/domain/progress';
import { detailsText } from '../../src/workflows/details';
import { named } from '../../src/workflows/runner';
import { summary } from '../report/summaries';

const HOSTILE = ['<img src=x onerror=alert(1)>', '| a | b |', '**bold** _it_ `code`', '[link](javascript:alert(1))', '![i](x)', '# head\n- item', '\u202eevil\u200b', 'bell\u0007', '&lt;', '\\', '~~x~~', '$x$', '{x}'];

describe('text for the Web UI', () => {
  for (const name of HOSTILE) {
    it(`leaves no name that means anything to it: ${JSON.stringify(name)}`, () => {
      const text = escapeMarkdown(name);
      assert.doesNotMatch(text, /[<>\n\r\p{Cc}\p{Cf}]/u);
      // Every character that markdown knows is escaped, and nothing else is.
      assert.doesNotMatch(text.replace(/\\[\\`*_{}[\]()#+!|~$]/gu, ''), /[\\`*_{}[\]()#+!|~$]/u);
      assert.doesNotMatch(text, /&(?!amp;|lt;|gt;)/u);
    });
  }

  it('keeps its tables and lists whole, whatever the names are', () => {
    const evil = HOSTILE.join(' ');
    const page = (name: string): string =>
      detailsText({
        ...summary({ outcome: 'failed', failuresTotal: 1 }),
        id: name,
        failures: [{ host: name, database: name, table: name, phase: 'detach', code: 'UNKNOWN', message: name }],
        hosts: [{ host: name, done: 1, failed: 1, total: 2 }],
        waitingFor: { reason: name, gate: null },
        statusFileError: name,
      }, new RateMeter());
    const shape = (text: string): string[] => text.split('\n').map((line) => line.replaceAll('\\|', '').replace(/[^|]/gu, ''));
    assert.deepEqual(shape(page(evil)), shape(page('plain')));
    assert.doesNotMatch(page(evil), /<|>/u);
  });

  it('has a very long name whole, and one of another alphabet as it is', () => {
    for (const name of ['x'.repeat(5_000), 'база таблица', '表格', 'ジャーナル', 'é è ñ', '🦆 '.repeat(500).trim()]) {
      const text = detailsText({
        ...summary({ outcome: 'failed', failuresTotal: 1 }),
        failures: [{ host: name, database: name, table: name, phase: 'detach', code: 'UNKNOWN', message: name }],
        hosts: [{ host: name, done: 1, failed: 1, total: 2 }],
      }, new RateMeter());
      assert.ok(text.includes(`- ${name} ${name}.${name} (detach) UNKNOWN: ${name}`), text);
      assert.ok(text.includes(`| ${name} | 1 | 1 | 2 |`), text);
    }
  });
});

describe('the pace in the text for the Web UI', () => {
  const at = (outcome: 'running' | 'waiting', meter: RateMeter): string =>
    detailsText(summary({ outcome, hosts: [{ host: 'ch-1', done: 60, failed: 0, total: 100 }], updated: '2026-01-01T00:00:30.000Z' }), meter);

  it('is the rate of the last half minute, the time that is left at it, and when that was so', () => {
    const meter = new RateMeter();
    meter.add('detach', 0, 0);
    meter.add('detach', 30_000, 60);
    assert.match(at('running', meter), /^\*\*2\.0 tables\/s, ETA 20s\*\*, as of 2026-01-01T00:00:30\.000Z$/mu);
    assert.doesNotMatch(at('waiting', meter), /tables\/s/u);
    assert.doesNotMatch(at('running', new RateMeter()), /tables\/s/u);
  });
});

describe('activities', () => {
  it('are named after their table, however long and strange its name is, and no two alike', () => {
    const long = { host: 'ch-1', database: 'd', table: `${'x'.repeat(228)}🦆🦆🦆🦆${'y'.repeat(300)}` };
    for (let cut = 0; cut < 4; cut += 1) {
      const { activityId = '', summary: words = '' } = named('detach', { ...long, database: 'd'.repeat(cut + 1) }, 'q');
      for (const text of [activityId, words]) {
        assert.doesNotMatch(text, /\p{Cs}/u);
        assert.ok(Buffer.byteLength(text) < 400, String(text.length));
      }
    }
    const ids = [['a', 'b.c'], ['a.b', 'c'], ['a b', 'c'], ['a\nb', 'c'], ['a\tb', 'c']].map(([database = '', table = '']) => named('detach', { host: 'h', database, table }, 'q').activityId);
    assert.equal(new Set(ids).size, ids.length);
  });
});
