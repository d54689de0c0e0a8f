import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { parse } from 'yaml';

import { connectTemporal } from '../../src/client/connect';
import { statements } from '../../src/clickhouse/sql';
import { Ground, pause, run, someTables, sql, userTables } from '../support/stack';
import { wholeTree } from '../support/zookeeper';

const SENT = /^\s*(DETACH TABLE|SYSTEM RESTORE REPLICA)/u;

const CHANGES = /^\s*(DETACH|ATTACH|SYSTEM RESTORE REPLICA|SYSTEM STOP MERGES|INSERT INTO _ch_zk_migrate.manifests)/u;
const MANIFEST = /^\s*INSERT INTO _ch_zk_migrate\.manifests/u;
const AFTER_DETACH = /^\s*(?:ATTACH TABLE|SYSTEM (?:STOP|START) MERGES|SYSTEM RESTORE REPLICA|INSERT INTO _ch_zk_migrate\.manifests)/u;
/** `PAUSE_MS=120000` for the minutes of a real lunch. */
const PAUSE_MS = Number(process.env['PAUSE_MS'] ?? 2_000);

/** DETACH and RESTORE statements that were sent more than once. */
function repeated(statements: readonly { host: string; text: string }[]): string[] {
  const seen = new Map<string, number>();
  for (const { host, text } of statements) seen.set(`${host} ${text}`, (seen.get(`${host} ${text}`) ?? 0) + 1);
  return [...seen].filter(([, times]) => times > 1).map(([statement]) => statement);
}

/**
 * From its ATTACH to its proof a table stands still: its merges are stopped before its baseline is saved, once more right before its RESTORE, and
 * started when all is over. The text of a manifest's INSERT does not name its table: there are never more of them than tables that stand still.
 */
async function assertStandStill(ground: Ground, marks: Readonly<Record<string, number>>): Promise<void> {
  for (const { name, url } of ground.hosts) {
    const sent = ground.statements(marks, AFTER_DETACH).filter(({ host }) => host === name).map(({ text }) => text.trim());
    const since = sent.slice(sent.findIndex((text) => text.startsWith('ATTACH TABLE')));
    const tables = await userTables(url);
    const stops = new Set(tables.map(statements.stopMerges));
    const [still, baselines] = [new Set<string>(), [] as number[]];
    for (const text of since) {
      if (stops.has(text)) still.add(text);
      if (MANIFEST.test(text)) baselines.push(still.size);
    }
    assert.equal(baselines.length, tables.length, name);
    assert.ok(baselines.every((tablesStill, before) => tablesStill > before), `${name}: a baseline of a table whose merges go on`);
    for (const table of tables) {
      const order = [statements.attach(table), statements.stopMerges(table), statements.stopMerges(table), statements.restore(table), statements.startMerges(table)];
      assert.deepEqual(since.filter((text) => order.includes(text)), order, name);
    }
  }
}

