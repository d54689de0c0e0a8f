import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { connectTemporal } from '../../src/client';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { CLI, Ground, hostAt, inPlace, run, someTables, type SpecDocument, type StatusDocument, sql, userTables } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';
import { setAcl } from '../zookeeper/acl';


const SENT = /^\s*(DETACH TABLE|SYSTEM RESTORE REPLICA)/u;
const TABLES = 7;

describe('a table whose restore cannot succeed', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('failure');
    await ground.seed(someTables(ground.database, 3));
  });

  afterEach(async () => {
    await ground.end();
  });

  /** Puts the folder of another part into the table's `detached/` on the first host, under the name of one of its active parts. */
  async function spoil(table = 't1'): Promise<{ folder: string; mend: () => void }> {
    const parts = await sql<{ name: string; path: string }>(
      ground.firstHost.url,
      `SELECT name, path FROM system.parts WHERE active AND database = '${ground.database}' AND table = '${table}' ORDER BY name`,
    );
    const [real, other] = parts;
    assert.ok(real !== undefined && other !== undefined);
    const folder = join(real.path, '../detached', real.name);
    mkdirSync(join(real.path, '../detached'), { recursive: true });
    cpSync(other.path, folder, { recursive: true });
    return { folder, mend: () => rmSync(folder, { recursive: true }) };
  }

  async function atTheGateBefore(gate: string, change: (document: SpecDocument) => void): Promise<void> {
    ground.worker();
    const spec = ground.spec((document) => {
      document['pauseBefore'] = [gate];
      change(document);
    });
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    assert.equal((JSON.parse(started.stdout) as { waitingFor: { gate: string } }).waitingFor.gate, gate);
  }

  const atTheGateBeforeRestore = (change: Record<string, unknown>): Promise<void> => atTheGateBefore('restore', (document) => Object.assign(document, change));

  it('fails the workflow with its name and host, leaves all others RESTORED, and is completed by retry once it is mended', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    const { folder, mend } = await spoil();
    const marks = ground.marks();
    assert.equal((await ground.cli('approve', ground.id, 'restore')).code, 0);
    const watched = await ground.cli('watch', ground.id, '--json');
    assert.equal(watched.code, 1, watched.stdout + watched.stderr);

    const status = await ground.json<{
      outcome: string;
      failures: { host: string; db: string; table: string; phase: string; code: string; message: string }[];
      replicas: { host: string; db: string; table: string; status: string }[];
      closedBecause: string;
    }>('status', ground.id, '--tables');
    assert.equal(status.outcome, 'failed');
    assert.deepEqual(
      status.failures.map(({ host, db, table, phase, code }) => ({ host, db, table, phase, code })),
      [{ host: ground.firstHost.name, db: ground.database, table: 't1', phase: 'restore', code: 'DETACHED_COLLISION' }],
    );
    assert.match(status.closedBecause, new RegExp(`retry ${ground.id}`, 'u'));
    assert.equal((await ground.cli('status', ground.id)).code, 1);
    assert.deepEqual(
      status.replicas.filter((replica) => replica.status !== 'RESTORED').map(({ host, table }) => `${host} ${table}`).sort(),
      ground.hosts.map(({ name }) => `${name} t1`).sort(),
    );
    assert.ok(existsSync(folder), 'what lay in detached/ was touched');
    // No row was lost, and no RESTORE of the spoilt table was sent.
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(ground.statements(marks, SENT).filter(({ text }) => text.includes('`t1`')), []);
    assert.equal(ground.statements(marks, SENT).length, 2 * (TABLES - 1));

    mend();
    const since = ground.marks();
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
    const sent = ground.statements(since, SENT);
    assert.deepEqual(sent.map(({ host, text }) => `${host} ${text}`).sort(), ground.hosts.map(({ name }) => `${name} SYSTEM RESTORE REPLICA \`${ground.database}\`.\`t1\``).sort());
    const ended = await ground.json<{ counts: Record<string, number> }>('status', ground.id);
    assert.equal(ended.counts['RESTORED'], 2 * TABLES);
  });

  it('keeps what has not started from starting with onFailure: stop, and retry ends it all the same', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'stop', parallel: { detach: 4, clean: 4, restore: 1 } });
    const { mend } = await spoil();
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    assert.deepEqual(await ground.oracle(), before);
    mend();
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('merges again once it is left out, also where merges change its rows and so stand still until the proof', async () => {
    const table = `\`${ground.database}\`.\`replaced\``;
    for (const [index, host] of ground.hosts.entries()) {
      await run(host.url, `CREATE TABLE ${table} (p UInt8, x UInt64) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/${ground.id}/replaced', 'r${index}') PARTITION BY p ORDER BY x`);
    }
    await run(ground.firstHost.url, `INSERT INTO ${table} SELECT number % 2, number FROM numbers(20)`);
    for (const { url } of ground.hosts) await run(url, `SYSTEM SYNC REPLICA ${table}`);
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    await spoil('replaced');
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const started = (): string[] => ground.statements(marks, /^SYSTEM START MERGES .*`replaced`/u).map(({ host }) => host).sort();
    assert.deepEqual(started(), []);
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.replaced', '--watch', '--json');
    assert.equal(skipped.code, 0, skipped.stdout + skipped.stderr);
    assert.deepEqual(started(), ground.hosts.map(({ name }) => name).sort());
    const { warnings } = await ground.json<{ warnings: { code: string; table?: string }[] }>('status', ground.id);
    assert.deepEqual(warnings.filter(({ code }) => code === 'LEFT_READONLY').map((one) => one.table), ground.hosts.map(() => 'replaced'));
    assert.deepEqual(await ground.oracle(), before);
  });

  it('is named as a plain table where it is one when it is left out, and not as readonly', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    const table = `\`${ground.database}\`.\`t1\``;
    await run(ground.firstHost.url, `DETACH TABLE ${table} SYNC`, `ATTACH TABLE ${table} AS NOT REPLICATED`);
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.t1', '--watch', '--json');
    assert.equal(skipped.code, 0, skipped.stdout + skipped.stderr);
    const { warnings } = await ground.json<{ warnings: { code: string; host: string; table?: string }[] }>('status', ground.id);
    const said = warnings.filter(({ table: of }) => of === 't1').map(({ code, host }) => `${host} ${code}`).sort();
    assert.deepEqual(said, ['ch-1 NOT_REPLICATED', 'ch-2 LEFT_READONLY'], JSON.stringify(warnings));
    assert.deepEqual(await ground.oracle(), before);
  });

  it('holds where the spec says so, shows why, and goes on in the same run when it is retried', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue', holdOnFailure: '10m' });
    const { mend } = await spoil();
    await ground.cli('approve', ground.id, 'restore');
    const held = await ground.until((status) => status.waitingFor?.reason.includes('failed in restore') === true, 'the hold');
    mend();
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.equal((JSON.parse(retried.stdout) as { runId: string }).runId, held.runId);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('is not proved by what the server says: a part that vanished fails it, and names the rows', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    const folders = await Promise.all(
      ground.hosts.map(async ({ url }) => {
        const [part] = await sql<{ path: string; rows: string }>(url, `SELECT path, rows FROM system.parts WHERE active AND database = '${ground.database}' AND table = 't2' ORDER BY name LIMIT 1`);
        assert.ok(part !== undefined);
        const away = join(ground.dir, `away-${url.slice(-5)}`);
        // The server forgets it as a disk that lost it would: the folder goes while the table is detached.
        await run(url, `DETACH TABLE \`${ground.database}\`.t2`);
        cpSync(part.path, away, { recursive: true });
        rmSync(part.path, { recursive: true });
        await run(url, `ATTACH TABLE \`${ground.database}\`.t2`);
        return { path: part.path, away };
      }),
    );
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const failed = await ground.status();
    assert.ok(failed.failures.some(({ table, code, message }) => table === 't2' && code === 'PROOF_FAILED' && /missing: 1 part with \d+ rows/u.test(message)), JSON.stringify(failed.failures));
    // Put back into detached/ under its own name, by hand, it is found by the saved manifest.
    for (const { path, away } of folders) {
      mkdirSync(join(path, '../detached'), { recursive: true });
      renameSync(away, join(path, '../detached', path.split('/').filter((word) => word !== '').at(-1) ?? ''));
    }
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('and that was left out by a retry is no less brought back by an abort', async () => {
    const before = await ground.oracle();
    await atTheGateBefore('restore', (document) => {
      inPlace(document);
      document['onFailure'] = 'continue';
    });
    const spoilt = [await spoil('t1'), await spoil('t2')];
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    assert.equal((await ground.cli('retry', ground.id, '--skip', '*.t1', '--watch')).code, 1);
    for (const { mend } of spoilt) mend();
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    assert.deepEqual(await ground.oracle(), before);
    for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
  });

  const dropped = (table: string): string => `DROP TABLE \`${ground.database}\`.${table} SYNC`;
  const without = (seen: Record<string, string>, ...tables: readonly string[]): Record<string, string> =>
    Object.fromEntries(Object.entries(seen).filter(([name]) => !tables.some((table) => name.endsWith(`.${table}`))));

  it('and that somebody drops then is said to be gone, and left out by retry --skip, which restores the others', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'stop', parallel: { detach: 4, clean: 4, restore: 1 } });
    await spoil();
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    await ground.onEach(dropped('t1'));
    const asked = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(asked.code, 1, asked.stdout + asked.stderr);
    const { failures } = await ground.status();
    assert.deepEqual([...new Set(failures.map(({ table, code }) => `${table} ${code}`))], ['t1 UNKNOWN_TABLE'], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', new RegExp(`is gone: .*ch-zk-migrate retry ${ground.id} --skip`, 'u'));
    const skipped = await ground.cli('retry', ground.id, '--skip', '*.t1', '--watch', '--json');
    assert.equal(skipped.code, 0, skipped.stdout + skipped.stderr);
    const { counts, warnings } = await ground.json<{ counts: Record<string, number>; warnings: { code: string; table?: string }[] }>('status', ground.id);
    assert.deepEqual([counts['RESTORED'], counts['SKIPPED']], [2 * (TABLES - 1), 2]);
    assert.deepEqual(warnings.filter(({ code }) => code === 'NOT_ATTACHED').map((one) => one.table), ground.hosts.map(() => 't1'));
    assert.deepEqual(await ground.oracle(), without(before, 't1'));
  });

  for (const way of ['in place', 'to another root'] as const) {
    it(`${way}, and that somebody drops then, on one host or on all, holds up no abort, which lets go of all tables`, async () => {
      const before = await ground.oracle();
      await atTheGateBefore('restore', (document) => {
        if (way === 'in place') inPlace(document);
        document['onFailure'] = 'continue';
      });
      await spoil('t1');
      const { mend } = await spoil('t2');
      await ground.cli('approve', ground.id, 'restore');
      assert.equal((await ground.cli('watch', ground.id)).code, 1);
      mend();
      const [first, second] = ground.hosts;
      assert.ok(first !== undefined && second !== undefined);
      await ground.onEach(dropped('t1'));
      await run(second.url, dropped('t2'));
      // Another one has its name, and is left alone.
      await run(first.url, `CREATE TABLE \`${ground.database}\`.t1 (x UInt8) ENGINE = MergeTree ORDER BY x`);
      const others = Object.entries(without(before, 't1')).filter(([name]) => name !== `${second.name} ${ground.database}.t2`);
      const marks = ground.marks();
      const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      assert.deepEqual(await ground.oracle(), { ...Object.fromEntries(others), [`${first.name} ${ground.database}.t1`]: '0 rows, 0' });
      assert.deepEqual(ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM|DROP|ALTER) .*`t1`/u).filter(({ host }) => host === first.name), []);
      for (const { url } of ground.hosts) assert.deepEqual(await sql(url, 'SELECT table FROM system.replicas WHERE is_readonly'), []);
      const { stdout } = await ground.cli('status', ground.id, '--tables');
      assert.equal(stdout.match(/it is gone/gu)?.length, 3, stdout);
      const next = ground.spec((document) => {
        inPlace(document);
        if (way === 'to another root') document.zookeeper['root'] = ground.root;
        document.id = `${ground.id}-next`;
      });
      const plan = await ground.cli('plan', next, '--json');
      assert.equal(plan.code, 0, plan.stdout + plan.stderr);
    });
  }

  it('and that its server does not attach any more stays as it is where a retry leaves it out; an abort fails until it is attached', async () => {
    const before = await ground.oracle();
    let refused = false;
    const proxy = await ProxyHost.before(ground.firstHost.url, ({ text, response }) => {
      if (!refused || !/^ATTACH TABLE .*`t1`/u.test(text)) return undefined;
      response.writeHead(500, { 'x-clickhouse-exception-code': '76' });
      response.end('Code: 76. DB::Exception: Cannot open file: Permission denied. (CANNOT_OPEN_FILE)');
      return TAKEN;
    });
    try {
      await atTheGateBefore('restore', (document) => {
        inPlace(document);
        hostAt(0, proxy.url)(document);
        document['onFailure'] = 'continue';
      });
      const spoilt = [await spoil('t1'), await spoil('t2')];
      await ground.cli('approve', ground.id, 'restore');
      assert.equal((await ground.cli('watch', ground.id)).code, 1);
      refused = true;
      await run(ground.firstHost.url, `DETACH TABLE \`${ground.database}\`.t1 PERMANENTLY SYNC`);
      assert.equal((await ground.cli('retry', ground.id, '--skip', '*.t1', '--watch')).code, 1);
      const left = await ground.described();
      assert.deepEqual(left.summary.failures.map(({ table, code }) => `${table} ${code}`), ['t2 DETACHED_COLLISION']);
      assert.ok(left.summary.decisions.some(({ what }) => /t1 on .* is left out, and stays as it is: UNKNOWN: .*Permission denied/u.test(what)), JSON.stringify(left.summary.decisions));
      for (const { mend } of spoilt) mend();
      const stuck = await ground.cli('abort', ground.id, '--watch');
      assert.equal(stuck.code, 1, stuck.stdout + stuck.stderr);
      const { failures } = await ground.status();
      assert.ok(failures.length > 0 && failures.every(({ table }) => table === 't1'), JSON.stringify(failures));
      refused = false;
      const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });

  it('for somebody is at its new place already is not touched there', async () => {
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    const [row] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM system.replicas WHERE database = '${ground.database}' AND table = 't1'`);
    const path = `${ground.root}${row?.path ?? assert.fail()}`;
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${path}/replicas/stranger`));
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ table, code }) => `${table} ${code}`), ['t1 REPLICA_LIVE'], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', /has the replicas stranger already/u);
    await withZooKeeper(ground.up, (session) => session.deleteTree(path));
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('for ZooKeeper refuses its server a node fails after a few tries, and is not waited for as if ZooKeeper were away', async () => {
    const { url, replica } = ground.firstHost;
    const above = `/apart/${ground.id}`;
    await run(url, `CREATE TABLE \`${ground.database}\`.apart (x UInt8) ENGINE = ReplicatedMergeTree('${above}/table', '${replica}') ORDER BY x`);
    await run(url, `INSERT INTO \`${ground.database}\`.apart SELECT number FROM numbers(10)`);
    const before = await ground.oracle();
    await atTheGateBeforeRestore({ onFailure: 'continue' });
    await withZooKeeper(ground.up, (session) => session.ensurePath(`${ground.root}${above}`));
    const allow = (perm: number): Promise<void> => setAcl(ground.up.zookeeper.connect, `${ground.root}${above}`, [{ perm, scheme: 'world', auth: 'anyone' }]);
    // Nothing may be made below it, but its list may be changed again.
    await allow(1 | 16);
    await ground.cli('approve', ground.id, 'restore');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ table, code }) => `${table} ${code}`), ['apart ZOOKEEPER_REFUSED'], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', /code 999 .*; the server reaches ZooKeeper, which refuses what it asks for/u);
    await allow(31);
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('for it came back short of a part from its DETACH stops before its RESTORE, until the part is there', async () => {
    const before = await ground.oracle();
    const [part] = await sql<{ path: string }>(ground.firstHost.url, `SELECT path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 't2' ORDER BY name LIMIT 1`);
    assert.ok(part !== undefined);
    await atTheGateBefore('restart', (document) => (document['onFailure'] = 'continue'));
    const away = join(ground.dir, 'away');
    cpSync(part.path, away, { recursive: true });
    rmSync(part.path, { recursive: true });
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restart');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const { failures } = await ground.status();
    assert.deepEqual(failures.map(({ host, table, code }) => `${host} ${table} ${code}`), [`${ground.firstHost.name} t2 PROOF_FAILED`], JSON.stringify(failures));
    assert.match(failures[0]?.message ?? '', /came back from detach short of parts/u);
    assert.deepEqual(ground.statements(marks, /RESTORE REPLICA .*`t2`/u), []);
    await run(ground.firstHost.url, `DETACH TABLE \`${ground.database}\`.t2 PERMANENTLY SYNC`);
    cpSync(away, part.path, { recursive: true });
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('before its baseline merges again once it is left out', async () => {
    const [part] = await sql<{ path: string }>(ground.firstHost.url, `SELECT path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 't2' ORDER BY name LIMIT 1`);
    assert.ok(part !== undefined);
    await atTheGateBefore('restart', (document) => (document['onFailure'] = 'continue'));
    rmSync(part.path, { recursive: true });
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'restart');
    assert.equal((await ground.cli('watch', ground.id)).code, 1);
    const merges = (): string[] => ground.statements(marks, /^SYSTEM ST(?:OP|ART) MERGES .*t2/u).filter(({ host }) => host === ground.firstHost.name).map(({ text }) => text.slice(0, 'SYSTEM START'.length));
    assert.equal(merges().at(-1), 'SYSTEM STOP ');
    const retried = await ground.cli('retry', ground.id, '--skip', '*.t2', '--watch', '--json');
    assert.equal(retried.code, 0, retried.stdout + retried.stderr);
    assert.equal(merges().at(-1), 'SYSTEM START');
  });

  it('for a part of it is not in ZooKeeper\'s record after its RESTORE is not proved', async () => {
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text, real }) => {
      if (!text.startsWith('SYSTEM RESTORE REPLICA') || !text.includes('t1')) return undefined;
      const answer = await real();
      const [place] = await sql<{ replica: string }>(ground.firstHost.url, `SELECT replica_path AS replica FROM system.replicas WHERE database = '${ground.database}' AND table = 't1'`);
      await withZooKeeper(ground.up, async (session) => {
        const parts = `${ground.root}${place?.replica ?? ''}/parts`;
        const [name] = (await session.children(parts)) ?? [];
        await session.deleteTree(`${parts}/${name ?? ''}`);
      });
      return answer.text;
    });
    try {
      ground.worker();
      const spec = ground.spec((document) => {
        document['onFailure'] = 'continue';
        hostAt(0, proxy.url)(document);
      });
      assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 1);
      const { failures, counts } = await ground.status();
      const [failed] = failures.filter(({ host }) => host === ground.firstHost.name);
      assert.deepEqual([failed?.table, failed?.code], ['t1', 'PROOF_FAILED'], JSON.stringify(failures));
      assert.match(failed?.message ?? '', /1 parts differ between the server and ZooKeeper's record of it/u);
      assert.equal(counts.RESTORED, 2 * (TABLES - 1));
    } finally {
      await proxy.close();
    }
  });
});

