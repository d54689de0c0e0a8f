import { ApplicationFailure, type Context } from '@temporalio/activity';

import { serverWords } from '../clickhouse/errors';
import { type FailureType, MigrationError, UNKNOWN_FAILURE_ATTEMPTS } from '../domain/failure';
import { ZooKeeperError } from '../zookeeper/errors';
import { currentContext, withHeartbeat } from './deps';

/** How long until a passing fault is tried again: soon at first, then calmly, for as long as it lasts. */
const RETRY_DELAYS_MS = [500, 1_000, 2_000, 4_000, 8_000] as const;

/**
 * Wraps an activity: it heartbeats while it runs, and whatever it throws leaves as an `ApplicationFailure` whose type is from the one
 * list. A passing fault is retried without end, a final one never, an unknown one {@link UNKNOWN_FAILURE_ATTEMPTS} times in a row
 * (counted in the heartbeat details, which an activity that throws keeps exactly).
 */
export function atBoundary<I, O>(work: (input: I) => Promise<O>): (input: I) => Promise<O> {
  return async (input) => {
    try {
      return await withHeartbeat(() => work(input));
    } catch (error) {
      throw toFailure(toMigrationError(error));
    }
  };
}

function toMigrationError(error: unknown): MigrationError {
  if (error instanceof MigrationError) return error;
  if (error instanceof ZooKeeperError) {
    return new MigrationError(typeOf(error), `ZooKeeper: ${error.message}`, { cause: error });
  }
  return new MigrationError('UNKNOWN', serverWords(error), { cause: error });
}

function typeOf({ code, transient }: ZooKeeperError): FailureType {
  if (transient) return 'ZOOKEEPER_UNAVAILABLE';
  switch (code) {
    case 'NO_AUTH':
      return 'ACCESS_DENIED';
    case 'PACKET_TOO_BIG':
      return 'PACKET_TOO_BIG';
    default:
      return 'UNKNOWN';
  }
}

function toFailure(error: MigrationError): ApplicationFailure {
  const context = currentContext();
  const unknownBefore = unknownFailures(context);
  const final = error.kind === 'final' || (error.kind === 'unknown' && unknownBefore + 1 >= UNKNOWN_FAILURE_ATTEMPTS);
  if (error.kind === 'unknown') context?.heartbeat({ doing: 'failed', unknownFailures: unknownBefore + 1 });
  const attempt = Math.max(1, context?.info.attempt ?? 1);
  const delay = RETRY_DELAYS_MS[Math.min(attempt, RETRY_DELAYS_MS.length) - 1] ?? 8_000;
  return ApplicationFailure.create({
    type: error.type,
    message: error.message,
    nonRetryable: final,
    details: [error.options.details ?? {}],
    ...(final ? {} : { nextRetryDelay: delay }),
    ...(error.cause instanceof Error ? { cause: new Error(serverWords(error.cause)) } : {}),
  });
}

function unknownFailures(context: Context | undefined): number {
  const details: unknown = context?.info.heartbeatDetails;
  if (typeof details !== 'object' || details === null || !('unknownFailures' in details)) return 0;
  return Number(details.unknownFailures) || 0;
}
