import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { MigrationSummary } from '../../src/domain/summary';
import { Ground, pause, someTables, sql } from '../support/stack';

const TABLES = 10;
const RESTORE = /^SYSTEM RESTORE REPLICA/u;

/** Tables that take a second each: more of them are in flight in a worker than statements. */
async function slowTables(ground: Ground): Promise<void> {
  await ground.seed(
    Array.from({ length: TABLES }, (_, i) => ({
      database: ground.database, name: `slow ${i}`, columns: 'part UInt16, x UInt64', partitionBy: 'part', orderBy: 'x',
      data: [{ select: 'SELECT number % 240, number FROM numbers(960)' }],
    })),
    { replicate: false },
  );
}

describe('what waits for its turn in a worker', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('turns');
    await slowTables(ground);
  });

  afterEach(async () => {
    await ground.end();
  });

  async function untilRestoring(): Promise<{ before: Record<string, string>; marks: Record<string, number> }> {
    const before = await ground.oracle();
    const marks = ground.marks();
    ground.worker();
    const spec = ground.spec((document) => (document['parallel'] = { detach: 4, clean: 4, restore: 1 }));
    assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
    await ground.until(() => ground.statements(marks, RESTORE).length > 0, 'the first RESTORE');
    return { before, marks };
  }

  it('is not begun once the migration is paused, by one replica or the other, and is begun once when it goes on', async () => {
    const { before, marks } = await untilRestoring();
    assert.equal((await ground.cli('pause', ground.id)).code, 0);
    const sentBefore = ground.statements(marks, RESTORE).length;
    const paused = await ground.until(({ waitingFor }) => waitingFor?.reason.startsWith('paused') === true, 'nothing in flight');
    assert.equal((paused as unknown as MigrationSummary).inFlight, 0);
    const sent = ground.statements(marks, RESTORE).length;
    // Four tables of two replicas are in flight: what begins in the second that it takes to ask again is two or three.
    assert.ok(sent <= sentBefore + 4 && sent < 2 * TABLES, `${sent} RESTOREs were sent before it stood still, ${sentBefore} of them before the pause`);
    assert.equal(paused.counts.RESTORED, sent, 'what was begun has ended, proved');
    await pause(4_000);
    assert.equal(ground.statements(marks, RESTORE).length, sent);
    assert.equal((await ground.cli('resume', ground.id)).code, 0);
    const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.equal(ground.statements(marks, RESTORE).length, 2 * TABLES);
    assert.deepEqual(await ground.oracle(), before);
    const report = await ground.cli('report', ground.id);
    assert.doesNotMatch(report.stdout, /RECALLED/u, 'it is no failure, and is not told as one');
  });

  it('is not begun once the migration is aborted: the abort looks at its table anew', async () => {
    const { before } = await untilRestoring();
    assert.equal((await ground.cli('abort', ground.id)).code, 0);
    const ended = await ground.until(({ outcome }) => outcome !== 'running', 'the end');
    assert.equal(ended.outcome, 'aborted', JSON.stringify(ended));
    assert.deepEqual(ended.failures, []);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('follows a limit that is raised meanwhile', async () => {
    const { before } = await untilRestoring();
    assert.equal((await ground.cli('set', ground.id, 'parallel.restore=4')).code, 0);
    const ended = await ground.until(({ outcome }) => outcome !== 'running', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual(await ground.oracle(), before);
  });
});

describe('a pause', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('pause');
    await ground.seed(someTables(ground.database, 1));
  });

  afterEach(async () => {
    await ground.end();
  });

  it('holds up the inventory as well, and says of a restart that it still runs', async () => {
    const before = await ground.oracle();
    const holdsUp = join(ground.dir, 'go on');
    const script = `const fs = require('node:fs'); const [file, command, ...args] = process.argv.slice(1);
      const timer = setInterval(() => { if (fs.existsSync(file)) { clearInterval(timer); require('node:child_process').execFileSync(command, args); } }, 100);`;
    const spec = ground.spec(({ clickhouse }) => {
      clickhouse.restart['command'] = [process.execPath, '-e', script, holdsUp, ...(clickhouse.restart['command'] as string[])];
    });
    // Nobody polls yet: the pause is there before the preflight is.
    assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
    await ground.temporal('workflow', 'signal', '--workflow-id', ground.id, '--name', 'pause');
    ground.worker();
    const first = await ground.until((status) => status.waitingFor !== null && (status as unknown as { totals: { replicas: number } }).totals.replicas > 0, 'the pause after the preflight');
    await pause(2_000);
    assert.equal(first.phase, 'preflight');
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, "SELECT name FROM system.tables WHERE database = '_ch_zk_migrate' AND name = 'inventory' AND total_rows > 0"), []);
    assert.equal((await ground.cli('resume', ground.id)).code, 0);

    await ground.until(({ phase }) => phase === 'restart', 'the restart');
    assert.equal((await ground.cli('pause', ground.id)).code, 0);
    const running = await ground.until(({ waitingFor }) => waitingFor !== null, 'the pause in the restart');
    assert.match(running.waitingFor?.reason ?? '', /^pausing, \d+ still run/u);
    const marks = ground.marks();
    writeFileSync(holdsUp, '');
    await ground.until(({ waitingFor }) => waitingFor?.reason.startsWith('paused') === true, 'nothing in flight');
    assert.deepEqual(ground.statements(marks, /^ATTACH TABLE/u), []);
    assert.equal((await ground.cli('resume', ground.id)).code, 0);
    const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual(await ground.oracle(), before);
  });
});
