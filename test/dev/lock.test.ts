import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '../../src/dev/lock';
import { identify, isAlive } from '../../src/dev/processes';

describe('locks and processes of the stack', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'ch-zk-migrate-lock-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  it('lets one holder in at a time', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await sleep(5);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(path.join(dir, 'lock'), 10_000, work)));
    assert.equal(most, 1);
  });

  it('takes over the lock of a process that has died, also without time to wait', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    writeFileSync(path.join(dir, 'lock'), `${pid} 1`);
    assert.equal(await withLock(path.join(dir, 'lock'), -1, () => Promise.resolve('mine')), 'mine');
  });

  it('gives up on a lock that stays held', async () => {
    const file = path.join(dir, 'lock');
    await withLock(file, 1000, async () => {
      await assert.rejects(
        withLock(file, 100, () => Promise.resolve()),
        /the process \d+ holds /,
      );
    });
  });

  it('never takes another process for the one it knew', () => {
    const own = identify(process.pid);
    assert(own !== undefined && isAlive(own));
    assert.equal(isAlive({ ...own, startTicks: '1' }), false);
  });
});
