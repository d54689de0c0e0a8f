import assert from 'node:assert/strict';

import { hasReached, isReplicaStatus, moveCount, NO_COUNTS, STATUSES } from '../../src/domain/status';

describe("a replica's status", () => {
  it('has reached itself and what comes before it, nothing after it', () => {
    for (const [at, status] of STATUSES.entries()) {
      for (const [wantedAt, wanted] of STATUSES.entries()) assert.equal(hasReached(status, wanted), at >= wantedAt, `${status} ${wanted}`);
    }
  });

  it('has reached nothing when it was skipped', () => {
    for (const wanted of STATUSES) assert.equal(hasReached('SKIPPED', wanted), false);
  });

  it('is one of five words', () => {
    for (const word of [...STATUSES, 'SKIPPED']) assert.ok(isReplicaStatus(word));
    for (const word of ['restored', '', 'DONE', undefined, 5, null]) assert.equal(isReplicaStatus(word), false);
  });

  it('moves from one count to another, and none is lost or doubled', () => {
    const three = { ...NO_COUNTS, INIT: 3 };
    const moved = moveCount(moveCount(three, 'INIT', 'DETACHED'), 'INIT', 'SKIPPED');
    assert.deepEqual(moved, { INIT: 1, DETACHED: 1, ZK_CLEANED: 0, RESTORED: 0, SKIPPED: 1 });
    assert.equal(moveCount(moved, 'INIT', 'INIT'), moved);
    assert.deepEqual(three, { ...NO_COUNTS, INIT: 3 });
  });
});
