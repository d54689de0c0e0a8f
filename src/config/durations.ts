const UNITS = [
  { unit: 'd', ms: 86_400_000 },
  { unit: 'h', ms: 3_600_000 },
  { unit: 'm', ms: 60_000 },
  { unit: 's', ms: 1000 },
  { unit: 'ms', ms: 1 },
] as const;

const DURATION = /^(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/;

/** What a duration looks like, as a regular expression for other tools. */
export const DURATION_PATTERN = DURATION.source;

/** The longest duration that is accepted. */
export const MAX_DURATION_MS = 365 * 86_400_000;

/** Thrown for text that is no duration. */
export class DurationError extends Error {
  override readonly name = 'DurationError';
}

/**
 * A duration such as `2h`, `90s`, `1h30m`, `500ms` or `0s` in milliseconds: whole numbers with the units d, h, m, s, ms, the longest
 * first, each once, nothing between them.
 *
 * @throws {DurationError} for anything else, and for more than 365 days
 */
export function parseDuration(text: string): number {
  const match = DURATION.exec(text);
  if (match === null) throw new DurationError('expected a duration such as 90s, 2h, 1h30m or 500ms');
  const ms = UNITS.reduce((sum, { ms: each }, index) => sum + Number(match[index + 1] ?? 0) * each, 0);
  if (ms > MAX_DURATION_MS) throw new DurationError(`a duration is at most ${formatDuration(MAX_DURATION_MS)}`);
  return ms;
}

/** Milliseconds (a whole number, not negative) in the form that `parseDuration` reads: `5400000` as `1h30m`, `0` as `0s`. */
export function formatDuration(durationMs: number): string {
  let rest = durationMs;
  let text = '';
  for (const { unit, ms } of UNITS) {
    const count = Math.floor(rest / ms);
    if (count > 0) text += `${String(count)}${unit}`;
    rest -= count * ms;
  }
  return text === '' ? '0s' : text;
}
