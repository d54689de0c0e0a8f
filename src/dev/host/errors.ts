/** A fault the host itself answers, in ClickHouse's form. */
export function exceptionText(code: number, name: string, message: string): string {
  return `Code: ${code}. DB::Exception: ${message} (${name})`;
}

const STATUS: ReadonlyMap<number, readonly number[]> = new Map([
  [400, [6, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 168, 441, 675, 676]],
  [401, [194]],
  [403, [192, 193, 511, 516, 746]],
  [404, [46, 47, 50, 56, 60, 63, 73, 81, 115, 456]],
  [408, [159]],
  [501, [48]],
  [503, [209, 439]],
]);

/**
 * The HTTP status that ClickHouse answers an exception with.
 *
 * Source: ClickHouse's `src/Server/HTTP/exceptionCodeToHTTPStatus.cpp`; what is not in its list is 500.
 */
export function httpStatusOf(code: number): number {
  for (const [status, codes] of STATUS) {
    if (codes.includes(code)) return status;
  }
  return 500;
}
