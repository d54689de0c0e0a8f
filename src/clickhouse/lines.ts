const LINE_END = 0x0a;

/** What is read is no list of lines: one has no end within what a line may have. */
export class LongLineError extends Error {
  override readonly name = 'LongLineError';
}

/**
 * Gives each line of a stream to `take`, without its end, as it comes: no more than one piece of the stream and one line are kept. A last line
 * needs no end.
 *
 * @param mostBytes how long a line may be
 * @throws LongLineError when one is longer; whatever the stream or `take` throws
 */
export async function eachLine(stream: AsyncIterable<unknown>, mostBytes: number, take: (line: Buffer) => void): Promise<void> {
  let rest = Buffer.alloc(0);
  const refuseLong = (length: number): void => {
    if (length > mostBytes) throw new LongLineError(`a line of more than ${mostBytes} bytes`);
  };
  for await (const piece of stream) {
    const chunk = Buffer.concat([rest, piece as Buffer]);
    let from = 0;
    for (let end = chunk.indexOf(LINE_END); end >= 0; end = chunk.indexOf(LINE_END, from)) {
      refuseLong(end - from);
      take(chunk.subarray(from, end));
      from = end + 1;
    }
    rest = chunk.subarray(from);
    refuseLong(rest.length);
  }
  if (rest.length > 0) take(rest);
}
