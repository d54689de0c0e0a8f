/** What would stay behind: a host that moves without all of its tables, an abort that finds hosts in two places, a deletion that cannot end. */
import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import { restartHost } from '../../src/dev/stack';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { Ground, hostAt, run, someTables, sql } from '../support/stack';
import { setAcl } from '../zookeeper/acl';

const ANYBODY = { scheme: 'world', auth: 'anyone' };
const ALL = 31;
const READ_AND_ADMIN = 17;

describe('nothing stays behind', function () {
  this.timeout(600_000);
  let ground: Ground;
  let before: Record<string, string>;

  beforeEach(async () => {
    ground = await Ground.on('stranding');
    await ground.seed(someTables(ground.database, 2));
    before = await ground.oracle();
    ground.worker();
  });

  afterEach(async () => {
    await ground.end();
  });

  async function startTo(gate: string): Promise<void> {
    const started = await ground.cli('start', ground.spec((document) => Object.assign(document, { pauseBefore: [gate], onFailure: 'continue' })), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
  }

  async function allWritable(): Promise<void> {
    assert.deepEqual(await ground.oracle(), before);
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT database, table FROM system.replicas WHERE is_readonly'), []);
  }

  /** Has ZooKeeper refuse to delete a node of the table; answers how that is mended. */
  async function refuseDeletion(table: string): Promise<() => Promise<void>> {
    const [place] = await sql<{ path: string; replica: string }>(
      ground.firstHost.url,
      `SELECT zookeeper_path AS path, replica_name AS replica FROM _ch_zk_migrate.inventory WHERE migration = '${ground.id}' AND table = '${table}'`,
    );
    const node = `${ground.from}${place?.path ?? ''}/replicas/${place?.replica ?? ''}/parts`;
    const allow = (perm: number): Promise<void> => setAcl(ground.up.zookeeper.connect, node, [{ perm, ...ANYBODY }]);
    await allow(READ_AND_ADMIN);
    return () => allow(ALL);
  }

  it('a table that was created since the plan, and one that retry leaves out: the host is not restarted, and says which', async () => {
    await startTo('clean');
    const mend = await refuseDeletion('t0');
    await ground.cli('approve', ground.id, 'clean');
    await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    const late = quoteTable({ database: ground.database, table: 'late' });
    await run(ground.firstHost.url, `CREATE TABLE ${late} (x UInt8) ENGINE = ReplicatedMergeTree ORDER BY x`);
    const marks = ground.marks();
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.t0', '--watch', '--json');
    assert.equal(skipped.code, 1, skipped.stdout + skipped.stderr);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ host, code }) => `${host} ${code}`).sort(), ground.hosts.map(({ name }) => `${name} STRANDED`).sort(), JSON.stringify(failures));
    for (const { host, message } of failures) {
      const names = host === ground.firstHost.name ? `${ground.database}\\.late, ${ground.database}\\.t0` : `${ground.database}\\.t0`;
      assert.match(message, new RegExp(`the metadata of ${names} would stay.*ch-zk-migrate retry ${ground.id} --unskip '\\*'`, 'u'));
    }
    assert.deepEqual(ground.statements(marks, /^ATTACH/u), []);
    const [row] = await sql<{ readonly: number }>(ground.firstHost.url, "SELECT is_readonly AS readonly FROM system.replicas WHERE table = 'late'");
    assert.equal(row?.readonly, 0);
    await run(ground.firstHost.url, `DROP TABLE ${late} SYNC`);
    await mend();
    const still = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(still.code, 1, 'what was left out was taken back unasked');
    const retried = await ground.cli('retry', ground.id, '--unskip', '*', '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.equal((await ground.status()).counts.RESTORED, Object.keys(before).length);
    await allWritable();
  });

  it('what a retry left out is taken back by another while the migration holds after a failure', async () => {
    const spec = ground.spec((document) => Object.assign(document, { pauseBefore: ['clean'], onFailure: 'continue', holdOnFailure: '30m' }));
    assert.equal((await ground.cli('start', spec, '--execute', '--watch', '--json')).code, 4);
    const mend = await refuseDeletion('t0');
    await ground.cli('approve', ground.id, 'clean');
    const { runId } = await ground.until(({ waitingFor }) => waitingFor?.reason.includes('failed in clean') === true, 'the hold');
    await ground.cli('retry', ground.id, '--skip', '*.t0');
    await ground.until(({ failures, waitingFor }) => waitingFor !== null && failures.length > 0 && failures.every(({ code }) => code === 'STRANDED'), 'the refusal to strand it');
    await mend();
    const retried = await ground.cli('retry', ground.id, '--unskip', '*.t0', '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    const ended = await ground.status();
    assert.equal(ended.runId, runId);
    assert.equal(ended.counts.RESTORED, Object.keys(before).length);
    await allWritable();
  });

  it('a table that was dropped before its DETACH, and left out by a retry: an abort after a host has moved ends without it', async () => {
    const spec = ground.spec((document) => Object.assign(document, { pauseBefore: ['detach', 'clean'], onFailure: 'continue' }));
    assert.equal((await ground.cli('start', spec, '--execute', '--watch', '--json')).code, 4);
    const [first, second] = ground.hosts;
    assert.ok(first !== undefined && second !== undefined);
    await ground.onEach(`DROP TABLE ${quoteTable({ database: ground.database, table: 't1' })} SYNC`);
    await run(second.url, `DROP TABLE ${quoteTable({ database: ground.database, table: 't0' })} SYNC`);
    before = await ground.oracle();
    await ground.cli('approve', ground.id, 'detach');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    const gone = [`${first.name} t1`, `${second.name} t0`, `${second.name} t1`];
    assert.deepEqual(failed.failures.map(({ host, table, code }) => `${host} ${table} ${code}`).sort(), gone.map((one) => `${one} MANIFEST_MISSING`).sort());
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.t[01]', '--watch', '--json');
    assert.equal(skipped.code, 4, skipped.stdout + skipped.stderr);
    await restartHost(ground.up.dir, first.name, { zkRoot: ground.root });
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { outcome, counts } = await ground.status();
    assert.equal(outcome, 'aborted');
    assert.equal(counts.RESTORED, Object.keys(before).length);
    const { stdout } = await ground.cli('status', ground.id, '--tables');
    assert.equal(stdout.match(/it is gone/gu)?.length ?? 0, gone.length, stdout);
    await allWritable();
  });

  it('one whose DETACH was done and could not be noted, and that retry leaves out: its host is not restarted, and names it', async () => {
    let refusing = true;
    const proxy = await ProxyHost.before(ground.firstHost.url, ({ text, response }) => {
      if (!refusing || !(text.includes('.statuses') && text.includes('"step":"detached"') && text.includes('"table":"t1"'))) return undefined;
      response.writeHead(403, { 'x-clickhouse-exception-code': '497' });
      response.end('Code: 497. DB::Exception: migrator: Not enough privileges. (ACCESS_DENIED)');
      return TAKEN;
    });
    try {
      const file = ground.spec((document) => {
        hostAt(0, proxy.url)(document);
        // One after the other: several notes go in one INSERT.
        Object.assign(document, { onFailure: 'continue', parallel: { detach: 1 } });
      });
      const failed = await ground.cli('start', file, '--execute', '--watch', '--json');
      assert.equal(failed.code, 1, failed.stdout + failed.stderr);
      assert.deepEqual((await ground.status()).failures.map(({ host, table, code }) => `${host} ${table} ${code}`), ['ch-1 t1 ACCESS_DENIED']);
      const notes = await sql<{ step: string }>(ground.firstHost.url, `SELECT argMax(step, seq) AS step FROM _ch_zk_migrate.statuses WHERE migration = '${ground.id}' AND table = 't1'`);
      assert.deepEqual([notes, await sql(ground.firstHost.url, "SELECT name FROM system.tables WHERE name = 't1'")], [[{ step: 'manifest' }], []]);
      refusing = false;
      const retried = await ground.cli('retry', ground.id, '--skip', '*.t1', '--watch', '--json');
      assert.equal(retried.code, 1, retried.stdout + retried.stderr);
      const { failures } = await ground.status();
      assert.deepEqual(failures.map(({ host, code }) => `${host} ${code}`).sort(), ['ch-1 STRANDED', 'ch-2 STRANDED'], JSON.stringify(failures));
      for (const { message } of failures) assert.ok(message.includes(`the metadata of ${ground.database}.t1 would stay`), message);
      const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      await allWritable();
    } finally {
      await proxy.close();
    }
  });

  it('an abort while a host is on its new place already: what was only detached goes along, and is restored there', async () => {
    await startTo('clean');
    await restartHost(ground.up.dir, ground.firstHost.name, { zkRoot: ground.root });
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { outcome, counts } = await ground.status();
    assert.equal(outcome, 'aborted');
    assert.equal(counts.RESTORED, Object.keys(before).length);
    await allWritable();
  });

  it('a deletion that ZooKeeper refuses half way: abort attaches nothing of the table, says so, and ends when it may be finished', async () => {
    await startTo('clean');
    const mend = await refuseDeletion('t0');
    await ground.cli('approve', ground.id, 'clean');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    assert.deepEqual([...new Set(failed.failures.map(({ table, code }) => `${table} ${code}`))], ['t0 ACCESS_DENIED'], JSON.stringify(failed.failures));
    const marks = ground.marks();
    const refused = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(refused.code, 1, refused.stdout + refused.stderr);
    assert.deepEqual(ground.statements(marks, /^ATTACH TABLE .*`t0`/u), []);
    const again = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(again.code, 1, again.stdout + again.stderr);
    assert.deepEqual(ground.statements(marks, /^ATTACH TABLE .*`t0`/u), []);
    await mend();
    const ended = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(ended.code, 0, ended.stdout + ended.stderr);
    assert.equal((await ground.status()).outcome, 'aborted');
    await allWritable();
  });
});