describe("a reset with Temporal's own CLI", function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('reset');
    await ground.seed(someTables(ground.database, 2));
  });

  afterEach(async () => {
    await ground.end();
  });

  it('of a completed migration to its first task ends as well, and sends no DETACH or RESTORE again', async () => {
    const before = await ground.oracle();
    ground.worker();
    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--json');
    assert.equal(done.code, 0, done.stdout + done.stderr);
    const marks = ground.marks();
    await ground.temporal('workflow', 'reset', '--workflow-id', ground.id, '--type', 'FirstWorkflowTask', '--reason', 'test');
    const watched = await ground.cli('watch', ground.id, '--json');
    assert.equal(watched.code, 0, watched.stdout + watched.stderr);
    assert.deepEqual(ground.statements(marks, SENT), []);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('of a running migration to a point inside a phase that is over goes on from what its hosts know, and sends nothing again', async () => {
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => Object.assign(document, { pauseBefore: ['restore'], parallel: { detach: 1, clean: 1, restore: 1 } }));
    const marks = ground.marks();
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    await ground.cli('approve', ground.id, 'restore');
    await ground.until(({ counts }) => counts.RESTORED > 0, 'the first that is restored');
    const { client, connection } = await connectTemporal({ address: ground.up.temporal.address, namespace: ground.up.temporal.namespace });
    const { events } = await client.workflow.getHandle(ground.id).fetchHistory();
    await connection.close();
    const inside = (events ?? []).findIndex((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'detachReplica');
    const task = (events ?? []).slice(inside).find((event) => event.workflowTaskCompletedEventAttributes);
    assert.ok(inside >= 0 && task?.eventId !== undefined);
    await ground.temporal('workflow', 'reset', '--workflow-id', ground.id, '--event-id', String(task?.eventId), '--reason', 'test');
    const ended = await ground.until(({ outcome, waitingFor }) => outcome === 'completed' || outcome === 'failed' || waitingFor?.gate === 'restore', 'the gate, or the end');
    if (ended.outcome === 'waiting') await ground.cli('approve', ground.id, 'restore');
    const last = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(last.outcome, 'completed', JSON.stringify(last.failures));
    const sent = ground.statements(marks, SENT).map(({ host, text }) => `${host} ${text}`);
    assert.equal(new Set(sent).size, sent.length, sent.join('; '));
    assert.deepEqual(await ground.oracle(), before);
  });

  it('of a migration that failed (its restart command, then a host that came back on the wrong root) to its first task ends as well once the cause is mended', async () => {
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => {
      // A restart command that fails for as long as a file lies there.
      const file = join(ground.dir, 'broken');
      mkdirSync(file);
      const { command } = document.clickhouse.restart as { command: string[] };
      // And one that leaves the server where it was, for as long as another lies there.
      mkdirSync(join(ground.dir, 'wrong'));
      const script = `test ! -e "$0" || { echo no luck today; exit 7; }; wrong="$1" as_it_was="$2"; shift 2; test ! -e "$wrong" || exec ${process.execPath} ${CLI} dev restart-host "$as_it_was" --dir ${ground.up.dir}; exec "$@"`;
      document.clickhouse.restart['command'] = ['sh', '-c', script, file, join(ground.dir, 'wrong'), '{host}', ...command];
    });
    const failed = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(failed.code, 1, failed.stdout + failed.stderr);
    assert.match(failed.stdout, /RESTART_FAILED[^]*no luck today/u);
    rmSync(join(ground.dir, 'broken'), { recursive: true });
    const astray = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(astray.code, 1, astray.stdout + astray.stderr);
    const { failures, counts } = JSON.parse(astray.stdout) as { failures: { code: string }[]; counts: Record<string, number> };
    assert.ok(failures.length > 0 && failures.every(({ code }) => code === 'WRONG_ROOT'), JSON.stringify(failures));
    assert.equal(counts['RESTORED'], 0);
    rmSync(join(ground.dir, 'wrong'), { recursive: true });
    const marks = ground.marks();
    await ground.temporal('workflow', 'reset', '--workflow-id', ground.id, '--type', 'FirstWorkflowTask', '--reason', 'test');
    const watched = await ground.cli('watch', ground.id, '--json');
    assert.equal(watched.code, 0, `${watched.stdout}${watched.stderr}`);
    assert.deepEqual(ground.statements(marks, /^\s*DETACH TABLE/u), []);
    assert.deepEqual(await ground.oracle(), before);
  });
});

