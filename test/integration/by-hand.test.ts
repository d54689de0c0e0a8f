import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { restartHost } from '../../src/dev/stack';
import type { MigrationListing } from '../../src/client';
import { eventually, Ground, someTables } from '../support/stack';

describe('a restart by hand', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('hand');
  });

  afterEach(async () => {
    await ground.end();
  });

  it('is waited for in every view: status, list, watch, status file, details; and once it is done, in none', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0'));
    const before = await ground.oracle();
    await ground.startByHand();
    const asked = ground.hosts.map(({ name }) => `restart ${name} by hand now`);
    const asks = (text: string): boolean => asked.every((words) => text.includes(words));

    await eventually(async () => {
      const { migrations } = await ground.json<{ migrations: MigrationListing[] }>('list');
      const mine = migrations.find(({ id }) => id === ground.id);
      return mine?.outcome === 'waiting' && asks(mine.waitingFor?.reason ?? '');
    }, 'the list', { everyMs: 500 });
    await eventually(() => {
      const [header = ''] = readFileSync(ground.statusFile, 'utf8').split('\n');
      return header.includes('phase restart, waiting') && asks(header);
    }, 'the status file', { everyMs: 500 });
    await eventually(async () => {
      const details = await ground.details();
      return details.includes('restart, waiting') && asks(details);
    }, 'the details', { everyMs: 500 });
    assert.match((await ground.cli('list')).stdout, /waiting.*by hand/u);
    const exported = await ground.cli('export', ground.id);
    assert.ok(asks(exported.stdout.split('\n')[0] ?? ''), exported.stdout);
    const status = await ground.cli('status', ground.id);
    assert.equal(status.code, 4);
    // Its own word and the activity's are the same, and stand there once.
    for (const words of asked) assert.equal(status.stdout.split(words).length, 2, status.stdout);
    const watched = await ground.cli('watch', ground.id);
    assert.equal(watched.code, 4);
    assert.ok(asks(watched.stderr + watched.stdout), watched.stderr);

    for (const { name } of ground.hosts) await restartHost(ground.up.dir, name, { zkRoot: ground.root });
    const ended = await ground.until(({ outcome }) => outcome === 'completed' || outcome === 'failed', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.match(readFileSync(ground.statusFile, 'utf8'), /^# .*, completed, /u);
    assert.deepEqual(await ground.oracle(), before);
  });
});
