import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { parse } from 'yaml';

import { Connections } from '../../src/activities/deps';
import { neededGrants } from '../../src/activities/grants';
import type { ListedReplica } from '../../src/activities/inspect';
import { inspect } from '../../src/activities/preflight';
import { quoteIdentifier, quoteString, quoteTable } from '../../src/clickhouse/sql';
import { loadSpec } from '../../src/config/load-spec';
import { restartHost, stackDown, stackUp } from '../../src/dev/stack';
import { requireSettings, writeSettings } from '../../src/dev/stack-settings';
import type { HostSpec } from '../../src/domain/spec';
import { planned } from '../support/findings';
import { ProxyHost } from '../support/proxy-host';
import { Ground, hostAt, run, type SpecDocument } from '../support/stack';
import { withZooKeeper } from '../support/zookeeper';

const SCRIPT = '<script>alert(1)</script>';
const DATABASES = ['it\'s `a` \\ "database"\nof {x} 100%25..', 'база 表'];

/** Names and, where ZooKeeper takes them, paths: a path may hold neither control characters nor what is beyond the basic plane. */
const TABLES: readonly (readonly [name: string, path: string])[] = [
  ['`; DROP TABLE system.one; --', "/clickhouse/it's `a` \\ \"path\"/`; DROP TABLE x; --"],
  ["'); SELECT 1 --", "/clickhouse/it's/'); SELECT 1 --"],
  ['..', '/clickhouse/hostile/dots'],
  ['../../etc/passwd', '/clickhouse/hostile/..etc..passwd'],
  ['%2e%2e%2f%00', '/clickhouse/hostile/%2e%2e%2f%00'],
  ['{x} {database} {uuid}', '/clickhouse/hostile/braces'],
  ['tab\tnew\nline\r\u0007', '/clickhouse/hostile/control'],
  [SCRIPT, `/clickhouse/hostile/${SCRIPT.replace('/', '')}`],
  ['| a | **b** | [c](javascript:d) |', '/clickhouse/hostile/| a | **b** [c](javascript:d)'],
  ['\u202eevil\u200b 🦆', '/clickhouse/hostile/duck'],
  ['таблица 表 é', '/clickhouse/таблица/表 é'],
  ['- null: ~ # yes', '/clickhouse/hostile/- null: ~ # yes'],
  ['x'.repeat(140), `/clickhouse/hostile/${'x'.repeat(400)}`],
  ["m'a`c\"ro \\ %2f", "/clickhouse/hostile/база 表/m'a`c\"ro \\ %2f"],
];
/** Of the last table: what stands for its database, its name and the replica is filled in by the servers. */
const BY_MACROS = ['/clickhouse/hostile/{database}/{table}', '{replica}'] as const;

/** Also the macros `{replica}` of the hosts. */
const REPLICAS = ["r'1 `x` \\ \"y\" %2e", 'реплика 2'];

/** The mover's, and the variable that has it. */
const PASSWORD = 'Tell-Nobody-12345';
const VARIABLE = 'CH_ZK_MIGRATE_TEST_PASSWORD';

/** What it says to ZooKeeper of itself. */
const DIGEST = 'mover:Tell-Nobody-67890';
const DIGEST_VARIABLE = 'CH_ZK_MIGRATE_TEST_DIGEST';
const SECRETS = [PASSWORD, DIGEST, 'Tell-Nobody-67890'];

/** Some of the tables, and how the Web UI's markdown has them: as a reader of it sees them, they are what they are. */
const IN_MARKDOWN: Readonly<Record<string, string>> = {
  '`; DROP TABLE system.one; --': '\\`; DROP TABLE system.one; --',
  '../../etc/passwd': '../../etc/passwd',
  '{x} {database} {uuid}': '\\{x\\} \\{database\\} \\{uuid\\}',
  'tab\tnew\nline\r\u0007': 'tab new line \\\\u\\{7\\}',
  [SCRIPT]: '&lt;script&gt;alert\\(1\\)&lt;/script&gt;',
  '| a | **b** | [c](javascript:d) |': '\\| a \\| \\*\\*b\\*\\* \\| \\[c\\]\\(javascript:d\\) \\|',
  'таблица 表 é': 'таблица 表 é',
  ['x'.repeat(140)]: 'x'.repeat(140),
};

const HOST = { restart: { strategy: { kind: 'command', command: ['true'] } } } as unknown as HostSpec;

/** Exactly what a run is said to need, and for each of these rights a user that lacks it. */
const NEEDED = neededGrants(HOST, DATABASES.map((database) => ({ selected: true, replica: { database } }) as unknown as ListedReplica), [], 'read');

/** The embedded host, as every server without `select_from_system_db_requires_grant`, gives this one to every user. */
const GIVEN_TO_ALL = 'SELECT ON system.*';

