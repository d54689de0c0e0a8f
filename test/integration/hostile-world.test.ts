import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { quoteTable } from '../../src/clickhouse/sql';
import { planned } from '../support/findings';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { Ground, hostAt, inPlace, run, type SpecDocument, sql } from '../support/stack';

describe('a hostile world', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('world');
    await ground.onEach(`CREATE DATABASE \`${ground.database}\``);
  });

  afterEach(async () => {
    await ground.end();
  });

  async function create(table: string, path: string): Promise<void> {
    const name = quoteTable({ database: ground.database, table });
    for (const { url, replica } of ground.hosts) {
      await run(url, `CREATE TABLE ${name} (p UInt8, x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/${ground.id}/${path}', '${replica}') PARTITION BY p ORDER BY x`);
    }
    await run(ground.firstHost.url, `INSERT INTO ${name} SELECT number % 3, number FROM numbers(50)`);
    await ground.onEach(`SYSTEM SYNC REPLICA ${name}`);
  }

  const ours = (document: SpecDocument): void => {
    inPlace(document);
    document.tables = { include: [`${ground.database}.*`] };
  };

  it('tables that became others between the preflight and the run, by path, by uuid, or are gone, are left alone and named; the rest is migrated', async () => {
    for (const table of ['moved', 'again', 'gone', 'same']) await create(table, table);
    ground.worker();
    const gated = ground.spec((document) => {
      ours(document);
      Object.assign(document, { pauseBefore: ['detach'], onFailure: 'continue' });
    });
    assert.equal((await ground.cli('start', gated, '--execute', '--watch', '--json')).code, 4);
    for (const table of ['moved', 'again', 'gone']) await ground.onEach(`DROP TABLE ${quoteTable({ database: ground.database, table })} SYNC`);
    await create('moved', 'elsewhere');
    await create('again', 'again');
    const before = await ground.oracle();
    const marks = ground.marks();
    await ground.cli('approve', ground.id, 'detach');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the failure');
    const seen = [...new Set(failed.failures.map(({ table, code }) => `${table} ${code}`))].sort();
    assert.deepEqual(seen, ['again TABLE_CHANGED', 'gone MANIFEST_MISSING', 'moved TABLE_CHANGED']);
    assert.equal(failed.failures.length, 6);
    assert.equal(failed.counts.RESTORED, 2);
    assert.deepEqual(ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM|DROP|ALTER) .*(?:moved|again|gone)/u), []);
    assert.deepEqual(await ground.oracle(), before);
    const skipped = await ground.cli('retry', ground.id, ...['moved', 'again', 'gone'].flatMap((table) => ['--skip', `${ground.database}.${table}`]), '--watch', '--json');
    assert.equal(skipped.code, 0, skipped.stdout + skipped.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });

  /** The embedded engine has no such queue: one is scripted before it, whose rows come into the table when they are flushed, and are gone when it is detached. */
  it('asynchronous INSERTs that a server has acknowledged are in the table before it is detached, also such as come late, and without the right to flush them; what cannot be had is said', async () => {
    const name = quoteTable({ database: ground.database, table: 'lone' });
    const { url, replica } = ground.firstHost;
    await run(url, `CREATE TABLE ${name} (x UInt64) ENGINE = ReplicatedMergeTree('/clickhouse/${ground.id}/lone', '${replica}') ORDER BY x`, `INSERT INTO ${name} SELECT number FROM numbers(50)`);
    let buffered: string[] = [];
    let acknowledged = 0;
    const acknowledge = (): void => void buffered.push(`insert-${(acknowledged += 1)}`);
    const write = async (): Promise<void> => {
      const ids = buffered;
      buffered = [];
      for (const id of ids) await run(url, `INSERT INTO ${name} VALUES (${id.slice('insert-'.length)}000)`);
    };
    let how: 'flushed' | 'refused' | 'stuck' | 'written' = 'flushed';
    const flushes: string[] = [];
    const proxy = await ProxyHost.before(url, async ({ text, response }) => {
      // One that is being written stands in no queue any more.
      const waiting = how === 'written' ? [] : buffered;
      if (text.includes('FROM system.asynchronous_inserts')) {
        const row = { database: ground.database, table: 'lone', n: String(waiting.length), ids: waiting };
        return JSON.stringify({ data: waiting.length === 0 ? [] : [row], rows: waiting.length === 0 ? 0 : 1 });
      }
      if (text.includes("metric = 'PendingAsyncInsert'")) return JSON.stringify({ data: [{ n: String(buffered.length) }], rows: 1 });
      // After the manifest was read, before the DETACH.
      if (text.startsWith('INSERT INTO _ch_zk_migrate.manifests') && flushes.length === 1) acknowledge();
      if (text.startsWith('DETACH TABLE')) buffered = [];
      if (text !== 'SYSTEM FLUSH ASYNC INSERT QUEUE') return undefined;
      flushes.push(how);
      if (how === 'flushed' || how === 'written') {
        await write();
        return '';
      }
      if (how === 'refused') setTimeout(() => void write(), 700);
      response.writeHead(403, { 'x-clickhouse-exception-code': '497' });
      response.end('Code: 497. DB::Exception: default: Not enough privileges. (ACCESS_DENIED)');
      return TAKEN;
    });
    try {
      ground.worker();
      const rows = async (): Promise<number> => Number((await sql<{ n: string }>(url, `SELECT toString(count()) AS n FROM ${name}`))[0]?.n);
      const idOf = (): string => `${ground.id}-${how}`;
      const migrate = async (): Promise<string> => {
        acknowledge();
        const spec = ground.spec((document) => {
          ours(document);
          hostAt(0, proxy.url)(document);
          document.id = idOf();
        });
        const plan = await ground.cli('plan', spec, '--json');
        const warned = (JSON.parse(plan.stdout) as { warnings: { code: string; table: string; fix: string }[] }).warnings.filter(({ code }) => code === 'ASYNC_INSERTS');
        assert.deepEqual(warned.map(({ table }) => table), how === 'written' ? [] : ['lone'], plan.stdout);
        if (how !== 'written') assert.match(warned[0]?.fix ?? '', /GRANT SYSTEM FLUSH ASYNC INSERT QUEUE ON \*\.\* TO `default`/u);
        const done = await ground.cli('start', spec, '--execute', '--watch', '--json');
        assert.equal(done.code, 0, done.stdout + done.stderr);
        return (await ground.cli('report', idOf())).stdout;
      };
      const lost = /asynchronous INSERT\(s\) that .* may be lost; SYSTEM FLUSH ASYNC INSERT QUEUE was refused: .*Not enough privileges/u;

      assert.doesNotMatch(await migrate(), lost);
      assert.deepEqual([await rows(), acknowledged, flushes], [52, 2, ['flushed', 'flushed']]);
      how = 'written';
      assert.doesNotMatch(await migrate(), lost);
      assert.deepEqual([await rows(), acknowledged, flushes.slice(2)], [53, 3, ['written']]);
      how = 'refused';
      assert.doesNotMatch(await migrate(), lost);
      assert.deepEqual([await rows(), acknowledged], [54, 4]);
      how = 'stuck';
      assert.match(await migrate(), lost);
      assert.deepEqual([await rows(), acknowledged], [54, 5]);
    } finally {
      await proxy.close();
    }
  });

  it("answers cut in half after the statement was done, with the worker's clock an hour behind and the command line's an hour ahead", async () => {
    await create('one', 'one');
    await create('two', 'two');
    const before = await ground.oracle();
    const kinds: Readonly<Record<string, RegExp>> = {
      manifest: /^INSERT INTO _ch_zk_migrate\.manifests/u,
      note: /^INSERT INTO _ch_zk_migrate\.statuses/u,
      detach: /^DETACH TABLE/u,
      attach: /^ATTACH TABLE/u,
      restore: /^SYSTEM RESTORE REPLICA/u,
      proof: /^(?:SELECT|WITH)[^]*_ch_zk_migrate\.manifests[^]*FROM system\.parts/u,
    };
    const cut = new Set<string>();
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text, real, response }) => {
      const [kind] = Object.entries(kinds).find(([, pattern]) => pattern.test(text)) ?? [];
      if (kind === undefined || cut.has(kind)) return undefined;
      cut.add(kind);
      const answer = await real();
      response.writeHead(200, { 'content-length': String(answer.text.length + 100) });
      response.write(answer.text.slice(0, answer.text.length / 2));
      setTimeout(() => response.destroy(), 20);
      return TAKEN;
    });
    try {
      const shifted = (hours: number): string => {
        const file = join(ground.dir, `shift${hours}.js`);
        writeFileSync(file, `const real = Date; const by = ${hours} * 3_600_000;
          globalThis.Date = class extends real { constructor(...of) { of.length === 0 ? super(real.now() + by) : super(...of); } static now() { return real.now() + by; } };`);
        return `--require ${file}`;
      };
      process.env['NODE_OPTIONS'] = shifted(-1);
      ground.worker();
      process.env['NODE_OPTIONS'] = shifted(1);
      const spec = ground.spec((document) => {
        ours(document);
        hostAt(0, proxy.url)(document);
      });
      const done = await ground.cli('start', spec, '--execute', '--watch', '--json');
      assert.equal(done.code, 0, done.stdout + done.stderr);
      const { counts, updated } = await ground.status() as unknown as { counts: Record<string, number>; updated: string };
      assert.equal(counts['RESTORED'], 4);
      assert.ok(Math.abs(Date.parse(updated) - Date.now()) < 600_000, `${updated} is by a clock that is off`);
    } finally {
      delete process.env['NODE_OPTIONS'];
      await proxy.close();
    }
    assert.deepEqual([...cut].sort(), Object.keys(kinds).sort());
    assert.deepEqual(await ground.oracle(), before);
  });

  it('a server whose clock was set back an hour between two events: what is held stays held', async () => {
    await create('one', 'one');
    ground.worker();
    const gated = ground.spec((document) => {
      ours(document);
      document['pauseBefore'] = ['detach'];
    });
    assert.equal((await ground.cli('start', gated, '--execute', '--watch', '--json')).code, 4);
    assert.equal((await ground.cli('abort', ground.id, '--watch', '--json')).code, 0);
    // That abort was noted while the clock was ahead.
    await ground.onEach(`INSERT INTO _ch_zk_migrate.events (migration, at, kind, data) VALUES ('${ground.id}', now64(6) + toIntervalHour(1), 'released', '{"why":"aborted"}')`);
    assert.equal((await ground.cli('start', gated, '--execute', '--watch', '--json')).code, 4);
    const other = await planned(ground, (document) => {
      ours(document);
      document.id = `${ground.id}-other`;
    });
    assert.deepEqual([...new Set(other.refusals.map(({ code }) => code))], ['HELD']);
    assert.equal((await ground.cli('abort', ground.id, '--watch', '--json')).code, 0);
  });

  it('an answer of 100 MB is read, and one without an end is cut off and refused', async () => {
    await create('one', 'one');
    const lists = 'FROM system.replicas WHERE database != ';
    const space = ' '.repeat(1 << 20);
    let megabytes = 0;
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text, real, response }) => {
      if (!text.includes(lists)) return undefined;
      const answer = await real();
      response.writeHead(200, {});
      const body = function* (): Generator<string> {
        for (let sent = 0; sent < megabytes; sent += 1) yield space;
        yield answer.text;
      };
      // Whoever has heard enough hangs up.
      await pipeline(Readable.from(body()), response).catch(() => undefined);
      return TAKEN;
    });
    const through = (document: SpecDocument): void => {
      ours(document);
      hostAt(0, proxy.url)(document);
    };
    try {
      megabytes = 100;
      assert.deepEqual((await planned(ground, through)).refusals, []);
      megabytes = 10_000;
      const { refusals } = await planned(ground, through);
      assert.ok(refusals.some(({ code, host, message }) => code === 'HOST_UNREACHABLE' && host === ground.firstHost.name && message.includes('an answer of more than')), JSON.stringify(refusals));
    } finally {
      await proxy.close();
    }
  });
});
