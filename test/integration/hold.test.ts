/** What a migration holds, and what it must not do any more once it was let go of. */
import assert from 'node:assert/strict';

import { execa } from 'execa';

import { Connections } from '../../src/activities/deps';
import { detachReplica } from '../../src/activities/detach';
import { startMerges } from '../../src/activities/elect';
import { finishMigration } from '../../src/activities/finish';
import { freezeInventory, loadPage } from '../../src/activities/inventory';
import { restartHost } from '../../src/activities/restart';
import { restoreReplica } from '../../src/activities/restore';
import { reattachReplica } from '../../src/activities/return';
import { statementId } from '../../src/activities/statement';
import type { FinishInput } from '../../src/activities/types';
import { quoteTable } from '../../src/clickhouse/sql';
import { FIRST_NOTE, type ReplicaNote } from '../../src/clickhouse/store';
import { loadSpec } from '../../src/config/load-spec';
import { silent } from '../../src/dev/progress';
import { temporalBinary } from '../../src/dev/temporal-binary';
import type { ReplicaEntry } from '../../src/domain/inventory';
import type { HostSpec, MigrationSpec } from '../../src/domain/spec';
import { hostTarget, restartInput, zookeeperTarget } from '../../src/workflows/targets';
import { ProxyHost, TAKEN } from '../support/proxy-host';
import { Ground, run, someTables, sql, type SpecDocument } from '../support/stack';

const inPlace = (document: SpecDocument): void => {
  delete document.zookeeper['after'];
};

/** What a command sees and says. The secret is in its own text in two halves, so that only its output has it. */
const TELLS = ['-e', "console.log(JSON.stringify(process.env)); console.error('hun' + 'ter2'); process.exitCode = 3"];

