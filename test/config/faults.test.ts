import assert from 'node:assert/strict';

import { assertFault, faultsOf, specError, specOf, specText } from './helpers';
import { parseSpec } from '../../src/config/load-spec';

const host = (more: string) => `{ name: ch-1, url: "http://ch-1:8123", ${more} }`;
const url = (text: string) => `{ name: ch-1, url: ${JSON.stringify(text)} }`;
const name = (text: string) => `{ name: ${text}, url: "http://ch-1:8123" }`;
const zookeeper = (more: string) => `{ connect: "zk-1:2181", after: { root: /new }, ${more} }`;
const root = (text: string) => zookeeper(`root: ${JSON.stringify(text)}`);
const connect = (text: string) => `{ connect: ${JSON.stringify(text)}, after: { root: /new } }`;

type Parts = Parameters<typeof specText>[0];
type Case = readonly [title: string, parts: Parts, path: string, line: number, message: RegExp];

function refuses(title: string, cases: readonly Case[]): void {
  describe(title, () => {
    for (const [what, parts, path, line, message] of cases) {
      it(`refuses ${what}`, () => {
        assertFault(specText(parts), path, line, message);
      });
    }
  });
}

it('the spec that the tests vary is sound', () => {
  assert.equal(specOf(specText()).id, 'move');
});

refuses('id', [
  ['an empty one', { id: '""' }, 'id', 1, /empty/],
  ['none', { id: '' }, 'id', 1, /expected a string, found nothing/],
  ['a number', { id: '2024' }, 'id', 1, /expected a string, found the number 2024; quote it/],
  ['more than 200 characters', { id: 'x'.repeat(201) }, 'id', 1, /200/],
  ['a line break', { id: '"a\\nb"' }, 'id', 1, /printable/],
  ['what cannot be seen', { id: '"a\\u200bb"' }, 'id', 1, /printable/],
  ['spaces around it', { id: '" a"' }, 'id', 1, /space/],
  ["a dry run's", { id: 'a.plan' }, 'id', 1, /\.plan/],
]);

refuses('unknown keys', [
  [
    'a slip, with the key that was meant',
    { host: host('restat: {}') },
    'clickhouse.hosts[0].restat',
    4,
    /^unknown key "restat"; did you mean "restart"\?$/,
  ],
  ['another case', { rest: 'pausebefore: []' }, 'pausebefore', 8, /did you mean "pauseBefore"/],
  ['a key that belongs elsewhere', { rest: 'after: {}' }, 'after', 8, /belongs to zookeeper\.after/],
  [
    'a wave of one host',
    { host: host('restart: { wave: 2 }') },
    'clickhouse.hosts[0].restart.wave',
    4,
    /belongs to clickhouse\.restart\.wave/,
  ],
  ['one like no other, with those that are known', { rest: 'zzzzzz: 1' }, 'zzzzzz', 8, /known here: id, clickhouse/],
  ['one that JavaScript has', { rest: '__proto__: 1' }, '__proto__', 8, /unknown key/],
  ['one in tables', { rest: 'tables:\n  includes: []' }, 'tables.includes', 9, /did you mean "include"/],
  ['one in parallel', { rest: 'parallel: { restor: 1 }' }, 'parallel.restor', 8, /did you mean "restore"/],
  [
    'one in an auxiliary ensemble',
    { zookeeper: zookeeper('auxiliary: { zk2: { connect: zk, rot: /a } }') },
    'zookeeper.auxiliary.zk2.rot',
    7,
    /did you mean "root"/,
  ],
  [
    'digestEnv of one host',
    { host: host('zookeeper: { digestEnv: A }') },
    'clickhouse.hosts[0].zookeeper.digestEnv',
    4,
    /belongs to zookeeper\.digestEnv/,
  ],
]);