describe('a whole migration to a new root, on two replicas', function () {
  this.timeout(600_000 + 4 * PAUSE_MS);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('whole');
    await ground.seed(someTables(ground.database));
  });

  afterEach(async () => {
    await ground.end();
  });

  it('ends with every row where it was, every replica RESTORED, and the same in status file, export and status', async () => {
    const before = await ground.oracle();
    const marks = ground.marks();
    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await ground.oracle(), before);
    const status = await ground.json<{ counts: Record<string, number>; replicas: { status: string }[] }>('status', ground.id, '--tables');
    assert.equal(status.counts['RESTORED'], 24);
    assert.ok(status.replicas.length === 24 && status.replicas.every((replica) => replica.status === 'RESTORED'));
    const mirrored = parse(readFileSync(ground.statusFile, 'utf8')) as Record<string, unknown>[];
    const exported = parse((await ground.cli('export', ground.id)).stdout) as Record<string, unknown>[];
    assert.deepEqual(exported, mirrored);
    assert.equal(mirrored.length, 24);
    assert.ok(mirrored.every((entry) => entry['status'] === 'RESTORED' && entry['old_metadata'] === 'deleted'));
    assert.deepEqual(repeated(ground.statements(marks, SENT)), []);
    await assertStandStill(ground, marks);
    const again = await ground.cli('start', ground.spec(), '--execute', '--json');
    assert.equal(again.code, 1);
    assert.match(again.stdout, /ALREADY_COMPLETED/u);
  });

  it('says once that no INSERT from before is known again afterwards, where a table remembers some, and so it is', async () => {
    const remembered = async (): Promise<string[]> =>
      (await ground.json<{ warnings: { code: string; message: string }[] }>('plan', ground.spec())).warnings.filter(({ code }) => code === 'DEDUPLICATION').map(({ message }) => message);
    assert.deepEqual(await remembered(), []);
    const { url, name } = ground.firstHost;
    const inserts = ['t0', 't1'].map((table) => `INSERT INTO \`${ground.database}\`.${table} VALUES ('2030-01-01', 1, 'twice')`);
    await run(url, ...inserts, ...inserts);
    const rows = async (): Promise<unknown[]> => sql(url, `SELECT count() AS n FROM \`${ground.database}\`.t0 WHERE note = 'twice'`);
    assert.deepEqual(await rows(), [{ n: 1 }]);
    const [warning = '', ...more] = await remembered();
    assert.deepEqual(more, []);
    assert.ok(warning.startsWith(`2 tables, ${name} ${ground.database}.t0 among them, remember the last INSERTs`), warning);
    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--with-worker', '--json');
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
    assert.deepEqual(await rows(), [{ n: 1 }]);
    await run(url, ...inserts);
    assert.deepEqual(await rows(), [{ n: 2 }]);
  });

  it('completes when the worker is killed with -9 in each phase, and repeats nothing that was done', async () => {
    const before = await ground.oracle();
    const marks = ground.marks();
    let worker = ground.worker();
    const started = await ground.cli('start', ground.spec((spec) => (spec['parallel'] = { detach: 1, clean: 1, restore: 1 })), '--execute', '--json');
    assert.equal(started.code, 0, started.stdout + started.stderr);
    for (const phase of ['detach', 'clean', 'restart', 'restore']) {
      await ground.until((status) => status.phase === phase, `phase ${phase}`);
      worker.kill('SIGKILL');
      await worker;
      assert.equal((await ground.status()).phase, phase);
      worker = ground.worker();
    }
    const ended = await ground.until((status) => status.outcome !== 'running', 'the end', 200_000);
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual(await ground.oracle(), before);
    assert.deepEqual(repeated(ground.statements(marks, SENT)), []);
  });

  it(`pauses in each phase for ${PAUSE_MS / 1_000} s, starts nothing meanwhile, and goes on when it is resumed`, async () => {
    // Enough of them that no phase is over before its pause arrives.
    await ground.seed(someTables(`more ${ground.database}`, 20));
    const before = await ground.oracle();
    ground.worker();
    const { client, connection } = await connectTemporal({ address: ground.up.temporal.address, namespace: ground.up.temporal.namespace });
    try {
      const handle = client.workflow.getHandle(ground.id);
      await ground.cli('start', ground.spec((spec) => (spec['parallel'] = { detach: 1, clean: 1, restore: 1 })), '--execute');
      for (const phase of ['detach', 'clean', 'restart', 'restore'] as const) {
        while ((await handle.query<{ phase: string }>('status')).phase !== phase) await pause(20);
        await handle.signal('pause', { by: 'somebody', reason: `lunch in ${phase}` });
        const waiting = await ground.until((status) => status.waitingFor?.reason.startsWith('paused') === true, 'paused, nothing in flight');
        assert.match(waiting.waitingFor?.reason ?? '', new RegExp(`lunch in ${phase}`, 'u'));
        assert.equal(waiting.phase, phase);
        const [marks, tree] = [ground.marks(), await wholeTree(ground.up)];
        await pause(PAUSE_MS);
        assert.deepEqual(ground.statements(marks, CHANGES), []);
        assert.deepEqual(belowRoots(await wholeTree(ground.up)), belowRoots(tree));
        assert.equal((await ground.cli('status', ground.id)).code, 4);
        assert.equal((await ground.cli('resume', ground.id)).code, 0);
      }
    } finally {
      await connection.close();
    }
    const ended = await ground.until((status) => status.outcome !== 'running' && status.outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.deepEqual(await ground.oracle(), before);

    function belowRoots(tree: readonly string[]): string[] {
      return tree.filter((line) => line.startsWith(`${ground.from}/clickhouse/tables`) || line.startsWith(`${ground.root}/clickhouse/tables`)).map((line) => line.split(' {')[0] ?? '');
    }
  });

  it('stops at each gate until it is approved', async () => {
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => (document['pauseBefore'] = ['clean', 'restore']));
    assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
    const atClean = await ground.status();
    assert.equal(atClean.waitingFor?.gate, 'clean');
    assert.equal((await ground.cli('approve', ground.id, 'clean')).code, 0);
    const atRestore = await ground.until((status) => status.waitingFor?.gate === 'restore', 'the gate before restore');
    assert.equal(atRestore.counts.ZK_CLEANED, 24);
    assert.equal((await ground.cli('approve', ground.id, 'restore')).code, 0);
    assert.equal((await ground.cli('watch', ground.id)).code, 0);
    assert.deepEqual(await ground.oracle(), before);
  });
});