describe('hostile names, and a user with no right too many', function () {
  this.timeout(600_000);
  let dir: string;
  let ground: Ground;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'ch-zk-migrate-hostile-'));
    const users = [
      { name: 'mover', password: PASSWORD, grants: [...NEEDED] },
      ...NEEDED.map((lacking, i) => ({ name: `lacking_${i}`, password: '', grants: NEEDED.filter((grant) => grant !== lacking) })),
    ];
    await stackUp({ dir, hosts: 2, replicas: 2, zkRoot: '/start', zeroCopy: true, users, remember: false });
    const settings = requireSettings(dir);
    writeSettings(dir, { ...settings, hosts: settings.hosts.map((host, i) => ({ ...host, replica: REPLICAS[i] ?? '' })) });
    for (const { name } of settings.hosts) await restartHost(dir, name);
    ground = Ground.over(await stackUp({ dir, remember: false }), 'hostile');
    assert.deepEqual(ground.hosts.map(({ replica }) => replica), REPLICAS);
    process.env[VARIABLE] = PASSWORD;
    process.env[DIGEST_VARIABLE] = DIGEST;
    for (const [i, { url }] of ground.hosts.entries()) {
      for (const database of DATABASES) await run(url, `CREATE DATABASE ${quoteIdentifier(database)}`);
      for (const [n, [table, path]] of TABLES.entries()) {
        const database = DATABASES[n % 2] ?? '';
        const [declared, replica] = n === TABLES.length - 1 ? BY_MACROS : [path, REPLICAS[i] ?? ''];
        await run(url, `CREATE TABLE ${quoteTable({ database, table })} (x UInt64) ENGINE = ReplicatedMergeTree(${quoteString(declared)}, ${quoteString(replica)}) ORDER BY x`);
      }
    }
    for (const [n, [table]] of TABLES.entries()) {
      const name = quoteTable({ database: DATABASES[n % 2] ?? '', table });
      await run(ground.firstHost.url, `INSERT INTO ${name} SELECT number FROM numbers(${n + 3})`);
      await run(ground.hosts[1]?.url ?? '', `SYSTEM SYNC REPLICA ${name}`);
    }
  });

  after(async () => {
    for (const variable of [VARIABLE, DIGEST_VARIABLE]) Reflect.deleteProperty(process.env, variable);
    await ground.end();
    await stackDown(dir, { deleteData: true });
  });

  const as = (user: string) => (document: SpecDocument): void => {
    document.clickhouse.user = user;
    if (user !== 'mover') return;
    document.clickhouse.passwordEnv = VARIABLE;
    document.zookeeper['digestEnv'] = DIGEST_VARIABLE;
  };

  const gated = (document: SpecDocument): void => {
    as('mover')(document);
    Object.assign(document, { pauseBefore: ['restore'], onFailure: 'continue' });
  };

  it('each right that is missing is refused, with the statement that gives it', async () => {
    for (const [i, lacking] of NEEDED.entries()) {
      if (lacking === GIVEN_TO_ALL) continue;
      const { spec } = await loadSpec(ground.spec(as(`lacking_${i}`)), {});
      const connections = new Connections({});
      try {
        const { refusals } = await inspect(connections, spec);
        assert.deepEqual(
          refusals.map(({ code, host, fix }) => [code, host, fix]),
          ground.hosts.map(({ name }) => ['MISSING_GRANT', name, `GRANT ${lacking} TO \`lacking_${i}\``]),
          lacking,
        );
      } finally {
        await connections.close();
      }
    }
    const doctor = await ground.cli('doctor', ground.spec(as('lacking_1')));
    assert.equal(doctor.code, 1, doctor.stdout);
    assert.ok(doctor.stdout.includes(`GRANT ${NEEDED[1] ?? ''} TO \`lacking_1\``), doctor.stdout);
  });

  it('the right to read system tables too, where the server does not give it to everybody (a scripted answer)', async () => {
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text }) =>
      text.startsWith('CHECK GRANT') && text.includes(GIVEN_TO_ALL) ? JSON.stringify({ data: [{ result: 0 }], rows: 1 }) : undefined,
    );
    const { refusals } = await planned(ground, (document) => {
      as('mover')(document);
      hostAt(0, proxy.url)(document);
    }).finally(() => proxy.close());
    assert.ok(refusals.some(({ code, host, fix }) => code === 'MISSING_GRANT' && host === ground.firstHost.name && fix === 'GRANT SELECT ON system.* TO `mover`'), JSON.stringify(refusals));
  });

  it('the right to read the rows of a zero-copy table, whose proof reads them', async () => {
    const table = { database: DATABASES[0] ?? '', table: 'on blobs' };
    for (const { url, replica } of ground.hosts) {
      await run(url, `CREATE TABLE ${quoteTable(table)} (x UInt8) ENGINE = ReplicatedMergeTree('/clickhouse/hostile/blobs', ${quoteString(replica)}) ORDER BY x SETTINGS storage_policy = 'object_storage'`);
    }
    try {
      const { refusals } = await planned(ground, as('mover'));
      const denied = refusals.filter(({ code }) => code === 'ACCESS_DENIED');
      assert.deepEqual(denied.map(({ host, table: name }) => [host, name]), ground.hosts.map(({ name }) => [name, 'on blobs']), JSON.stringify(refusals));
      assert.ok(denied.every(({ fix }) => fix.startsWith(`GRANT SELECT ON ${quoteTable(table)}`)), JSON.stringify(denied));
    } finally {
      for (const { url } of ground.hosts) await run(url, `DROP TABLE ${quoteTable(table)} SYNC`);
    }
  });

  it('are migrated by that user, and come back as they were everywhere: SQL, ZooKeeper, YAML, JSON, HTML, text; its password is nowhere', async () => {
    const before = await ground.oracle();
    assert.equal(Object.keys(before).length, 2 * TABLES.length);
    assert.deepEqual((await planned(ground, as('mover'))).refusals, []);
    const text = await ground.cli('plan', ground.spec(as('mover')));
    // eslint-disable-next-line no-control-regex -- these are what must not reach a terminal
    assert.doesNotMatch(text.stdout, /[\u0000-\u0009\u000b-\u001f\u007f]/u);

    const worker = ground.worker();
    const started = await ground.cli('start', ground.spec(gated), '--execute', '--watch', '--json');
    assert.equal(started.code, 4, `${started.stdout}\n${started.stderr}`);
    // Somebody has taken the new places of some, so that the Web UI names them.
    const taken = TABLES.filter(([table]) => table in IN_MARKDOWN).map(([, path]) => `${ground.root}${path}`);
    await withZooKeeper(ground.up, async (session) => {
      for (const path of taken) await session.ensurePath(`${path}/replicas/stranger`);
    });
    await ground.cli('approve', ground.id, 'restore');
    const failed = await ground.cli('watch', ground.id, '--json');
    assert.equal(failed.code, 1, `${failed.stdout}\n${failed.stderr}`);
    const details = await ground.details();
    const listed = details.split('\n').filter((line) => line.includes('REPLICA_LIVE: '));
    assert.equal(listed.length, taken.length, details);
    for (const name of Object.values(IN_MARKDOWN)) assert.ok(listed.some((line) => line.includes(`.${name} (restore)`)), `${name}\n${details}`);
    assert.doesNotMatch(details, /[<>]|[^\P{Cc}\n]|\p{Cf}/u);
    await withZooKeeper(ground.up, async (session) => {
      for (const path of taken) await session.deleteTree(path);
    });
    const retried = await ground.cli('retry', ground.id, '--watch', '--json');
    assert.equal(retried.code, 0, `${retried.stdout}\n${retried.stderr}`);
    assert.deepEqual(await ground.oracle(), before);

    const names = (entries: readonly { host: string; db: string; table: string; zk_path: string; replica: string; status: string }[]): string[] =>
      entries.map(({ host, db, table, zk_path, replica, status }) => JSON.stringify([host, db, table, zk_path, replica, status])).sort();
    const expected = ground.hosts
      .flatMap(({ name }, i) => TABLES.map(([table, path], n) => JSON.stringify([name, DATABASES[n % 2], table, path, REPLICAS[i], 'RESTORED'])))
      .sort();
    assert.deepEqual(names(parse(readFileSync(ground.statusFile, 'utf8')) as never), expected);
    const { replicas } = await ground.json<{ replicas: never }>('status', ground.id, '--tables');
    assert.deepEqual(names(replicas), expected);

    const html = await ground.cli('report', ground.id, '--output', join(ground.dir, 'report.html'));
    assert.equal(html.code, 0, html.stderr);
    const page = readFileSync(join(ground.dir, 'report.html'), 'utf8');
    assert.doesNotMatch(page, /<script|\u202e|\u200b/u);
    assert.ok(page.includes('&lt;script&gt;alert(1)&lt;/script&gt;') && page.includes('таблица 表 é'));

    process.env[VARIABLE] = `${PASSWORD} wrong`;
    const refused = await ground.cli('plan', ground.spec(as('mover')), '--json').finally(() => (process.env[VARIABLE] = PASSWORD));
    assert.match(refused.stdout, /AUTHENTICATION_FAILED/u);
    worker.kill('SIGTERM');
    const { all } = (await worker) as { all: string };
    const said = [text, started, failed, retried, html, refused, await ground.cli('status', ground.id, '--tables', '--json'), await ground.cli('doctor', ground.spec(as('mover')))].map((one) => `${one.stdout}${one.stderr}`);
    // Temporal's whole database (histories, memos, failures), and all that the program wrote.
    const files = [dir, ground.dir].flatMap((folder) => readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile() && entry.name !== 'stack.json').map(({ name }) => join(folder, name)));
    const stored = files.map((file) => readFileSync(file, 'latin1'));
    for (const variable of [VARIABLE, DIGEST_VARIABLE]) assert.ok(stored.some((content) => content.includes(ground.id) && content.includes(variable)), files.join(' '));
    for (const content of [all, details, ...said, ...stored]) assert.deepEqual(SECRETS.filter((secret) => content.includes(secret)), []);
  });
});
