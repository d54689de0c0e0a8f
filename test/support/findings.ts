import assert from 'node:assert/strict';

import type { Finding } from '../../src/domain/summary';
import type { Ground, SpecDocument } from './stack';

interface Found {
  readonly refusals: Finding[];
  readonly warnings: Finding[];
}

/** Said of every plan with a table that was inserted into, and a test's own matter only once. */
const OF_NEARLY_ALL = 'DEDUPLICATION';

/** What `plan` finds: exit 3 where it refuses, and every finding says where, what, and what to do. Without `DEDUPLICATION`. */
export async function planned(ground: Ground, change: (document: SpecDocument) => void = () => undefined, ...args: string[]): Promise<Found> {
  const done = await ground.cli('plan', ground.spec(change), '--json', ...args);
  const found = JSON.parse(done.stdout) as Found;
  assert.equal(done.code, found.refusals.length > 0 ? 3 : 0, `${done.stdout}\n${done.stderr}`);
  for (const { message, fix } of [...found.refusals, ...found.warnings]) assert.ok(message !== '' && fix !== '', JSON.stringify(found));
  return { refusals: found.refusals, warnings: found.warnings.filter(({ code }) => code !== OF_NEARLY_ALL) };
}

/** The codes of findings, each once, in order. */
export function codes(found: readonly Pick<Finding, 'code'>[]): string[] {
  return [...new Set(found.map(({ code }) => code))].sort();
}

/** `code table` of each finding, once, in order. */
export function words(found: readonly Pick<Finding, 'code' | 'table'>[]): string[] {
  return [...new Set(found.map(({ code, table }) => (table === undefined ? code : `${code} ${table}`)))].sort();
}
