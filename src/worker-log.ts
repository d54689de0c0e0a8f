import { DefaultLogger, type LogEntry } from '@temporalio/worker';

import { describeFailure } from './client/pending';
import { oneLine } from './report/words';

/**
 * What a worker tells on stderr: a line for what went wrong, nothing for what goes well (the history has it). Temporal's own lines on
 * its states, its attributes and its stack traces are for its developers.
 *
 * @param print takes one line
 */
export function workerLogger(print: (line: string) => void): DefaultLogger {
  return new DefaultLogger('WARN', (entry) => {
    const line = logLine(entry);
    if (line !== undefined) print(line);
  });
}

/** The line of an entry; `undefined` for an attempt that only says what was said before. */
export function logLine({ level, message, meta = {}, timestampNanos }: LogEntry): string | undefined {
  const error: unknown = meta['error'] ?? meta['err'];
  if (error instanceof Error && describeFailure(error).code === 'RECALLED') return undefined;
  const attempt = Number(meta['attempt'] ?? 1);
  if (typeof meta['activityId'] === 'string' && error !== undefined && !isPowerOfTwo(attempt)) return undefined;
  const parts = [
    new Date(Number(timestampNanos / 1_000_000n)).toISOString(),
    level === 'ERROR' ? 'error:' : 'warning:',
    [meta['workflowId'], subject(message, meta, attempt), error === undefined ? undefined : errorWords(error)]
      .filter((part) => part !== undefined)
      .map((part) => oneLine(String(part)))
      .join(': '),
  ];
  return parts.join(' ');
}

/** A fault that lasts is told at the first, second, fourth, eighth, … attempt. */
function isPowerOfTwo(attempt: number): boolean {
  return Number.isInteger(Math.log2(attempt));
}

/** An activity's id names its step, host and table; the hash at its end tells apart ids that were cut. */
function subject(message: string, { activityId }: Readonly<Record<string, unknown>>, attempt: number): string {
  if (typeof activityId !== 'string') return message;
  const name = activityId.replace(/ [0-9a-f]{16}$/, '');
  return `${message}: ${name}${attempt > 1 ? ` (attempt ${String(attempt)})` : ''}`;
}

function errorWords(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : JSON.stringify(error);
  const { code, message } = describeFailure(error);
  return code === 'UNKNOWN' ? message : `${code}: ${message}`;
}
