import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { CLI, Ground, someTables, sql } from '../support/stack';

interface LogLine {
  readonly time: string;
  readonly text?: string;
}

describe('hosts that are restarted in SQL', function () {
  this.timeout(600_000);
  let ground: Ground;

  afterEach(async () => {
    await ground.end();
  });

  it('are reconfigured and shut down one after the other, each when the one before it is back with its tables', async () => {
    ground = await Ground.on('sql');
    await ground.seed(someTables(ground.database, 2));
    const before = await ground.oracle();
    const marks = ground.marks();
    const spec = ground.spec((document) => {
      const reconfigure = [process.execPath, CLI, 'dev', 'reconfigure-host', '{host}', '--zk-root', ground.root, '--dir', ground.up.dir];
      document.clickhouse.restart = { reconfigure, sql: true };
    });
    const done = await ground.cli('start', spec, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
    const spans = ground.hosts.map((host) => {
      const lines = readFileSync(host.statementLog).subarray(marks[host.name]).toString().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as LogLine);
      const shutdowns = lines.filter(({ text }) => text === 'SYSTEM SHUTDOWN');
      assert.equal(shutdowns.length, 1, host.name);
      const attached = lines.filter(({ text }) => text?.startsWith('ATTACH TABLE') === true).map(({ time }) => time);
      assert.ok(attached.length > 0);
      return { down: shutdowns[0]?.time ?? '', back: attached[0] ?? '' };
    });
    const [one, two] = [...spans].sort((a, b) => (a.down < b.down ? -1 : 1));
    assert.ok(one !== undefined && two !== undefined && one.back < two.down, JSON.stringify(spans));
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
  });
});
