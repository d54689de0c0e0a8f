import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { cacheDir } from '../../src/dev/cache';
import type { StackDescription } from '../../src/dev/stack';
import { CLI, run, sql } from '../support/stack';

describe('dev, as commands', function () {
  this.timeout(600_000);
  let home = '';
  let dir = '';
  before(() => {
    home = mkdtempSync(path.join(os.tmpdir(), 'ch-zk-migrate-dev-'));
    dir = path.join(home, 'stack');
    // Which stack came up last is noted in the cache, and is none of this test's business.
    const cache = path.join(home, 'cache');
    mkdirSync(cache);
    for (const name of readdirSync(cacheDir()).filter((one) => /^(?:bin|temporal|zookeeper)/u.test(one))) symlinkSync(path.join(cacheDir(), name), path.join(cache, name));
  });
  after(async () => {
    await dev('down');
    rmSync(home, { recursive: true, force: true });
  });

  async function dev(...args: string[]): Promise<StackDescription> {
    const [verb = '', ...rest] = args;
    const { exitCode, stdout, stderr } = await execa(process.execPath, [CLI, 'dev', verb, ...rest, '--dir', dir, '--json'], {
      ...{ env: { CH_ZK_MIGRATE_CACHE: path.join(home, 'cache') }, reject: false, stdin: 'ignore' },
    });
    assert.equal(exitCode, 0, stdout + stderr);
    return JSON.parse(stdout) as StackDescription;
  }

  it('up, kill, start and down say where everything is; what was written is there again after down and up', async () => {
    const up = await dev('up', '--hosts', '1');
    const [host] = up.hosts;
    assert.ok(host !== undefined && up.hosts.length === 1);
    assert.ok((await fetch(up.temporal.ui)).ok);
    for (const address of [up.temporal.address, up.zookeeper.connect, new URL(host.url).host]) assert.match(address, /^127\.0\.0\.1:\d+$/u);
    await run(host.url, 'CREATE TABLE default.kept (x UInt8) ENGINE = MergeTree ORDER BY x', 'INSERT INTO default.kept VALUES (7)');
    assert.equal((await dev('kill', host.name)).hosts[0]?.pid, null);
    await assert.rejects(sql(host.url, 'SELECT 1'));
    assert.equal((await dev('status')).running, false);
    assert.notEqual((await dev('start', host.name)).hosts[0]?.pid, null);
    assert.deepEqual(await sql(host.url, 'SELECT x FROM default.kept'), [{ x: 7 }]);
    assert.equal((await dev('down')).running, false);
    assert.ok(existsSync(path.join(dir, 'stack.json')));
    const again = await dev('up');
    assert.equal(again.hosts[0]?.url, host.url);
    assert.deepEqual(await sql(host.url, 'SELECT x FROM default.kept'), [{ x: 7 }]);
  });
});
