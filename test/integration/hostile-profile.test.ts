/**
 * A user whose profile changes what answers say. The embedded engine reads no profiles, so each statement gets the profile's settings on
 * its way to it, where it brings none of its own: there they are in force.
 */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { ClickHouseSettings } from '@clickhouse/client';

import { ClickHouseHost } from '../../src/clickhouse/host';
import { quoteTable } from '../../src/clickhouse/sql';
import { planned } from '../support/findings';
import { type Profile, ProxyHost } from '../support/proxy-host';
import { Ground, run, someTables, type SpecDocument, sql } from '../support/stack';

const HOSTILE: Readonly<Record<string, string>> = {
  limit: '1',
  offset: '1',
  max_result_rows: '1',
  result_overflow_mode: 'break',
  max_rows_to_read: '1',
  read_overflow_mode: 'break',
  max_rows_to_group_by: '1',
  group_by_overflow_mode: 'any',
  max_rows_to_sort: '1',
  sort_overflow_mode: 'break',
  max_rows_in_set: '1',
  set_overflow_mode: 'break',
  max_rows_in_join: '1',
  join_overflow_mode: 'break',
  max_execution_time: '1',
  timeout_overflow_mode: 'break',
  additional_table_filters: "{'system.parts': 'rows > 50', 'system.replicas': 'is_readonly'}",
  aggregate_functions_null_for_empty: '1',
  empty_result_for_aggregation_by_empty_set: '1',
  join_use_nulls: '1',
  transform_null_in: '1',
  final: '1',
  async_insert: '1',
  data_type_default_nullable: '1',
  input_format_defaults_for_omitted_fields: '0',
  output_format_json_quote_64bit_integers: '0',
  date_time_output_format: 'unix_timestamp',
};

describe("a user's profile with settings that change what answers say", function () {
  this.timeout(600_000);
  let ground: Ground;
  let proxies: ProxyHost[];

  beforeEach(async () => {
    ground = await Ground.on('profile');
    await ground.seed(someTables(ground.database, 3));
    proxies = await Promise.all(ground.hosts.map(({ url }) => ProxyHost.before(url)));
  });

  afterEach(async () => {
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await ground.end();
  });

  function under(profile: Profile): (document: SpecDocument) => void {
    for (const proxy of proxies) proxy.profile = profile;
    return ({ clickhouse }) => clickhouse.hosts.forEach((host, index) => (host['url'] = proxies[index]?.url));
  }

  it('changes nothing in the plan, in what is moved and proved, nor in what fails its proof', async () => {
    // They are in force: a query without settings of its own is answered so.
    const asked = await fetch(`${proxies.map((proxy) => ((proxy.profile = { values: HOSTILE }), proxy))[0]?.url ?? ''}/?query=${encodeURIComponent("SELECT count(), sum(rows) FROM system.parts WHERE database = 'none' FORMAT TSV")}`);
    assert.equal(await asked.text(), '');
    const plan = async (change?: (document: SpecDocument) => void): Promise<unknown> => {
      const done = await ground.cli('plan', ground.spec(change), '--json');
      assert.equal(done.code, 0, done.stdout + done.stderr);
      return JSON.parse(done.stdout);
    };
    assert.deepEqual(await plan(under({ values: HOSTILE })), await plan());

    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => {
      under({ values: HOSTILE })(document);
      Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
    });
    const started = await ground.cli('start', spec, '--execute', '--watch', '--json');
    assert.equal(started.code, 4, started.stdout + started.stderr);
    for (const { url } of ground.hosts) {
      const t1 = quoteTable({ database: ground.database, table: 't1' });
      const [part] = await sql<{ path: string }>(url, `SELECT path FROM system.parts WHERE active AND database = '${ground.database}' AND table = 't1' ORDER BY name LIMIT 1`);
      await run(url, `DETACH TABLE ${t1}`);
      cpSync(part?.path ?? '', join(ground.dir, url.slice(-5)), { recursive: true });
      rmSync(part?.path ?? '', { recursive: true });
      await run(url, `ATTACH TABLE ${t1}`);
    }
    await ground.cli('approve', ground.id, 'restore');
    const { failures, counts } = await ground.until(({ outcome }) => outcome === 'failed', 'the proof');
    assert.deepEqual([...new Set(failures.map(({ table, code }) => `${table} ${code}`))], ['t1 PROOF_FAILED']);
    assert.equal(counts.RESTORED, 2 * 6);
    const rest = (seen: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(seen).filter(([key]) => !key.endsWith('.t1')));
    assert.deepEqual(rest(await ground.oracle()), rest(before));
  });

  it('and cannot be changed is refused where it decides; a limit is left as it is', async () => {
    const values = { aggregate_functions_null_for_empty: '1', max_execution_time: '600' };
    const { refusals } = await planned(ground, under({ values, fixed: ['aggregate_functions_null_for_empty', 'max_execution_time'] }));
    assert.deepEqual(refusals.map(({ code, host }) => [code, host]), ground.hosts.map(({ name }) => ['SETTING_FIXED', name]));
    assert.match(refusals[0]?.message ?? '', /the profile of the user default keeps aggregate_functions_null_for_empty on another value than 0/u);
    const limited = await planned(ground, under({ values, fixed: ['max_execution_time'] }));
    assert.deepEqual(limited.refusals, []);
  });

  it('a server that does not know all of them gets those that it knows, also once it is another', async () => {
    const [proxy] = proxies;
    assert.ok(proxy !== undefined);
    const host = new ClickHouseHost({ name: 'ch-1', url: proxy.url, user: 'default', zookeeper: { connect: '', root: '' } }, undefined);
    const settings = async (): Promise<Record<string, string>> => {
      const names = ['limit', 'final', 'use_query_cache', 'transform_null_in'];
      const rows = await host.select<{ name: string; changed: number }>('SELECT name, changed FROM system.settings WHERE name IN {names:Array(String)}', { params: { names }, doing: 'asking' });
      return Object.fromEntries(rows.filter(({ changed }) => changed === 1).map(({ name }) => [name, 'sent']));
    };
    try {
      const all = { limit: 'sent', final: 'sent', use_query_cache: 'sent', transform_null_in: 'sent' };
      assert.deepEqual(await settings(), all);
      // Replaced by an older one: the first statement finds that out.
      proxy.profile = { unknown: ['final', 'use_query_cache', 'additional_table_filters'] satisfies (keyof ClickHouseSettings)[] };
      await assert.rejects(settings(), /code 115/u);
      assert.deepEqual(await settings(), { limit: 'sent', transform_null_in: 'sent' });
    } finally {
      await host.close();
    }
  });
});