refuses('secrets', [
  [
    'a password',
    { host: host('password: hunter2') },
    'clickhouse.hosts[0].password',
    4,
    /^a secret itself is refused here; put it in a variable and name it with passwordEnv$/,
  ],
  ['a password at the top', { rest: 'password: hunter2' }, 'password', 8, /secret itself is refused here.*passwordEnv/],
  ['a misspelt password', { rest: 'pasword: hunter2' }, 'pasword', 8, /secret itself is refused here.*passwordEnv/],
  ['a digest', { zookeeper: zookeeper('digest: "u:hunter2"') }, 'zookeeper.digest', 7, /secret itself is refused here.*digestEnv/],
  [
    "ZooKeeper's password",
    { zookeeper: zookeeper('password: hunter2') },
    'zookeeper.password',
    7,
    /secret itself is refused here.*digestEnv/,
  ],
  [
    'a password in passwordEnv',
    { host: host('passwordEnv: "hunter2!"') },
    'clickhouse.hosts[0].passwordEnv',
    4,
    /expected a variable's name/,
  ],
  ['a digest in digestEnv', { zookeeper: zookeeper('digestEnv: "u:hunter2"') }, 'zookeeper.digestEnv', 7, /expected a variable's name/],
  [
    'a variable that begins with a digit',
    { host: host('passwordEnv: 1hunter2') },
    'clickhouse.hosts[0].passwordEnv',
    4,
    /expected a variable's name/,
  ],
  ['a url with a password', { host: url('http://u:hunter2@ch-1:8123') }, 'clickhouse.hosts[0].url', 4, /secret itself is refused here/],
  ['a url with a user', { host: url('http://hunter2@ch-1:8123') }, 'clickhouse.hosts[0].url', 4, /secret itself is refused here/],
  [
    'a url with a password that makes it unreadable',
    { host: url('http://u:hunter2 %@ch-1:8123') },
    'clickhouse.hosts[0].url',
    4,
    /secret itself is refused here/,
  ],
  ['a url with a password in its query', { host: url('http://ch-1:8123?password=hunter2') }, 'clickhouse.hosts[0].url', 4, /no query/],
  [
    'a command with a password',
    { restart: '{ command: [curl, "http://u:hunter2@ch-1"] }' },
    'clickhouse.restart.command[1]',
    6,
    /secret itself is refused here/,
  ],
  [
    'a connect string with credentials',
    { zookeeper: connect('u:hunter2@zk-1:2181') },
    'zookeeper.connect',
    7,
    /secret itself is refused here.*digestEnv/,
  ],
]);

it('no fault repeats a secret', () => {
  const text = specText({
    host: `{ name: ch-1, url: "ftp://u:hunter2@ch-1", password: hunter2, passwordEnv: "hunter2!", user: [hunter2], restart: hunter2 }`,
    restart: '{ command: "curl -u hunter2", timeout: hunter2, sql: hunter2 }',
    zookeeper: '{ connect: "x:hunter2@zk/hunter2", root: hunter2, digest: hunter2, clean: hunter2 }',
    rest: 'pauseBefore: [hunter2]\nparallel: hunter2\ntables: { include: hunter2 }\n',
  });
  const error = specError(() => parseSpec(text));
  assert.ok(error.faults.length >= 14, error.message);
  assert.doesNotMatch(error.message + JSON.stringify(error.faults), /hunter2/);
});

refuses('hosts', [
  ['a name that could be an option', { host: name('-oProxyCommand') }, 'clickhouse.hosts[0].name', 4, /begins with a letter or digit/],
  ['a name with a space', { host: name('ch 1') }, 'clickhouse.hosts[0].name', 4, /letters, digits/],
  ['a number for a name', { host: name('1') }, 'clickhouse.hosts[0].name', 4, /quote it/],
  [
    'two of one name',
    { host: '{ name: ch-2, url: "http://ch-1:8123" }' },
    'clickhouse.hosts[1].name',
    5,
    /"ch-2" is written twice: clickhouse\.hosts\[0\]/,
  ],
  ['two at one url', { host: url('http://ch-2:8123') }, 'clickhouse.hosts[1].url', 5, /"http:\/\/ch-2:8123" is written twice: ch-1/],
  ['two at one url, written otherwise', { host: url('HTTP://CH-2:08123/') }, 'clickhouse.hosts[1].url', 5, /twice/],
  ['another scheme', { host: url('tcp://ch-1:9000') }, 'clickhouse.hosts[0].url', 4, /http:\/\/host:port/],
  ['a url without a scheme', { host: url('ch-1:8123') }, 'clickhouse.hosts[0].url', 4, /http:\/\/host:port/],
  ['no url at all', { host: url('http://') }, 'clickhouse.hosts[0].url', 4, /http:\/\/host:port/],
  ['a port that there is not', { host: url('http://ch-1:81234') }, 'clickhouse.hosts[0].url', 4, /http:\/\/host:port/],
  ['a url with a path', { host: url('http://ch-1:8123/db') }, 'clickhouse.hosts[0].url', 4, /no path/],
  ['a url with a query', { host: url('http://ch-1:8123/?x=1') }, 'clickhouse.hosts[0].url', 4, /no query/],
  ['a url with a fragment', { host: url('http://ch-1:8123/#x') }, 'clickhouse.hosts[0].url', 4, /no path and no query/],
  ['a host without a url', { host: '{ name: ch-1 }' }, 'clickhouse.hosts[0].url', 4, /is required/],
  ['a host that is text', { host: 'ch-1' }, 'clickhouse.hosts[0]', 4, /expected a mapping, found a string/],
  ['an empty user', { host: host('user: ""') }, 'clickhouse.hosts[0].user', 4, /empty/],
  ['a certificate without its key', { host: host('tls: { cert: a.pem }') }, 'clickhouse.hosts[0].tls', 4, /go together/],
  ['a key without its certificate', { host: host('tls: { key: a.pem }') }, 'clickhouse.hosts[0].tls', 4, /go together/],
  ['a directory of certificates', { host: host('tls: { ca: certs/ }') }, 'clickhouse.hosts[0].tls.ca', 4, /directory/],
  ['an empty task queue', { host: host('taskQueue: ""') }, 'clickhouse.hosts[0].taskQueue', 4, /empty/],
]);

it('refuses an empty list of hosts, and none', () => {
  assertFault('id: a\nclickhouse:\n  hosts: []\nzookeeper: { connect: zk }\n', 'clickhouse.hosts', 3, /at least one/);
  assertFault('id: a\nclickhouse: {}\nzookeeper: { connect: zk }\n', 'clickhouse.hosts', 2, /is required/);
});

it('refuses what is missing, at the nearest line there is', () => {
  assert.deepEqual(
    faultsOf('\nclickhouse: { hosts: [{ name: a, url: "http://a" }] }\n').map(({ path, line, message }) => [path, line, message]),
    [
      ['id', 2, 'is required'],
      ['zookeeper', 2, 'is required'],
    ],
  );
});

it('refuses half of a common pair of certificates once', () => {
  const text =
    'id: a\nclickhouse:\n  tls: { cert: a }\n  hosts: [{ name: a, url: "https://a" }, { name: b, url: "https://b" }]\nzookeeper: { connect: zk }\n';
  assertFault(text, 'clickhouse.tls', 3, /go together/);
});

it("takes a pair of certificates that a host's own file completes", () => {
  const text =
    'id: a\nclickhouse:\n  tls: { cert: /a }\n  hosts: [{ name: a, url: "https://a", tls: { key: /k } }]\nzookeeper: { connect: zk }\n';
  assert.deepEqual(specOf(text).hosts[0]?.tls, { cert: '/a', key: '/k' });
});

refuses('restart', [
  ['two strategies', { restart: '{ sql: true, command: [a] }' }, 'clickhouse.restart', 6, /more than one strategy: command, sql; keep one/],
  [
    'two strategies of one host',
    { host: host('restart: { manual: true, none: true }') },
    'clickhouse.hosts[0].restart',
    4,
    /more than one strategy: manual, none/,
  ],
  ['no strategy where hosts move', { restart: '{ timeout: 1h }' }, 'clickhouse.restart', 6, /no restart strategy .*ch-1, ch-2/],
  [
    'no strategy where one host moves',
    { restart: '{}', zookeeper: '{ connect: zk }', host: host('zookeeper: { after: { root: /b } }') },
    'clickhouse.restart',
    6,
    /: ch-1$/,
  ],
  [
    'none where one host moves',
    { host: host('restart: { none: true }') },
    'clickhouse.hosts[0].restart.none',
    4,
    /ch-1 moves to another place/,
  ],
  [
    'a reconfigure that is never run',
    { restart: '{ reconfigure: [a] }', zookeeper: '{ connect: zk }' },
    'clickhouse.restart.reconfigure',
    6,
    /no restart strategy/,
  ],
  [
    'a reconfigure before no restart',
    { restart: '{ reconfigure: [a], none: true }', zookeeper: '{ connect: zk }' },
    'clickhouse.restart.reconfigure',
    6,
    /there is no restart/,
  ],
  [
    'a way back without a restart',
    { restart: '{ reconfigureBack: [a], none: true }', zookeeper: '{ connect: zk }' },
    'clickhouse.restart.reconfigureBack',
    6,
    /no restart/,
  ],
  [
    'a way back to what is deleted',
    { restart: '{ reconfigureBack: [a], sql: true }', zookeeper: '{ connect: zk, after: { root: /b } }' },
    'clickhouse.restart.reconfigureBack',
    6,
    /never run.*after-verify/,
  ],
  ['a new path that is none', { zookeeper: '{ connect: zk, after: { path: "tables/{table}" } }' }, 'zookeeper.after.path', 7, /begins with \//],
  ['a new path in an auxiliary ensemble', { zookeeper: '{ connect: zk, after: { path: "zk2:/{table}" } }' }, 'zookeeper.after.path', 7, /auxiliary/],
  [
    'a new path and a new root',
    { restart: '{ sql: true }', zookeeper: '{ connect: zk, after: { path: "/t/{table}", root: /b } }' },
    'zookeeper.after.path',
    7,
    /these hosts move: ch-1, ch-2; make two migrations/,
  ],
  ['sql: false', { restart: '{ sql: false, command: [a] }' }, 'clickhouse.restart.sql', 6, /only true/],
  ['manual: yes', { restart: '{ manual: yes }' }, 'clickhouse.restart.manual', 6, /only true/],
  [
    'a command line',
    { restart: '{ command: "ssh ch-1 reboot" }' },
    'clickhouse.restart.command',
    6,
    /an argument vector, no shell: \[ssh, /,
  ],
  [
    'a line for reconfigure',
    { restart: '{ sql: true, reconfigure: reboot }' },
    'clickhouse.restart.reconfigure',
    6,
    /an argument vector, no shell: \[ssh, /,
  ],
  ['an empty command', { restart: '{ command: [] }' }, 'clickhouse.restart.command', 6, /must not be empty/],
  ['a command without a program', { restart: '{ command: [""] }' }, 'clickhouse.restart.command', 6, /program/],
  [
    'a number in a command',
    { restart: '{ command: [sleep, 5] }' },
    'clickhouse.restart.command[1]',
    6,
    /expected a string, found the number 5; quote it/,
  ],
  [
    'an unknown placeholder',
    { restart: '{ command: [ssh, "{hostname}"] }' },
    'clickhouse.restart.command[1]',
    6,
    /unknown placeholder "\{hostname\}"; only \{host\}/,
  ],
  ["a shell's variable for the host", { restart: '{ command: [ssh, "${host}"] }' }, 'clickhouse.restart.command[1]', 6, /write \{host\}/],
  [
    "a template's variable for the host",
    { restart: '{ command: [ssh, "{{ host }}"] }' },
    'clickhouse.restart.command[1]',
    6,
    /write \{host\}/,
  ],
  ['a NUL character', { restart: '{ command: ["a\\0b"] }' }, 'clickhouse.restart.command[0]', 6, /NUL/],
  ['a timeout without a unit', { restart: '{ sql: true, timeout: 90 }' }, 'clickhouse.restart.timeout', 6, /needs a unit/],
  ['no time at all', { restart: '{ sql: true, timeout: 0s }' }, 'clickhouse.restart.timeout', 6, /longer than 0s/],
  ['a wave of none', { restart: '{ sql: true, wave: 0 }' }, 'clickhouse.restart.wave', 6, /1 to 1000/],
]);

it('names at most ten hosts that lack a strategy', () => {
  const hosts = Array.from({ length: 12 }, (_, index) => `    - { name: h${String(index)}, url: "http://h${String(index)}" }`).join('\n');
  assertFault(
    `id: a\nclickhouse:\n  hosts:\n${hosts}\nzookeeper: { connect: zk, after: { root: /n } }\n`,
    'clickhouse.restart',
    2,
    /h9 and 2 more$/,
  );
});

for (const argument of ['{print $1}', '{{.State}}', '${HOME}', '{a,b}', '{}', '{ host }', '$(hostname)', '{1}']) {
  it(`leaves ${argument} in a command as it is`, () => {
    const spec = specOf(specText({ restart: `{ command: [a, ${JSON.stringify(argument)}] }` }));
    assert.deepEqual(spec.hosts[0]?.restart.strategy, { kind: 'command', command: ['a', argument] });
  });
}

refuses('zookeeper', [
  ['no connect', { zookeeper: '{ root: /a }' }, 'zookeeper.connect', 7, /is required/],
  ['a list of servers', { zookeeper: '{ connect: [a, b] }' }, 'zookeeper.connect', 7, /expected a string, found a list/],
  ['an empty connect', { zookeeper: connect('') }, 'zookeeper.connect', 7, /found nothing/],
  ['a chroot', { zookeeper: connect('zk-1:2181,zk-2:2181/clickhouse') }, 'zookeeper.connect', 7, /put the chroot into root/],
  ['a scheme', { zookeeper: connect('zk://zk-1:2181') }, 'zookeeper.connect', 7, /without a scheme/],
  ['a comma at the end', { zookeeper: connect('zk-1:2181,') }, 'zookeeper.connect', 7, /server 2/],
  ['port 0', { zookeeper: connect('zk-1:0') }, 'zookeeper.connect', 7, /server 1/],
  ['port 70000', { zookeeper: connect('zk-1:2181,zk-2:70000') }, 'zookeeper.connect', 7, /server 2/],
  ['a server twice', { zookeeper: connect('zk-1,ZK-1:2181') }, 'zookeeper.connect', 7, /zk-1:2181 is written twice/],
  ['a root without a slash', { zookeeper: root('old') }, 'zookeeper.root', 7, /begins with \//],
  ['a root with a slash at the end', { zookeeper: root('/old/') }, 'zookeeper.root', 7, /no slash at the end/],
  ['a root with //', { zookeeper: root('/a//b') }, 'zookeeper.root', 7, /\/\//],
  ['a root with .', { zookeeper: root('/a/./b') }, 'zookeeper.root', 7, /\.\./],
  ['a root with ..', { zookeeper: root('/a/..') }, 'zookeeper.root', 7, /\.\./],
  ['a root with a line break', { zookeeper: root('/a\nb') }, 'zookeeper.root', 7, /characters/],
  ['a faulty root of one host', { host: host('zookeeper: { root: a }') }, 'clickhouse.hosts[0].zookeeper.root', 4, /begins with/],
  ['a faulty root after', { zookeeper: '{ connect: zk, after: { root: a } }' }, 'zookeeper.after.root', 7, /begins with/],
  ['a faulty connect after', { zookeeper: '{ connect: zk, after: { connect: "zk/a" } }' }, 'zookeeper.after.connect', 7, /chroot/],
  [
    'another word for clean',
    { zookeeper: zookeeper('clean: later') },
    'zookeeper.clean',
    7,
    /expected one of before-restore, after-verify, never/,
  ],
  [
    'an auxiliary ensemble called default',
    { zookeeper: zookeeper('auxiliary: { default: { connect: zk } }') },
    'zookeeper.auxiliary.default',
    7,
    /zookeeper\.connect itself/,
  ],
  [
    'an auxiliary name with a colon',
    { zookeeper: zookeeper('auxiliary: { "a:b": { connect: zk } }') },
    'zookeeper.auxiliary["a:b"]',
    7,
    /letters, digits/,
  ],
  [
    'an auxiliary ensemble called __proto__',
    { zookeeper: zookeeper('auxiliary: { __proto__: { connect: zk } }') },
    'zookeeper.auxiliary.__proto__',
    7,
    /letters, digits/,
  ],
  [
    'an auxiliary ensemble without servers',
    { zookeeper: zookeeper('auxiliary: { zk2: {} }') },
    'zookeeper.auxiliary.zk2.connect',
    7,
    /is required/,
  ],
]);

refuses('clean where nothing moves', [
  ['after-verify', { zookeeper: '{ connect: zk, clean: after-verify }' }, 'zookeeper.clean', 7, /these hosts stay: ch-1, ch-2/],
  ['never', { zookeeper: '{ connect: zk, clean: never }' }, 'zookeeper.clean', 7, /these hosts stay/],
  [
    'after-verify to the same root',
    { zookeeper: '{ connect: zk, root: /a, after: { root: /a }, clean: after-verify }' },
    'zookeeper.clean',
    7,
    /these hosts stay/,
  ],
  [
    'after-verify to no root from no root',
    { zookeeper: '{ connect: zk, after: { root: / }, clean: after-verify }' },
    'zookeeper.clean',
    7,
    /these hosts stay/,
  ],
  [
    'after-verify to the same servers',
    { zookeeper: '{ connect: "a,b", after: { connect: "b:2181,A:2181" }, clean: after-verify }' },
    'zookeeper.clean',
    7,
    /these hosts stay/,
  ],
  [
    'after-verify where one host stays',
    { zookeeper: zookeeper('clean: after-verify'), host: host('zookeeper: { root: /new }') },
    'zookeeper.clean',
    7,
    /these hosts stay: ch-1$/,
  ],
]);

refuses('the rest', [
  ['one pattern for a list', { rest: 'tables: { include: shop.* }' }, 'tables.include', 8, /expected a list, found a string/],
  ['an empty list of patterns', { rest: 'tables: { include: [] }' }, 'tables.include', 8, /every table/],
  ['an empty pattern', { rest: 'tables:\n  exclude:\n    - a.*\n    - ""' }, 'tables.exclude[1]', 11, /empty/],
  ['a pattern that is no text', { rest: 'tables: { include: [5] }' }, 'tables.include[0]', 8, /expected a string, found the number 5/],
  ['a pattern with an open bracket', { rest: 'tables: { zkPath: "/a[" }' }, 'tables.zkPath', 8, /bracket/],
  ['an empty disk', { rest: 'tables: { disk: "" }' }, 'tables.disk', 8, /empty/],
  ['an empty list file', { rest: 'tables: { from: "" }' }, 'tables.from', 8, /empty/],
  ['an unknown phase', { rest: 'pauseBefore: [clean, dinner]' }, 'pauseBefore[1]', 8, /expected one of detach, clean, restart, restore/],
  ['a phase twice', { rest: 'pauseBefore:\n  - clean\n  - clean' }, 'pauseBefore[1]', 10, /"clean" is written twice/],
  ['one phase for a list', { rest: 'pauseBefore: clean' }, 'pauseBefore', 8, /expected a list, found a string/],
  ['none in parallel', { rest: 'parallel: { clean: 0 }' }, 'parallel.clean', 8, /1 to 1000/],
  ['1001 in parallel', { rest: 'parallel: { clean: 1001 }' }, 'parallel.clean', 8, /1 to 1000/],
  [
    'one and a half in parallel',
    { rest: 'parallel: { clean: 1.5 }' },
    'parallel.clean',
    8,
    /whole number from 1 to 1000, found the number 1.5/,
  ],
  ['text in parallel', { rest: 'parallel: { clean: "8" }' }, 'parallel.clean', 8, /whole number from 1 to 1000, found a string/],
  ['no number in parallel', { rest: 'parallel: { clean: .nan }' }, 'parallel.clean', 8, /whole number/],
  ['a number for parallel', { rest: 'parallel: 8' }, 'parallel', 8, /expected a mapping, found the number 8/],
  ['another word for onFailure', { rest: 'onFailure: abort' }, 'onFailure', 8, /expected one of stop, continue/],
  ['a bad duration', { rest: 'holdOnFailure: 1 hour' }, 'holdOnFailure', 8, /expected a duration such as 90s/],
  ['a preflight that waits without a unit', { rest: 'preflight: { wait: 60 }' }, 'preflight.wait', 8, /needs a unit/],
  ['another word for verify.writable', { rest: 'verify: { writable: no }' }, 'verify.writable', 8, /expected one of required, report/],
  ['a key without a value', { rest: 'verify:' }, 'verify', 8, /expected a mapping, found nothing/],
  ['an empty task queue', { rest: 'taskQueue: ""' }, 'taskQueue', 8, /empty/],
  ["the server's own task queue", { rest: 'taskQueue: __temporal_x' }, 'taskQueue', 8, /__temporal_/],
  ['a directory for the status file', { rest: 'statusFile: status/' }, 'statusFile', 8, /directory/],
  ['true for the status file', { rest: 'statusFile: true' }, 'statusFile', 8, /expected a string, found true; quote it/],
]);

it('refuses a list and patterns together', () => {
  const tables = { file: 't.yaml', text: '- { db: a, table: b }' };
  assertFault(specText({ rest: 'tables: { from: t.yaml, include: ["a.*"] }' }), 'tables.include', 8, /exclude each other/, { tables });
});

it('refuses faulty words of the command line, by flag', () => {
  const overrides = { pauseBefore: ['clean', 'dinner'], statusFile: '', allowMissingReplicas: ['r1', ' '] };
  assert.deepEqual(
    faultsOf(specText(), { overrides }).map(({ path, line }) => [path, line]),
    [
      ['--pause-before', undefined],
      ['--status-file', undefined],
      ['--allow-missing-replica', undefined],
    ],
  );
});

it('lists every fault at once, from top to bottom', () => {
  const text = specText({
    id: 'a.plan',
    host: '{ name: "", url: x, restat: {} }',
    restart: '{ sql: true, manual: true, timeout: soon }',
    zookeeper: '{ connect: "zk/a", root: a, clean: x }',
    rest: 'pauseBefore: [clean, clean, x]\nparallel: { clean: 0, x: 1 }\n',
  });
  const faults = faultsOf(text);
  assert.deepEqual(faults.map(({ path }) => path).sort(), [
    'clickhouse.hosts[0].name',
    'clickhouse.hosts[0].restat',
    'clickhouse.hosts[0].url',
    'clickhouse.restart',
    'clickhouse.restart.timeout',
    'id',
    'parallel.clean',
    'parallel.x',
    'pauseBefore[1]',
    'pauseBefore[2]',
    'zookeeper.clean',
    'zookeeper.connect',
    'zookeeper.root',
  ]);
  const lines = faults.map(({ line }) => line ?? 0);
  assert.deepEqual(
    lines,
    lines.toSorted((a, b) => a - b),
  );
});

it('concludes nothing from a value that is faulty itself', () => {
  assertFault(
    specText({ restart: '{}', zookeeper: '{ connect: zk, root: old, after: { root: /old } }' }),
    'zookeeper.root',
    7,
    /begins with/,
  );
  assertFault(specText({ restart: 'soon' }), 'clickhouse.restart', 6, /expected a mapping, found a string/);
});

const blobs = (more: string): Parts => ({ rest: `zeroCopy: { blobs: { ${more} } }` });

refuses('the listing of blobs', [
  ['an unknown key', blobs('command: [a], prefx: x'), 'zeroCopy.blobs.prefx', 8, /did you mean "prefix"/],
  ['an unknown key beside it', { rest: 'zeroCopy: { blob: {} }' }, 'zeroCopy.blob', 8, /did you mean "blobs"/],
  ['no command', blobs('prefix: x'), 'zeroCopy.blobs.command', 8, /^is required$/],
  ['a command for a shell', blobs('command: "find /b"'), 'zeroCopy.blobs.command', 8, /expected an argument vector, no shell: \[rclone/],
  ['an empty command', blobs('command: []'), 'zeroCopy.blobs.command', 8, /must not be empty/],
  ['no program', blobs('command: [""]'), 'zeroCopy.blobs.command', 8, /the first argument is the program/],
  ['a number in the command', blobs('command: [head, 3]'), 'zeroCopy.blobs.command[1]', 8, /expected a string, found the number 3/],
  ["a host's name", blobs('command: [ssh, "{host}"]'), 'zeroCopy.blobs.command[1]', 8, /for no host/],
  ['a secret in it', blobs('command: [curl, "http://u:hunter2@s3"]'), 'zeroCopy.blobs.command[1]', 8, /secret itself is refused here/],
  ['a prefix of two lines', blobs('command: [a], prefix: "a\\nb"'), 'zeroCopy.blobs.prefix', 8, /on one line/],
  ['a number for the prefix', blobs('command: [a], prefix: 1'), 'zeroCopy.blobs.prefix', 8, /expected a string, found the number 1/],
  ['a time without a unit', blobs('command: [a], timeout: 60'), 'zeroCopy.blobs.timeout', 8, /needs a unit/],
  ['no time', blobs('command: [a], timeout: 0s'), 'zeroCopy.blobs.timeout', 8, /longer than 0s/],
  ['more time than half a day', blobs('command: [a], timeout: 13h'), 'zeroCopy.blobs.timeout', 8, /at most 12h/],
]);
