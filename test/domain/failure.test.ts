import assert from 'node:assert/strict';

import { ClickHouseError } from '@clickhouse/client';

import { CODES, serverWords, toMigrationError } from '../../src/clickhouse/errors';
import { FAILURE_KINDS, isFailureType, MigrationError } from '../../src/domain/failure';

function server(code: number, message = 'DB::Exception'): ClickHouseError {
  return new ClickHouseError({ message, code: String(code), type: 'X' });
}

describe('faults', () => {
  it('that pass by themselves are retried; those that do not are final', () => {
    for (const type of ['HOST_UNREACHABLE', 'ZOOKEEPER_UNAVAILABLE', 'STILL_RUNNING'] as const) assert.equal(FAILURE_KINDS[type], 'passing');
    for (const type of ['PROOF_FAILED', 'REPLICA_LIVE', 'UNSAFE_PATH', 'TABLE_CHANGED', 'HELD', 'AUTHENTICATION_FAILED', 'UNKNOWN_TABLE', 'MANIFEST_MISSING', 'DETACHED_COLLISION'] as const) {
      assert.equal(FAILURE_KINDS[type], 'final', type);
    }
    assert.equal(new MigrationError('UNKNOWN', 'x').kind, 'unknown');
  });

  it('have a type from the one list, whatever JavaScript objects inherit', () => {
    assert.ok(isFailureType('HELD'));
    for (const word of ['toString', '__proto__', 'held', '', undefined, 3]) assert.equal(isFailureType(word), false);
  });

  it('of a server are told by its code, never by its words', () => {
    assert.equal(toMigrationError(server(CODES.KEEPER_EXCEPTION), 'ch-1', 'looking').type, 'ZOOKEEPER_UNAVAILABLE');
    assert.equal(toMigrationError(server(CODES.UNKNOWN_TABLE), 'ch-1', 'looking').type, 'UNKNOWN_TABLE');
    assert.equal(toMigrationError(server(CODES.AUTHENTICATION_FAILED), 'ch-1', 'looking').type, 'AUTHENTICATION_FAILED');
    assert.equal(toMigrationError(server(12_345, 'Authentication failed: Keeper exception, timeout'), 'ch-1', 'looking').type, 'UNKNOWN');
  });

  it('without an answer say only that the host was not reached', () => {
    for (const error of [new Error('ECONNREFUSED'), new SyntaxError('Unexpected end of JSON input'), 'a string']) {
      assert.equal(toMigrationError(error, 'ch-1', 'looking').type, 'HOST_UNREACHABLE');
    }
  });

  it('keep the type they were given', () => {
    const given = new MigrationError('HELD', 'x');
    assert.equal(toMigrationError(given, 'ch-1', 'looking'), given);
  });

  it('say what the server said in one short line', () => {
    assert.equal(serverWords(new Error('Code: 36.\nDB::Exception: nothing to restore. (BAD_ARGUMENTS) (version 26.7.2.1)')), 'Code: 36. DB::Exception: nothing to restore. (BAD_ARGUMENTS)');
    assert.ok(serverWords(new Error('x'.repeat(5_000))).length <= 600);
  });
});
