import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseError, type ClickHouseSettings } from '@clickhouse/client';
import { waitFor } from '../../src/dev/processes';
import { makeSandbox, type Sandbox } from './sandbox';

describe('an embedded host answers as a ClickHouse server does', function () {
  this.timeout(300_000);
  let sandbox: Sandbox;

  before(async () => {
    const reader = { name: 'reader', password: 'secret', grants: ['SHOW, SELECT ON *.*'] };
    sandbox = await makeSandbox({ hosts: 1, users: [reader] });
  });
  after(async () => {
    await sandbox.remove();
  });

  const url = (): string => sandbox.stack.hosts[0]?.url ?? '';
  const failure = async (query: string): Promise<ClickHouseError> => {
    const error: unknown = await sandbox.run(1, query).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert(error instanceof ClickHouseError);
    return error;
  };

  it('binds query parameters of each kind, side by side', async () => {
    const ask = async (i: number) =>
      sandbox.rows<{ text: string; list: number[] }>(1, 'SELECT {text:String} AS text, {list:Array(UInt32)} AS list', {
        text: `it's \t \\ ${i}`,
        list: [i, 2],
      });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(i)));
    assert.deepEqual(
      answers.flat(),
      answers.map((_, i) => ({ text: `it's \t \\ ${i}`, list: [i, 2] })),
    );
  });

  it('keeps the settings of one request from the next', async () => {
    const value = async (settings: ClickHouseSettings): Promise<unknown> =>
      (await sandbox.host(1).query({ query: "SELECT getSetting('max_block_size') AS v", format: 'JSONEachRow', clickhouse_settings: settings })).json();
    const standard = await value({});
    assert.deepEqual(await value({ max_block_size: '7' }), [{ v: 7 }]);
    assert.deepEqual(await value({}), standard);
  });

  it('answers errors with their code and name', async () => {
    assert.equal(nameOf(await failure('SELECT * FROM nowhere')), '60 UNKNOWN_TABLE');
    assert.equal(nameOf(await failure('SELECT 1; SELECT 2')), '62 SYNTAX_ERROR');
    assert.equal(nameOf(await failure('SELECT 1 SETTINGS no_such_setting = 1')), '115 UNKNOWN_SETTING');
  });

  it('refuses a wrong password, and what a user has no right to', async () => {
    const ask = async (query: string, password: string): Promise<string> => {
      const headers = { 'x-clickhouse-user': 'reader', 'x-clickhouse-key': password };
      const answer = await fetch(url(), { method: 'POST', body: query, headers });
      return `${answer.status} ${answer.headers.get('x-clickhouse-exception-code')}`;
    };
    assert.equal(await ask('SELECT 1', 'wrong'), '403 516');
    assert.equal(await ask('SELECT 1', 'secret'), '200 null');
    assert.equal(await ask('CREATE DATABASE refused', 'secret'), '500 497');
  });

  it('shows a running statement under the id of its caller, and can kill it', async () => {
    const id = 'migration/ch-1/detach/π';
    const running = sandbox.host(1).query({ query: 'SELECT sleep(3)', query_id: id }).catch((error: unknown) => error);
    const query = 'SELECT query_id FROM system.processes WHERE query_id = {id:String}';
    assert(await waitFor(async () => (await sandbox.rows(1, query, { id })).length === 1, 2500, 50));
    const again = await sandbox.host(1).query({ query: 'SELECT 1', query_id: id }).catch((error: unknown) => error);
    assert.equal(nameOf(again), '216 QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING');
    await sandbox.run(1, `KILL QUERY WHERE query_id = '${id}' SYNC`);
    assert.equal(nameOf(await running), '394 QUERY_WAS_CANCELLED');
    assert.deepEqual(await sandbox.rows(1, query, { id }), []);
  });

  it('goes on with a statement whose caller has hung up', async () => {
    await sandbox.run(1, 'CREATE TABLE default.slow (x UInt8) ENGINE = MergeTree ORDER BY x');
    const abort = new AbortController();
    const insert = sandbox
      .host(1)
      .command({ query: 'INSERT INTO default.slow SELECT sleep(1)', abort_signal: abort.signal })
      .catch(() => undefined);
    await sleep(300);
    abort.abort();
    await insert;
    assert(await waitFor(async () => (await sandbox.rows(1, 'SELECT * FROM default.slow')).length === 1, 5000));
  });

  it('takes an insert with many rows, and gives a big answer', async () => {
    await sandbox.run(1, 'CREATE TABLE default.many (x UInt32, t String) ENGINE = MergeTree ORDER BY x');
    const values = Array.from({ length: 50_000 }, (_, x) => ({ x, t: `row; '${x}'\n\n` }));
    await sandbox.host(1).insert({ table: 'default.many', values, format: 'JSONEachRow' });
    assert.deepEqual(await sandbox.rows(1, 'SELECT count() AS n, max(x) AS m FROM default.many'), [{ n: 50_000, m: 49_999 }]);
    const big = await sandbox.host(1).query({ query: "SELECT repeat('x', 100) FROM numbers(200000)", format: 'TabSeparated' });
    assert.equal((await big.text()).length, 200_000 * 101);
  });

  it('logs each statement at its start and its end', async () => {
    await sandbox.host(1).query({ query: 'SELECT 42', query_id: 'logged-1' });
    const lines = readFileSync(sandbox.stack.hosts[0]?.statementLog ?? '', 'utf8').trim().split('\n');
    const own = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line['queryId'] === 'logged-1');
    assert.equal(own.length, 2);
    assert.match(String(own[0]?.['text']), /^SELECT 42/);
    assert.equal(own[1]?.['done'], true);
    assert.equal(own[1]['code'], 0);
  });

  it('comes back by itself after SYSTEM SHUTDOWN, younger than before', async () => {
    await sleep(1500);
    const uptime = async (): Promise<number> => (await sandbox.rows<{ u: number }>(1, 'SELECT uptime() AS u'))[0]?.u ?? -1;
    const before = await uptime();
    await sandbox.run(1, 'SYSTEM SHUTDOWN');
    assert(
      await waitFor(
        async () => {
          const now = await uptime().catch(() => undefined);
          return now !== undefined && now < before;
        },
        120_000,
        50,
      ),
    );
    assert.deepEqual(await sandbox.rows(1, 'SELECT count() AS n FROM default.many'), [{ n: 50_000 }]);
  });
});

/** Code and type of what ClickHouse refused. */
function nameOf(error: unknown): string {
  return error instanceof ClickHouseError ? `${error.code} ${error.type}` : `no ClickHouse error: ${String(error)}`;
}
