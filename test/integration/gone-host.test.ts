import assert from 'node:assert/strict';

import { quoteTable } from '../../src/clickhouse/sql';
import { killPart, startPart } from '../../src/dev/stack';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { eventually, Ground, hostAt, inPlace, run, someTables, sql, userTables } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

const TABLES = 5;

describe('an abort, with a host that is gone for good', function () {
  this.timeout(600_000);
  let ground: Ground;
  let before: Record<string, string>;

  beforeEach(async () => {
    ground = await Ground.on('gone');
    await ground.seed(someTables(ground.database, 1));
    before = await ground.oracle();
  });

  afterEach(async () => {
    await ground.end();
  });

  async function atTheGateBefore(phase: string): Promise<{ lost: string }> {
    ground.worker();
    const started = await ground.cli('start', ground.spec((document) => (document['pauseBefore'] = [phase])), '--execute', '--watch');
    assert.equal(started.code, 4, started.stderr);
    const lost = ground.hosts[1]?.name ?? assert.fail();
    await killPart(ground.up.dir, lost);
    return { lost };
  }

  async function firstHostIsWhole(lost: string, aborted: { code: number; stdout: string; stderr: string }): Promise<void> {
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    const { firstHost: host } = ground;
    assert.equal((await userTables(host.url)).length, TABLES);
    assert.deepEqual(await sql(host.url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
    const its = Object.entries(before).filter(([name]) => name.startsWith(`${host.name} `));
    assert.deepEqual(await ground.oracle([host]), Object.fromEntries(its));
    const status = await ground.json<{ outcome: string; counts: Record<string, number>; warnings: { code: string; host: string }[]; decisions: { what: string }[] }>('status', ground.id);
    assert.equal(status.outcome, 'aborted');
    assert.equal(status.counts['DETACHED'], 0);
    assert.deepEqual(status.warnings.filter(({ code }) => code === 'HOST_LEFT_OUT').map(({ host: name }) => name), [lost]);
    assert.ok(status.decisions.some(({ what }) => what === `abort, without ${lost}`), JSON.stringify(status.decisions));
  }

  it('waits for it until it is told to leave it out; then every table of the others is attached and writable', async () => {
    const { lost } = await atTheGateBefore('clean');
    await ground.cli('abort', ground.id);
    await ground.until((status) => (status as unknown as { reasons: string[] }).reasons.some((reason) => reason.includes('HOST_UNREACHABLE')), 'why it waits');
    const wrong = await ground.cli('abort', ground.id, '--without-host', 'nobody', '--json');
    assert.equal(wrong.code, 2, wrong.stdout);
    await firstHostIsWhole(lost, await ground.cli('abort', ground.id, '--without-host', lost, '--watch', '--json'));

    // It was not gone after all: the same migration takes its tables along again.
    await startPart(ground.up.dir, lost);
    const again = await ground.cli('start', ground.spec(), '--execute', '--watch', '--json');
    assert.equal(again.code, 0, again.stdout + again.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  /** Its table is cleaned while notes of this kind no longer reach the second host, which is lost then, and comes back when the first has lived on. */
  async function comesBackTooLate(kind: string): Promise<void> {
    const [, second] = ground.hosts;
    assert.ok(second !== undefined);
    let noted = false;
    const proxy = await ProxyHost.before(second.url, ({ text }) => {
      if (!text.startsWith('INSERT INTO _ch_zk_migrate.statuses') || !text.includes(kind)) return undefined;
      noted = true;
      return TAKEN;
    });
    try {
      const spec = ground.spec((document) => {
        inPlace(document);
        hostAt(1, proxy.url)(document);
      });
      const worker = ground.worker();
      assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
      await eventually(() => noted, 'the note');
      const onFirst = `SELECT table FROM _ch_zk_migrate.statuses WHERE migration = '${ground.id}' AND table = 't0' AND '${kind}' IN (step, status)`;
      await eventually(async () => (await sql(ground.firstHost.url, onFirst)).length > 0, 'the same note on the first host');
      await killPart(ground.up.dir, second.name);
      const aborted = await ground.cli('abort', ground.id, '--without-host', second.name, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      const name = quoteTable({ database: ground.database, table: 't0' });
      await run(ground.firstHost.url, `ALTER TABLE ${name} DELETE WHERE user < 500 SETTINGS mutations_sync = 2`, `INSERT INTO ${name} SELECT toDate('2024-01-01'), 7, 'since'`);
      const lives = await ground.oracle([ground.firstHost]);

      // Its note is still on its way.
      worker.kill('SIGKILL');
      ground.worker();
      await startPart(ground.up.dir, second.name);
      proxy.script = () => undefined;
      const again = await ground.cli('start', spec, '--execute', '--watch', '--json');
      assert.equal(again.code, 1, again.stdout + again.stderr);
      const { failures } = await ground.status();
      assert.ok(failures.some(({ code, message }) => code === 'REPLICA_LIVE' && message.includes(`was made anew without ${second.name}`)), JSON.stringify(failures));
      const left = await ground.cli('abort', ground.id, '--watch', '--json');
      assert.equal(left.code, 0, left.stdout + left.stderr);
      assert.deepEqual(await ground.oracle([ground.firstHost]), lives);
      const { warnings } = await ground.json<{ warnings: { code: string; host: string; table?: string }[] }>('status', ground.id);
      const readonly = warnings.filter(({ code, host }) => code === 'LEFT_READONLY' && host === second.name).map(({ table }) => table);
      assert.ok(readonly.includes('t0'), JSON.stringify(warnings));
      // As its operator is told to; and nothing holds it any more.
      const [made] = await sql<{ statement: string }>(second.url, `SHOW CREATE TABLE ${name}`);
      const uuid = (await sql<{ uuid: string }>(ground.firstHost.url, `SELECT toString(uuid) AS uuid FROM system.tables WHERE database = '${ground.database}' AND name = 't0'`))[0]?.uuid ?? '';
      await run(second.url, `DROP TABLE ${name} SYNC`, (made?.statement ?? '').replace(/^(CREATE TABLE \S+?\.\S+)/u, `$1 UUID '${uuid}'`));
      await run(second.url, `SYSTEM SYNC REPLICA ${name}`);
      const rows = async (url: string): Promise<unknown> => sql(url, `SELECT count() AS n, sum(cityHash64(*)) AS h FROM ${name}`);
      assert.deepEqual(await rows(second.url), await rows(ground.firstHost.url));
      const plan = await ground.json<{ refusals: { code: string }[] }>('plan', ground.spec((document) => {
        inPlace(document);
        document.id = `${ground.id}_next`;
      }));
      assert.deepEqual(plan.refusals.filter(({ code }) => code === 'HELD'), []);
    } finally {
      await proxy.close();
    }
  }

  it('that comes back when the others have lived on, and was lost right before a deletion: theirs is not deleted, and the start says so', async () => {
    await comesBackTooLate('cleaning');
  });

  it('that comes back when the others have lived on, and was lost right after a deletion: theirs is not deleted, and the start says so', async () => {
    await comesBackTooLate('ZK_CLEANED');
  });

  it('whose replicas were restored first: what they made of their paths is deleted, and those of the others are restored without them', async () => {
    const [lost, other] = ground.hosts;
    assert.ok(lost !== undefined && other !== undefined);
    let asked = false;
    const proxy = await ProxyHost.before(other.url, ({ text }) => {
      if (!text.startsWith('SYSTEM RESTORE REPLICA')) return undefined;
      asked = true;
      return TAKEN;
    });
    try {
      const worker = ground.worker();
      // Of equal replicas that of the first host is elected.
      assert.equal((await ground.cli('start', ground.spec(hostAt(1, proxy.url)), '--execute')).code, 0);
      await eventually(() => asked, 'the RESTORE of another than the first');
      await killPart(ground.up.dir, lost.name);
      worker.kill('SIGKILL');
      proxy.script = () => undefined;
      ground.worker();
      const aborted = await ground.cli('abort', ground.id, '--without-host', lost.name, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      assert.deepEqual(await sql(other.url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
      assert.deepEqual(await ground.oracle([other]), Object.fromEntries(Object.entries(before).filter(([name]) => name.startsWith(`${other.name} `))));
      const [place] = await sql<{ path: string }>(other.url, "SELECT zookeeper_path AS path FROM system.replicas WHERE table = 't0'");
      const replicas = await withZooKeeper(ground.up, (session) => session.children(`${ground.root}${place?.path ?? ''}/replicas`));
      assert.deepEqual(replicas, [other.replica]);
      assert.match((await ground.cli('status', ground.id, '--tables')).stdout, /gone for good, had made of/u);
    } finally {
      await proxy.close();
    }
  });

  it('of a migration that was terminated with its nodes deleted restores the tables of the others', async () => {
    const { lost } = await atTheGateBefore('restart');
    await ground.temporal('workflow', 'terminate', '--workflow-id', ground.id);
    await firstHostIsWhole(lost, await ground.cli('abort', ground.id, '--without-host', lost, '--watch', '--json'));
  });
});
