import { ClickHouseError } from '@clickhouse/client';

import { type FailureType, MigrationError } from '../domain/failure';

/**
 * ClickHouse's error codes that mean something here, by number, never by text.
 *
 * Source: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
 */
export const CODES = {
  NOT_FOUND_COLUMN_IN_BLOCK: 10,
  ATTEMPT_TO_READ_AFTER_EOF: 32,
  CANNOT_READ_ALL_DATA: 33,
  BAD_ARGUMENTS: 36,
  CHECKSUM_DOESNT_MATCH: 40,
  UNKNOWN_IDENTIFIER: 47,
  NOT_IMPLEMENTED: 48,
  LOGICAL_ERROR: 49,
  TABLE_ALREADY_EXISTS: 57,
  UNKNOWN_TABLE: 60,
  SYNTAX_ERROR: 62,
  CANNOT_READ_FROM_FILE_DESCRIPTOR: 74,
  CANNOT_OPEN_FILE: 76,
  INCORRECT_QUERY: 80,
  RECEIVED_ERROR_FROM_REMOTE_IO_SERVER: 86,
  UNKNOWN_COMPRESSION_METHOD: 89,
  FILE_DOESNT_EXIST: 107,
  INCORRECT_DATA: 117,
  ILLEGAL_PREWHERE: 182,
  NO_FILE_IN_DATA_PART: 226,
  UNEXPECTED_FILE_IN_DATA_PART: 227,
  BAD_SIZE_OF_FILE_IN_DATA_PART: 228,
  CORRUPTED_DATA: 246,
  CANNOT_DECOMPRESS: 271,
  S3_ERROR: 499,
  AZURE_BLOB_STORAGE_ERROR: 500,
  POTENTIALLY_BROKEN_DATA_PART: 740,
  INDEX_NOT_USED: 277,
  UNKNOWN_DATABASE: 81,
  CANNOT_GET_CREATE_TABLE_QUERY: 390,
  TIMEOUT_EXCEEDED: 159,
  AUTHENTICATION_FAILED: 516,
  UNKNOWN_USER: 192,
  WRONG_PASSWORD: 193,
  REQUIRED_PASSWORD: 194,
  UNKNOWN_SETTING: 115,
  READONLY: 164,
  SETTING_CONSTRAINT_VIOLATION: 452,
  SOCKET_TIMEOUT: 209,
  NETWORK_ERROR: 210,
  QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: 216,
  TABLE_IS_READ_ONLY: 242,
  NO_ZOOKEEPER: 225,
  REPLICA_ALREADY_EXISTS: 253,
  QUERY_WAS_CANCELLED: 394,
  ACCESS_DENIED: 497,
  KEEPER_EXCEPTION: 999,
  ABORTED: 236,
  TOO_MANY_SIMULTANEOUS_QUERIES: 202,
  MEMORY_LIMIT_EXCEEDED: 241,
  TABLE_IS_PERMANENTLY_DETACHED: 737,
} as const;

/** What a server says of a table that it has not, attached or detached; it may say so of another table, or of a file, too. */
export const NO_SUCH_TABLE: readonly (number | undefined)[] = [CODES.UNKNOWN_TABLE, CODES.UNKNOWN_DATABASE, CODES.FILE_DOESNT_EXIST, CODES.CANNOT_GET_CREATE_TABLE_QUERY];

const TYPE_OF_CODE: ReadonlyMap<number, FailureType> = new Map([
  [CODES.UNKNOWN_TABLE, 'UNKNOWN_TABLE'],
  [CODES.UNKNOWN_DATABASE, 'UNKNOWN_TABLE'],
  [CODES.AUTHENTICATION_FAILED, 'AUTHENTICATION_FAILED'],
  [CODES.UNKNOWN_USER, 'AUTHENTICATION_FAILED'],
  [CODES.WRONG_PASSWORD, 'AUTHENTICATION_FAILED'],
  [CODES.REQUIRED_PASSWORD, 'AUTHENTICATION_FAILED'],
  [CODES.ACCESS_DENIED, 'ACCESS_DENIED'],
  [CODES.NO_ZOOKEEPER, 'ZOOKEEPER_UNAVAILABLE'],
  [CODES.KEEPER_EXCEPTION, 'ZOOKEEPER_UNAVAILABLE'],
  [CODES.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, 'STILL_RUNNING'],
  [CODES.TIMEOUT_EXCEEDED, 'STILL_RUNNING'],
  [CODES.TOO_MANY_SIMULTANEOUS_QUERIES, 'HOST_BUSY'],
  [CODES.MEMORY_LIMIT_EXCEEDED, 'HOST_BUSY'],
  [CODES.ABORTED, 'HOST_BUSY'],
  [CODES.SOCKET_TIMEOUT, 'HOST_BUSY'],
  [CODES.NETWORK_ERROR, 'HOST_BUSY'],
  [CODES.SYNTAX_ERROR, 'UNSUPPORTED'],
]);

/** The error's ClickHouse code, when the server itself answered with one. */
export function clickHouseCode(error: unknown): number | undefined {
  if (error instanceof MigrationError) return clickHouseCode(error.cause);
  const code = Number(error instanceof ClickHouseError ? error.code : olderCode(error));
  return Number.isInteger(code) ? code : undefined;
}

/** The client does not know the form that servers gave their errors until 2021: `Code: 115, e.displayText() = DB::Exception: …`, without a name. */
function olderCode(error: unknown): string | undefined {
  return error instanceof Error ? /^Code: (\d+)[.,] (?:e\.displayText\(\) = )?DB::Exception: /u.exec(error.message)?.[1] : undefined;
}

/** What a server said, in one line without its stack or version trailer, at most 600 characters. */
export function serverWords(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const [line = ''] = text.replace(/\s+/gu, ' ').split(/ \(version /u);
  return line.length > 600 ? `${line.slice(0, 597)}…` : line;
}

/**
 * Turns whatever a statement threw into a {@link MigrationError}: the server's own answer by its code; everything else (refused,
 * reset, half an answer, a time-out of ours) means that the host was not reached, and says nothing about the statement.
 */
export function toMigrationError(error: unknown, host: string, doing: string): MigrationError {
  if (error instanceof MigrationError) return error;
  const code = clickHouseCode(error);
  if (code === undefined) {
    return new MigrationError('HOST_UNREACHABLE', `${host}: no answer while ${doing}: ${serverWords(error)}`, {
      cause: error,
    });
  }
  const type = TYPE_OF_CODE.get(code) ?? 'UNKNOWN';
  return new MigrationError(type, `${host}: code ${code} while ${doing}: ${serverWords(error)}`, {
    cause: error,
    details: { host, code },
  });
}
