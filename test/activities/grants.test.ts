import assert from 'node:assert/strict';

import { neededGrants } from '../../src/activities/grants';
import type { ListedReplica } from '../../src/activities/inspect';
import type { HostSpec } from '../../src/domain/spec';

const HOST = { restart: { strategy: { kind: 'none' } } } as unknown as HostSpec;
const SHOP = { selected: true, replica: { database: 'shop' } } as unknown as ListedReplica;

describe('the rights that a run needs', () => {
  it('to read rows are those alone of tables whose blobs are read', () => {
    const toRead = (zeroCopy: readonly ListedReplica[], blobs: 'read' | 'full' | 'locks'): boolean => neededGrants(HOST, [SHOP], zeroCopy, blobs).includes('SELECT ON `shop`.*');
    assert.deepEqual([toRead([SHOP], 'read'), toRead([SHOP], 'full'), toRead([SHOP], 'locks'), toRead([], 'read')], [true, true, false, false]);
  });

  it('of a zero-copy table are those to stop what removes parts, however its blobs are proved, and never one on a cache', () => {
    for (const blobs of ['read', 'full', 'locks'] as const) {
      const needed = neededGrants(HOST, [SHOP], [SHOP], blobs);
      assert.deepEqual(needed.filter((grant) => /^SYSTEM (?:MOVES|CLEANUP) /u.test(grant)), ['SYSTEM MOVES ON `shop`.*', 'SYSTEM CLEANUP ON `shop`.*']);
      assert.deepEqual(needed.filter((grant) => grant.includes('CACHE')), []);
    }
  });
});
