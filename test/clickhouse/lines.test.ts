import assert from 'node:assert/strict';

import { eachLine, LongLineError } from '../../src/clickhouse/lines';

async function linesOf(pieces: readonly string[], mostBytes = 100): Promise<string[]> {
  const lines: string[] = [];
  async function* stream(): AsyncGenerator<Buffer> {
    for (const piece of pieces) yield await Promise.resolve(Buffer.from(piece));
  }
  await eachLine(stream(), mostBytes, (line) => lines.push(line.toString()));
  return lines;
}

describe('the lines of a stream', () => {
  it('are whole, wherever its pieces end', async () => {
    const text = 'one\ntwo\n\nthree, longer than a piece\nlast';
    for (let size = 1; size <= text.length; size += 1) {
      const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, at) => text.slice(at * size, (at + 1) * size));
      assert.deepEqual(await linesOf(pieces), text.split('\n'));
    }
  });

  it('are none of an empty stream, and an end adds none', async () => {
    assert.deepEqual(await linesOf([]), []);
    assert.deepEqual(await linesOf(['a\n']), ['a']);
    assert.deepEqual(await linesOf(['\n']), ['']);
  });

  it('that are too long are refused, also one without an end', async () => {
    assert.deepEqual(await linesOf(['x'.repeat(100), '\n']), ['x'.repeat(100)]);
    await assert.rejects(linesOf([`${'x'.repeat(101)}\n`]), LongLineError);
    await assert.rejects(linesOf(Array.from({ length: 11 }, () => 'x'.repeat(10))), LongLineError);
  });
});
