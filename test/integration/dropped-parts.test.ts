import assert from 'node:assert/strict';
import { cpSync, renameSync, statSync, utimesSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import { Ground, run, someTables, sql, type SpecDocument } from '../support/stack';

describe('what comes back with a table', function () {
  this.timeout(600_000);
  let ground: Ground;
  let table: string;

  beforeEach(async () => {
    ground = await Ground.on('dropped');
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0' || name === 'empty'));
    table = quoteTable({ database: ground.database, table: 't0' });
  });

  afterEach(async () => {
    await ground.end();
  });

  async function gated(): Promise<void> {
    ground.worker();
    const started = await ground.cli('start', ground.spec((document: SpecDocument) => {
      delete document.zookeeper['after'];
      document.clickhouse.restart = { none: true };
      Object.assign(document, { pauseBefore: ['restart'], onFailure: 'continue' });
    }), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
  }

  it('after a DROP PARTITION whose parts still lie on the disk is what was left', async () => {
    for (const { url } of ground.hosts) await run(url, `SYSTEM STOP CLEANUP ${table}`);
    await run(ground.firstHost.url, `ALTER TABLE ${table} DROP PARTITION 202402`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${table}`);
    const [old] = await sql<{ n: string }>(ground.firstHost.url, `SELECT count() AS n FROM system.parts WHERE NOT active AND rows > 0 AND table = 't0' AND database = '${ground.database}'`);
    assert.ok(Number(old?.n) > 0, 'nothing that was dropped lies there any more');
    const before = await ground.oracle();
    await gated();
    await ground.cli('approve', ground.id, 'restart');
    const done = await ground.cli('watch', ground.id, '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('is not registered where it is older than the manifest and not in it: its rows would be there twice', async () => {
    const before = await ground.oracle();
    const [part] = await sql<{ path: string }>(ground.firstHost.url, `SELECT path FROM system.parts WHERE active AND table = 't0' AND database = '${ground.database}' ORDER BY name LIMIT 1`);
    const folder = (part?.path ?? assert.fail()).replace(/\/$/u, '');
    // Older than the manifest, by the clock of files.
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    await gated();
    const again = join(dirname(folder), basename(folder).replace(/_\d+_\d+_0$/u, '_77_77_0'));
    assert.notEqual(again, folder);
    cpSync(folder, again, { recursive: true, preserveTimestamps: true });
    const { atime, mtime } = statSync(folder);
    utimesSync(again, atime, mtime);
    await ground.cli('approve', ground.id, 'restart');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ code, host, table: name }) => `${code} ${host} ${name}`), [`NEEDS_HAND ${ground.firstHost.name} t0`], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', /1 parts \(\d+ rows\) .* _?.*_77_77_0/u);

    await run(ground.firstHost.url, `DETACH TABLE ${table} SYNC`);
    renameSync(again, join(ground.dir, 'moved away'));
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });
});
