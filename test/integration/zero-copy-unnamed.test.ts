import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { quoteTable } from '../../src/clickhouse/sql';
import { Ground, run, type SpecDocument } from '../support/stack';
import { blobsOf, onBlobs } from '../support/zero-copy';

interface Findings {
  readonly refusals: readonly unknown[];
  readonly warnings: readonly { readonly code: string; readonly host: string; readonly message: string }[];
}

interface Plan extends Findings {
  readonly unnamed_blobs?: number;
}

describe('blobs that no host names', function () {
  this.timeout(600_000);
  let ground: Ground;
  let folder: string;
  let since: string;

  async function begin(word: string): Promise<void> {
    ground = await Ground.on(word);
    folder = join(ground.up.dir, 'blobs');
    // What other tests left in the storage is older.
    since = join(ground.dir, 'since');
    writeFileSync(since, '');
    utimesSync(since, new Date(), new Date(Date.now() - 50));
  }

  afterEach(async () => {
    await ground.end();
  });

  /** A spec whose blobs are listed, by their paths below the folder. */
  function listing(command: readonly string[], more: Record<string, unknown> = {}): (document: SpecDocument) => void {
    return (document) => {
      document['zeroCopy'] = { blobs: { command, prefix: `${folder}/`, ...more } };
    };
  }

  /** Of an empty file of an empty part a server leaves an empty blob that nothing names. */
  const found = (): string[] => ['find', folder, '-type', 'f', '-size', '+0', '-newer', since, '-printf', '%P\\n'];

  function stray(name: string): string {
    const file = join(folder, name);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, 'nobody knows me');
    return file;
  }

  const told = ({ warnings }: Findings): string[] => warnings.filter(({ code }) => code.startsWith('ZERO_COPY')).map(({ code, message }) => `${code}: ${message}`);

  it('are reported by the plan and at the end of the run, are left where they are, and nothing that is whole is among them', async () => {
    await begin('zc_unnamed');
    await ground.seed([onBlobs(ground.database, 'shared', 4), onBlobs(ground.database, 'frozen', 2, { allow_remote_fs_zero_copy_replication: 0 }), onBlobs(ground.database, 'later', 2)], { replicate: true });
    const [frozen, later] = ['frozen', 'later'].map((table) => quoteTable({ database: ground.database, table }));
    // Blobs that nothing but a backup names, and those of a table that is detached, are somebody's.
    await run(ground.firstHost.url, `ALTER TABLE ${frozen} FREEZE WITH NAME '${ground.id}'`, `ALTER TABLE ${frozen} DROP PARTITION 0`);
    await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${frozen}`);
    await ground.onEach(`DETACH TABLE ${later} PERMANENTLY`);
    const spec = ground.spec((document) => {
      listing(found())(document);
      document.tables['exclude'] = ['*.later'];
      delete document.zookeeper['after'];
      document.clickhouse.restart = { none: true };
    });
    const whole = await ground.json<Plan>('plan', spec);
    assert.deepEqual([whole.refusals, told(whole), whole.unnamed_blobs], [[], [], 0]);

    const strays = [stray('aaa/stray-1'), ...Array.from({ length: 6 }, (_, i) => stray(`zzz/stray-${i + 2}`))];
    const [before, rows] = [blobsOf(ground), await ground.oracle()];
    const plan = await ground.json<Plan>('plan', spec);
    const [warned = '', ...more] = told(plan);
    assert.match(warned, /^ZERO_COPY_BLOBS_LEAKED: 7 of \d+ listed blobs are named by no file of any host of the spec: /u);
    assert.ok(warned.endsWith(`: ${strays.slice(0, 5).join(', ')}, …`), warned);
    assert.deepEqual([more, plan.unnamed_blobs], [[], 7]);
    assert.deepEqual(blobsOf(ground), before);

    const dry = await ground.cli('start', spec, '--watch', '--with-worker', '--json');
    assert.equal(dry.code, 0, dry.stdout + dry.stderr);
    assert.deepEqual(told(JSON.parse(dry.stdout) as Findings), [warned]);

    const done = await ground.cli('start', spec, '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    const [left = '', ...rest] = told(await ground.json<Findings>('status', ground.id));
    assert.match(left, /^ZERO_COPY_BLOBS_LEFT: 7 of \d+ listed blobs are named by no file of any host \(before the migration there were 7\): /u);
    assert.ok(left.endsWith(`: ${strays.slice(0, 5).join(', ')}, …`), left);
    assert.deepEqual(rest, []);
    for (const file of strays) assert.equal(readFileSync(file, 'utf8'), 'nobody knows me');
    assert.deepEqual(await ground.oracle(), rows);
    await ground.onEach(`ATTACH TABLE ${later}`);
    await run(ground.firstHost.url, `ALTER TABLE ${frozen} UNFREEZE WITH NAME '${ground.id}'`);
  });

  it('are not known where the command fails, does not end or lists something else, and the run goes on', async () => {
    await begin('zc_unlisted');
    await ground.seed([onBlobs(ground.database, 'shared', 2)], { replicate: true });
    const planned = async (change: (document: SpecDocument) => void): Promise<string> => {
      const plan = await ground.json<Plan>('plan', ground.spec(change));
      assert.deepEqual([plan.refusals, plan.unnamed_blobs], [[], undefined]);
      const [warned = '', ...more] = told(plan);
      assert.deepEqual(more, []);
      return warned;
    };
    const failing = listing(['sh', '-c', 'find "$0" -type f; echo "AccessDenied: not for you" >&2; exit 7', folder]);
    const words = 'ZERO_COPY_BLOBS_UNKNOWN: whether there are blobs that no host names is not known: ';
    const failed = await planned(failing);
    assert.ok(failed.startsWith(`${words}the command of zeroCopy.blobs failed: Command failed with exit code 7: sh -c`), failed);
    assert.ok(failed.endsWith(': AccessDenied: not for you'), failed);
    assert.equal(await planned(listing(['sleep', '60'], { timeout: '300ms' })), `${words}the command of zeroCopy.blobs failed: did not end in 300 ms`);
    assert.match(await planned(listing(found(), { prefix: '/elsewhere/' })), /: of \d+ keys that the command of zeroCopy\.blobs lists not one is the remote_path of a file .*prefix$/u);
    assert.match(await planned(listing(['true'])), /: of 0 keys/u);

    const done = await ground.cli('start', ground.spec(failing), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(told(await ground.json<Findings>('status', ground.id)), [failed]);
  });

  it('are not looked for in a migration without zero-copy tables', async () => {
    await begin('zc_no_listing');
    await ground.seed([{ ...onBlobs(ground.database, 'local', 2), settings: {} }]);
    const asked = join(ground.dir, 'asked');
    const plan = await ground.json<Plan>('plan', ground.spec(listing(['touch', asked])));
    assert.deepEqual([plan.refusals, told(plan), plan.unnamed_blobs, existsSync(asked)], [[], [], undefined, false]);
  });
});