describe('after abort no table is left detached', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('abort');
    await ground.seed(someTables(ground.database, 2));
  });

  afterEach(async () => {
    await ground.end();
  });

  async function allAttachedAndWritable(tables: number): Promise<void> {
    for (const host of ground.hosts) {
      assert.equal((await userTables(host.url)).length, tables, host.name);
      const replicas = await sql<{ table: string; is_readonly: number; active_replicas: number }>(host.url, 'SELECT table, is_readonly, active_replicas FROM system.replicas');
      assert.deepEqual(replicas.filter(({ is_readonly: readonly, active_replicas: active }) => readonly !== 0 || active !== 2), [], host.name);
    }
  }

  for (const phase of ['clean', 'restart', 'restore'] as const) {
    it(`at the gate before ${phase}: every row is there, every replica active, and the same migration can be done from the start`, async () => {
      const before = await ground.oracle();
      const tables = (await userTables(ground.firstHost.url)).length;
      ground.worker();
      const spec = ground.spec((document) => (document['pauseBefore'] = [phase]));
      assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
      const aborted = await ground.cli('abort', ground.id, '--reason', 'not tonight', '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      await allAttachedAndWritable(tables);
      assert.deepEqual(await ground.oracle(), before);
      const { replicas } = JSON.parse(aborted.stdout) as { replicas: readonly { status: string }[] };
      const state = phase === 'clean' ? 'INIT' : 'RESTORED';
      assert.deepEqual(replicas.map(({ status }) => status), Array.from({ length: tables * ground.hosts.length }, () => state));

      if (phase === 'restore') return;
      // Writes go on, and a later migration under the same id takes them along: nothing that the aborted one noted stands any more.
      const [first, second] = ground.hosts;
      assert.ok(first !== undefined && second !== undefined);
      await run(first.url, `INSERT INTO \`${ground.database}\`.t0 SELECT toDate('2024-02-02'), number, 'later' FROM numbers(3)`);
      await run(second.url, `SYSTEM SYNC REPLICA \`${ground.database}\`.t0`, `ALTER TABLE \`${ground.database}\`.t1 DROP PARTITION 202403`);
      await run(first.url, `SYSTEM SYNC REPLICA \`${ground.database}\`.t1`);
      const later = await ground.oracle();
      const again = await ground.cli('start', ground.spec(), '--execute', '--watch', '--json');
      assert.equal(again.code, 0, again.stdout + again.stderr);
      await allAttachedAndWritable(tables);
      assert.deepEqual(await ground.oracle(), later);
    });
  }

  it('nor said to be as it was while it is readonly: the abort fails and says so, and ends once the cause is mended', async () => {
    const before = await ground.oracle();
    const tables = (await userTables(ground.firstHost.url)).length;
    ground.worker();
    assert.equal((await ground.cli('start', ground.spec((document) => (document['pauseBefore'] = ['clean'])), '--execute', '--watch')).code, 4);
    const [at] = await sql<{ path: string }>(ground.firstHost.url, `SELECT zookeeper_path AS path FROM _ch_zk_migrate.inventory WHERE migration = '${ground.id}' AND table = 't0'`);
    // Without this node its server takes the replica in, and does not make it active.
    const queue = `${ground.from}${at?.path ?? ''}/replicas/${ground.firstHost.replica}/queue`;
    await withZooKeeper(ground.up, (session) => session.delete(queue));
    const stuck = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(stuck.code, 1, stuck.stdout + stuck.stderr);
    const status = await ground.json<StatusDocument & { closedBecause: string }>('status', ground.id);
    assert.equal(status.outcome, 'failed');
    assert.deepEqual(status.failures.map(({ host, table, code }) => [host, table, code]), [[ground.firstHost.name, 't0', 'NOT_CAUGHT_UP']]);
    assert.match(status.failures[0]?.message ?? '', /is attached at its old place again, with its rows, and still readonly after 60 s.* is whole, then abort again$/u);
    assert.match(status.closedBecause, new RegExp(`abort ${ground.id}`, 'u'));
    assert.deepEqual(await ground.oracle(), before);
    await withZooKeeper(ground.up, (session) => session.create(queue, ''));
    const aborted = await ground.cli('abort', ground.id, '--watch', '--json');
    assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
    await allAttachedAndWritable(tables);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('another migration of the same tables can start afterwards', async () => {
    const before = await ground.oracle();
    ground.worker();
    assert.equal((await ground.cli('start', ground.spec((document) => (document['pauseBefore'] = ['restart'])), '--execute', '--watch')).code, 4);
    assert.equal((await ground.cli('abort', ground.id, '--watch')).code, 0);
    const second = await ground.cli('start', ground.spec((document) => (document.id = `${ground.id}-second`)), '--execute', '--watch', '--json');
    assert.equal(second.code, 0, second.stdout + second.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });
});