describe('what a migration holds', function () {
  this.timeout(600_000);
  let ground: Ground;
  let connections: Connections;

  beforeEach(async () => {
    ground = await Ground.on('hold');
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0' || name === 'empty'));
    connections = new Connections({ PATH: process.env['PATH'], CLUSTER_PASSWORD: 'hunter2' });
  });

  afterEach(async () => {
    await connections.close();
    await ground.end();
  });

  async function specOf(change: (document: SpecDocument) => void = inPlace): Promise<MigrationSpec> {
    return (await loadSpec(ground.spec(change), {})).spec;
  }

  async function replicas(spec: MigrationSpec): Promise<ReplicaEntry[]> {
    const { tables } = await loadPage(connections, { migration: spec.id, hosts: spec.hosts.map((host) => hostTarget(host, 'before')), limit: 100 });
    return tables.flatMap((table) => table.replicas);
  }

  async function standing(spec: MigrationSpec): Promise<string[]> {
    return (await replicas(spec)).map(({ host, table, status }) => `${host} ${table} ${status}`).sort();
  }

  const inputFor = (spec: MigrationSpec, entry: ReplicaEntry) => {
    const { status: _status, oldMetadata: _old, attached: _attached, step: _step, ...replica } = entry;
    const host = spec.hosts.find(({ name }) => name === replica.host) as HostSpec;
    return { migration: spec.id, host: hostTarget(host, 'before'), replica, zookeeper: zookeeperTarget(spec), limit: 4 };
  };

  const finish = (spec: MigrationSpec, choices: Pick<FinishInput, 'release' | 'skip' | 'replicas'>) =>
    finishMigration(connections, { migration: spec.id, hosts: spec.hosts.map((host) => hostTarget(host, 'before')), ...choices });

  it('tries of a freeze that were given up and go on cost neither inventory nor notes; two at once make one; a count that shrank completes nothing', async () => {
    let go: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (go = resolve));
    let stalled = 0;
    const stalls = (pattern: RegExp) => async ({ text }: { text: string }): Promise<undefined> => {
      if (!pattern.test(text)) return undefined;
      stalled += 1;
      await gone;
      return undefined;
    };
    // Before it lists, before it claims, before it seals.
    const proxies = await Promise.all(
      [/FROM system\.replicas WHERE database != /u, /^INSERT INTO _ch_zk_migrate\.events/u, /WHERE migration = \{migration:String\} AND take = /u].map((pattern) =>
        ProxyHost.before(ground.firstHost.url, stalls(pattern)),
      ),
    );
    try {
      const given = [];
      for (const { url } of proxies) {
        const spec = await specOf((document) => {
          inPlace(document);
          document.clickhouse.hosts[0] = { ...document.clickhouse.hosts[0], url };
        });
        given.push(freezeInventory(connections, { spec }));
        const before: number = given.length;
        while (stalled < before) await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const spec = await specOf();
      const frozen = await freezeInventory(connections, { spec });
      assert.equal(frozen.replicas, 4);
      for (const replica of await replicas(spec)) await detachReplica(connections, inputFor(spec, replica));
      const detached = await standing(spec);
      assert.equal(detached.filter((word) => word.endsWith(' DETACHED')).length, 4, detached.join());
      go();
      await Promise.all(given);
      assert.deepEqual(await standing(spec), detached);
      await assert.rejects(finish(spec, { release: 'completed', skip: ['*.*'], replicas: 5 }), /inventory of 4 replicas.*begun with 5/u);
      await assert.rejects(finish(spec, { release: 'completed', skip: [], replicas: 4 }), /0 of 4 replicas RESTORED/u);

      for (const replica of await replicas(spec)) await reattachReplica(connections, inputFor(spec, replica));
      await finish(spec, { release: 'aborted', skip: [], replicas: 4 });
      const [again] = await Promise.all([freezeInventory(connections, { spec }), freezeInventory(connections, { spec })]);
      assert.deepEqual([again.replicas, again.resumed, again.counts.INIT], [4, false, 4]);
      assert.deepEqual((await replicas(spec)).map(({ step }) => step), ['none', 'none', 'none', 'none']);
    } finally {
      go();
      await Promise.all(proxies.map((proxy) => proxy.close()));
    }
  });

  it('is claimed again or refused when it starts again, and nothing is done to what was let go of; a restart command sees no secret', async () => {
    const first = await specOf((document) => {
      document.clickhouse.restart['command'] = [process.execPath, ...TELLS];
    });
    const second: MigrationSpec = { ...first, id: `${first.id}-other` };
    await freezeInventory(connections, { spec: first });
    const [one] = await replicas(first);
    assert.ok(one !== undefined);
    const [host] = first.hosts as [HostSpec];
    const restart = { ...restartInput(first, host), forward: false, secretEnvs: ['CLUSTER_PASSWORD'] };
    await assert.rejects(restartHost(connections, restart), ({ message }: Error) => {
      assert.match(message, /the restart command failed.*\n[^]*"PATH":[^]*\*\*\*/u);
      assert.doesNotMatch(message, /hunter2|CLUSTER_PASSWORD/u);
      return true;
    });

    await finish(first, { release: 'completed', skip: ['*.*'], replicas: 4 });
    const marks = ground.marks();
    const refused = async (spec: MigrationSpec, words: RegExp): Promise<void> => {
      const held = { name: 'MigrationError', type: 'HELD', message: words };
      await assert.rejects(detachReplica(connections, inputFor(spec, one)), held);
      await assert.rejects(reattachReplica(connections, inputFor(spec, one)), held);
      await assert.rejects(restartHost(connections, { ...restart, migration: spec.id }), held);
    };
    await refused(first, /let go of it \(completed\)/u);
    await freezeInventory(connections, { spec: second });
    await refused(first, new RegExp(`held by the migration "${second.id}"`, 'u'));
    await assert.rejects(freezeInventory(connections, { spec: first }), { type: 'HELD' });
    await refused(first, new RegExp(`held by the migration "${second.id}"`, 'u'));
    await finish(second, { release: 'aborted', skip: [] });
    assert.equal((await freezeInventory(connections, { spec: first })).resumed, true);
    await assert.rejects(freezeInventory(connections, { spec: second }), { type: 'HELD' });
    assert.deepEqual(ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM (?!RELOAD))/u), []);
    await detachReplica(connections, inputFor(first, one));
  });

  it('nothing is sent to what was restored and let go of, while another holds it; where it is held its merges are started', async () => {
    const first = await specOf();
    const second: MigrationSpec = { ...first, id: `${first.id}-other` };
    await freezeInventory(connections, { spec: first });
    const members = (await replicas(first)).filter(({ table }) => table === 't0');
    const [one] = members;
    assert.ok(one !== undefined);
    const note = async (status: ReplicaNote['status'], seq: number): Promise<void> => {
      const now: ReplicaNote = { ...FIRST_NOTE, seq, status, step: 'restored', baselineTake: 'proved' };
      for (const member of members) await connections.notes(inputFor(first, member).host).write(first.id, member, now);
    };
    const restore = (alone: boolean) => restoreReplica(connections, { ...inputFor(first, one), writable: 'required', blobs: 'locks', alone });
    const merges = () =>
      startMerges(connections, {
        migration: first.id,
        hosts: first.hosts.map((host) => hostTarget(host, 'before')),
        table: { key: '', zookeeperPath: one.zookeeperPath, zookeeperName: one.zookeeperName, replicas: members },
        zookeeper: zookeeperTarget(first),
      });
    const sent = (marks: Record<string, number>) => ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM (?!RELOAD))/u).map(({ host, text }) => `${host} ${text}`).sort();

    await note('RESTORED', 1);
    let marks = ground.marks();
    await merges();
    assert.deepEqual(sent(marks), members.map((member) => `${member.host} SYSTEM START MERGES ${quoteTable(member)}`).sort());
    await note('RESTORED', 3);
    await finish(first, { release: 'aborted', skip: [], replicas: 4 });
    await freezeInventory(connections, { spec: second });
    marks = ground.marks();
    assert.equal((await restore(true)).updates[0]?.status, 'RESTORED');
    await merges();
    await note('ZK_CLEANED', 4);
    await assert.rejects(restore(true), { type: 'HELD' });
    await assert.rejects(merges(), { type: 'HELD' });
    assert.deepEqual(sent(marks), []);
  });

  it('what an abort had attached, and a DETACH that came late took away, is attached once more, or said; what was dropped holds up nobody', async () => {
    const spec = await specOf();
    await freezeInventory(connections, { spec });
    for (const replica of await replicas(spec)) await detachReplica(connections, inputFor(spec, replica));
    for (const replica of await replicas(spec)) await reattachReplica(connections, inputFor(spec, replica));
    const [here, there] = ground.hosts;
    assert.ok(here !== undefined && there !== undefined);
    const t0 = quoteTable({ database: ground.database, table: 't0' });
    await run(here.url, `DETACH TABLE ${t0} PERMANENTLY SYNC`);
    await run(there.url, `DROP TABLE ${quoteTable({ database: ground.database, table: 'empty' })}`);
    const proxy = await ProxyHost.before(here.url, ({ text, response }) => {
      if (!text.startsWith('ATTACH TABLE')) return undefined;
      response.writeHead(403, { 'x-clickhouse-exception-code': '497' });
      response.end('Code: 497. DB::Exception: default: Not enough privileges. (ACCESS_DENIED)');
      return TAKEN;
    });
    try {
      const refusing = await specOf((document) => {
        inPlace(document);
        document.clickhouse.hosts[0] = { ...document.clickhouse.hosts[0], url: proxy.url };
      });
      await assert.rejects(finish(refusing, { release: 'aborted', skip: [], replicas: 4 }), { type: 'INVARIANT', message: /the abort has not ended: .*t0 was attached, is detached again.*Not enough privileges/u });
    } finally {
      await proxy.close();
    }
    // A server from before it could say what is detached: the one that has the dropped table no more.
    const older = await ProxyHost.before(there.url, ({ text }) => (text.includes("name = 'detached_tables'") ? Promise.resolve(JSON.stringify({ data: [{ n: '0' }], rows: 1 })) : undefined));
    try {
      const asked = await specOf((document) => {
        inPlace(document);
        document.clickhouse.hosts[1] = { ...document.clickhouse.hosts[1], url: older.url };
      });
      const { loose } = await finish(asked, { release: 'aborted', skip: [], replicas: 4 });
      assert.deepEqual(loose.map(({ host, table, what }) => `${host} ${table} ${what}`), [`${there.name} empty not attached`]);
    } finally {
      await older.close();
    }
    assert.equal((await sql<{ n: string }>(here.url, `SELECT toString(count()) AS n FROM ${t0}`))[0]?.n, '200');
  });

  async function temporal(...args: string[]): Promise<void> {
    await execa(await temporalBinary(silent), ['workflow', ...args, '--address', ground.up.temporal.address], { stdin: 'ignore' });
  }

  it('an aborted migration that is reset to after its freeze fails and leaves alone what another holds; a statement that hangs is named', async () => {
    const before = await ground.oracle();
    ground.worker();
    const gated = (id: string, ...phases: string[]): string =>
      ground.spec((document) => {
        inPlace(document);
        Object.assign(document, { id, pauseBefore: phases });
      });
    const other = `${ground.id}-other`;
    assert.equal((await ground.cli('start', gated(ground.id, 'detach'), '--execute', '--watch', '--json')).code, 4);
    assert.equal((await ground.cli('abort', ground.id, '--watch', '--json')).code, 0);
    assert.equal((await ground.cli('start', gated(other, 'detach', 'restore'), '--execute', '--watch', '--json')).code, 4);
    const history = await execa(await temporalBinary(silent), ['workflow', 'show', '--workflow-id', ground.id, '--output', 'json', '--address', ground.up.temporal.address], { stdin: 'ignore' });
    const { events } = JSON.parse(history.stdout) as { events: { eventId: string; eventType: string; workflowExecutionSignaledEventAttributes?: unknown }[] };
    const signal = events.findIndex((event) => event.workflowExecutionSignaledEventAttributes !== undefined);
    const task = events.slice(0, signal).findLast(({ eventType }) => eventType === 'EVENT_TYPE_WORKFLOW_TASK_COMPLETED');
    assert.ok(task !== undefined);
    const marks = ground.marks();
    await temporal('reset', '--workflow-id', ground.id, '--event-id', task.eventId, '--reapply-exclude', 'Signal', '--reason', 'test');
    await ground.cli('approve', ground.id, 'detach');
    const failed = await ground.until(({ outcome }) => outcome === 'failed', 'the refusal');
    assert.ok(failed.failures.length > 0 && failed.failures.every(({ code, message }) => code === 'HELD' && message.includes(other)), JSON.stringify(failed.failures));
    assert.deepEqual(ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM|INSERT INTO _ch_zk_migrate\.manifests)/u), []);

    await ground.cli('approve', other, 'detach');
    assert.equal((await ground.cli('watch', other, '--json')).code, 4);
    const queryId = statementId(other, { host: ground.firstHost.name, database: ground.database, table: 't0' }, 'restore');
    const hangs = fetch(`${ground.firstHost.url}/?query_id=${queryId}&function_sleep_max_microseconds_per_block=60000000`, { method: 'POST', body: 'SELECT sleepEachRow(0.1) FROM numbers(900) SETTINGS max_block_size = 1' });
    while ((await sql(ground.firstHost.url, `SELECT 1 FROM system.processes WHERE query_id = '${queryId}'`)).length === 0);
    await ground.cli('approve', other, 'restore');
    const named = new RegExp(`waiting for the statement ${queryId} on ${ground.firstHost.name}, which runs since \\d{4}-`, 'u');
    const end = Date.now() + 240_000;
    for (let seen = ''; !named.test(seen); seen = (await ground.cli('status', other, '--json')).stdout) assert.ok(Date.now() < end, seen);
    await run(ground.firstHost.url, `KILL QUERY WHERE query_id = '${queryId}'`);
    await hangs.catch(() => undefined);
    assert.equal((await ground.cli('watch', other, '--json')).code, 0);
    assert.deepEqual(await ground.oracle(), before);
  });

  it('an abort of a closed run waits for hosts that do not answer, says so, and goes on without the one that is left out', async () => {
    const dark = new Set<string>();
    const proxies = await Promise.all(
      ground.hosts.map(({ name, url }) => ProxyHost.before(url, () => {
        if (dark.has(name)) throw new Error('dark');
        return undefined;
      })),
    );
    try {
      ground.worker();
      const spec = ground.spec((document) => {
        inPlace(document);
        document.clickhouse.hosts = document.clickhouse.hosts.map((host, index) => ({ ...host, url: proxies[index]?.url }));
        document['pauseBefore'] = ['clean'];
      });
      assert.equal((await ground.cli('start', spec, '--execute', '--watch', '--json')).code, 4);
      await temporal('terminate', '--workflow-id', ground.id);
      const [here, lost] = ground.hosts.map(({ name }) => name) as [string, string];
      dark.add(here).add(lost);
      await ground.cli('abort', ground.id);
      const waiting = await ground.until(({ reasons }) => reasons.some((reason) => reason.includes('preflight is retried: HOST_UNREACHABLE')), 'why it waits');
      assert.equal(waiting.outcome, 'running');
      dark.delete(here);
      await ground.until(({ reasons }) => reasons.some((reason) => reason.includes('freezeInventory is retried: HOST_UNREACHABLE') && reason.includes(lost)), 'the other host');
      const aborted = await ground.cli('abort', ground.id, '--without-host', lost, '--watch', '--json');
      assert.equal(aborted.code, 0, aborted.stdout + aborted.stderr);
      assert.equal((await sql<{ n: string }>(ground.firstHost.url, `SELECT toString(count()) AS n FROM ${quoteTable({ database: ground.database, table: 't0' })}`))[0]?.n, '200');
    } finally {
      await Promise.all(proxies.map((proxy) => proxy.close()));
    }
  });
});
