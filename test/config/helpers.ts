import assert from 'node:assert/strict';
import { resolve } from 'node:path';

import type { MigrationSpec } from '../../src/domain/spec';
import { type ParseOptions, parseSpec, SpecError, type SpecFault } from '../../src/config/load-spec';

/** The checkout, seen from `dist/test/config`. */
export const ROOT = resolve(__dirname, '../../..');

export function specOf(text: string, options?: ParseOptions): MigrationSpec {
  return parseSpec(text, options).spec;
}

/** The faults of a text that must have some. */
export function faultsOf(text: string, options?: ParseOptions): readonly SpecFault[] {
  return specError(() => parseSpec(text, options)).faults;
}

export function specError(act: () => unknown): SpecError {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof SpecError, `not a SpecError: ${String(error)}`);
    assert.equal(error.code, 'BAD_SPEC');
    return error;
  }
  throw new assert.AssertionError({ message: 'the spec was accepted' });
}

/** Asserts that exactly one fault is found, where it is and what it says. */
export function assertFault(text: string, path: string, line: number | undefined, message: RegExp, options?: ParseOptions): void {
  const faults = faultsOf(text, options);
  const summary = JSON.stringify(faults, undefined, 1);
  assert.equal(faults.length, 1, summary);
  assert.equal(faults[0]?.path, path, summary);
  assert.equal(faults[0].line, line, summary);
  assert.match(faults[0].message, message);
}

/**
 * A sound spec of two hosts that move, block by block, so that a test can replace one. Lines: id 1, clickhouse 2, its hosts 4 and 5,
 * restart 6, zookeeper 7, `rest` from 8.
 */
export function specText(parts: { id?: string; host?: string; restart?: string; zookeeper?: string; rest?: string } = {}): string {
  return [
    `id: ${parts.id ?? 'move'}`,
    'clickhouse:',
    '  hosts:',
    `    - ${parts.host ?? '{ name: ch-1, url: "http://ch-1:8123" }'}`,
    '    - { name: ch-2, url: "http://ch-2:8123" }',
    `  restart: ${parts.restart ?? '{ sql: true }'}`,
    `zookeeper: ${parts.zookeeper ?? '{ connect: "zk-1:2181", after: { root: /new } }'}`,
    parts.rest ?? '',
  ].join('\n');
}
