import assert from 'node:assert/strict';

import fc from 'fast-check';

import { DurationError, formatDuration, MAX_DURATION_MS, parseDuration } from '../../src/config/durations';

describe('durations', () => {
  for (const [text, ms] of [
    ['2h', 7_200_000],
    ['90s', 90_000],
    ['0s', 0],
    ['500ms', 500],
    ['1h30m', 5_400_000],
    ['1d', 86_400_000],
    ['5m', 300_000],
    ['1m5ms', 60_005],
  ] as const) {
    it(`${text} is ${String(ms)} ms`, () => {
      assert.equal(parseDuration(text), ms);
    });
  }

  for (const text of [
    '',
    '2',
    'h',
    '2 h',
    '-1s',
    '1.5h',
    '30m1h',
    '1h1h',
    '2H',
    '2hours',
    '1e3s',
    '９s',
    '366d',
    '99999999999999999999s',
    '1h\n',
  ]) {
    it(`${JSON.stringify(text)} is refused`, () => {
      assert.throws(() => parseDuration(text), DurationError);
    });
  }

  it('what is formatted reads back as the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_DURATION_MS }), (ms) => {
        assert.equal(parseDuration(formatDuration(ms)), ms);
      }),
    );
  });

  it('is formatted in the largest units', () => {
    assert.deepEqual([0, 1, 90_000, 5_400_000, 90_061_001].map(formatDuration), ['0s', '1ms', '1m30s', '1h30m', '1d1h1m1s1ms']);
  });
});
