import assert from 'node:assert/strict';

import { Pulse, STALL_LIMIT_MS } from '../../src/activities/fence';

describe('a pulse', () => {
  let now = { monotonic: 0, wall: 1_000_000 };
  const pulse = (): Pulse => new Pulse({ monotonic: () => now.monotonic, wall: () => now.wall });
  const passes = (monotonic: number, wall = monotonic): void => {
    now = { monotonic: now.monotonic + monotonic, wall: now.wall + wall };
  };

  it('sees nothing in a process that runs, however long', () => {
    const running = pulse();
    for (let beats = 0; beats < 100; beats += 1) {
      passes(STALL_LIMIT_MS - 1);
      assert.equal(running.stalledMs(), undefined);
    }
  });

  it('sees that the process stood still, also when a beat came first, and does not forget it', () => {
    const stopped = pulse();
    passes(STALL_LIMIT_MS + 1);
    stopped.beat();
    passes(10);
    assert.equal(stopped.stalledMs(), STALL_LIMIT_MS + 1);
    assert.equal(stopped.stalledMs(), STALL_LIMIT_MS + 1);
  });

  it('sees that the machine was suspended, when only the wall clock went on', () => {
    const suspended = pulse();
    passes(5, 60_000);
    assert.equal(suspended.stalledMs(), 60_000);
  });

  it('takes a wall clock that was set back for nothing', () => {
    const set = pulse();
    passes(5, -3_600_000);
    assert.equal(set.stalledMs(), undefined);
  });
});
