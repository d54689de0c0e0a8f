import assert from 'node:assert/strict';

import { specOf, specText } from './helpers';

const SMALLEST = 'id: rebuild\nclickhouse: { hosts: [{ name: ch-1, url: "http://ch-1:8123/" }] }\nzookeeper: { connect: zk-1 }\n';

describe('a resolved spec', () => {
  it('has every default', () => {
    const place = { connect: 'zk-1:2181', root: '' };
    assert.deepEqual(specOf(SMALLEST), {
      id: 'rebuild',
      hosts: [
        {
          name: 'ch-1',
          url: 'http://ch-1:8123',
          user: 'default',
          restart: { strategy: { kind: 'none' }, timeoutMs: 7_200_000 },
          zookeeper: place,
          after: place,
          taskQueue: 'ch-zk-migrate',
        },
      ],
      auxiliary: {},
      clean: 'before-restore',
      tables: { include: [], exclude: [] },
      wave: 1,
      pauseBefore: [],
      parallel: { detach: 8, clean: 8, restore: 8 },
      onFailure: 'stop',
      holdOnFailureMs: 0,
      preflight: { waitMs: 60_000 },
      verify: { writable: 'required', blobs: 'read' },
      taskQueue: 'ch-zk-migrate',
      statusFile: 'status/rebuild.yaml',
      allowMissingReplicas: [],
    });
  });

  it('has everything that was written', () => {
    const spec = specOf(`
id: all
clickhouse:
  user: u
  passwordEnv: P
  tls: { ca: /ca, cert: /c, key: /k }
  hosts:
    - name: ch-1
      url: https://CH-1:8443
      user: own
      passwordEnv: OWN
      tls: { ca: /own }
      restart: { manual: true, timeout: 5m }
      zookeeper: { root: /own, after: { connect: zk-8 } }
      taskQueue: q1
    - { name: ch-2, url: http://ch-2:8123 }
  restart: { reconfigure: [r, "{host}-{host}"], command: [c, "a{host}"], wave: 2, timeout: 1h }
zookeeper:
  connect: zk-1, zk-2:2182
  root: /old
  digestEnv: D
  auxiliary: { zk2: { connect: zk-9, root: / } }
  after: { root: /new }
  clean: never
tables: { include: ["a.*"], exclude: ["*.b"], disk: d, zkPath: /x/* }
pauseBefore: [restore, clean]
parallel: { detach: 1, clean: 2, restore: 3 }
onFailure: continue
holdOnFailure: 90s
preflight: { wait: 2m }
verify: { writable: report, blobs: locks }
zeroCopy: { blobs: { command: [find, /b, '-printf', '%P\\n'], prefix: /b/, timeout: 5m } }
taskQueue: q
statusFile: s.yaml
`);
    const reconfigure = (name: string) => ['r', `${name}-${name}`];
    assert.deepEqual(spec, {
      id: 'all',
      hosts: [
        {
          name: 'ch-1',
          url: 'https://ch-1:8443',
          user: 'own',
          passwordEnv: 'OWN',
          tls: { ca: '/own', cert: '/c', key: '/k' },
          restart: { strategy: { kind: 'manual' }, reconfigure: reconfigure('ch-1'), timeoutMs: 300_000 },
          zookeeper: { connect: 'zk-1:2181,zk-2:2182', root: '/own' },
          after: { connect: 'zk-8:2181', root: '/new' },
          taskQueue: 'q1',
        },
        {
          name: 'ch-2',
          url: 'http://ch-2:8123',
          user: 'u',
          passwordEnv: 'P',
          tls: { ca: '/ca', cert: '/c', key: '/k' },
          restart: { strategy: { kind: 'command', command: ['c', 'ach-2'] }, reconfigure: reconfigure('ch-2'), timeoutMs: 3_600_000 },
          zookeeper: { connect: 'zk-1:2181,zk-2:2182', root: '/old' },
          after: { connect: 'zk-1:2181,zk-2:2182', root: '/new' },
          taskQueue: 'q',
        },
      ],
      digestEnv: 'D',
      auxiliary: { zk2: { connect: 'zk-9:2181', root: '' } },
      clean: 'never',
      tables: { include: ['a.*'], exclude: ['*.b'], disk: 'd', zkPath: '/x/*' },
      wave: 2,
      pauseBefore: ['clean', 'restore'],
      parallel: { detach: 1, clean: 2, restore: 3 },
      onFailure: 'continue',
      holdOnFailureMs: 90_000,
      preflight: { waitMs: 120_000 },
      verify: { writable: 'report', blobs: 'locks' },
      zeroCopy: { blobs: { command: ['find', '/b', '-printf', '%P\\n'], prefix: '/b/', timeoutMs: 300_000 } },
      taskQueue: 'q',
      statusFile: 's.yaml',
      allowMissingReplicas: [],
    });
  });

  it('has the blobs listed for an hour at most, by the keys as they are, unless something else is said', () => {
    const { zeroCopy } = specOf(specText({ rest: 'zeroCopy: { blobs: { command: [aws, "Contents[].{Key: Key}"] } }' }));
    assert.deepEqual(zeroCopy, { blobs: { command: ['aws', 'Contents[].{Key: Key}'], prefix: '', timeoutMs: 3_600_000 } });
    assert.equal('zeroCopy' in specOf(specText({ rest: 'zeroCopy: {}' })), false);
  });

  it('writes one place in one way, so that what stays is equal', () => {
    const [host] = specOf(specText({ zookeeper: '{ connect: "a,B:2181", after: { connect: "b , A:2181", root: / } }' })).hosts;
    assert.deepEqual(host?.after, host?.zookeeper);
    assert.deepEqual(host?.zookeeper, { connect: 'a:2181,B:2181', root: '' });
  });

  it('moves out of a root', () => {
    const [host] = specOf(specText({ zookeeper: '{ connect: a, root: /old, after: { root: "" } }' })).hosts;
    assert.deepEqual([host?.zookeeper.root, host?.after.root], ['/old', '']);
  });

  it("has a host's strategy instead of the common one, also where that is none", () => {
    const host = '{ name: ch-1, url: "http://ch-1", restart: { none: true } }';
    const spec = specOf(specText({ host, restart: '{ command: [a], reconfigure: [b] }', zookeeper: '{ connect: a }' }));
    assert.deepEqual(
      spec.hosts.map(({ restart }) => [restart.strategy.kind, restart.reconfigure]),
      [
        ['none', undefined],
        ['command', ['b']],
      ],
    );
  });

  it('takes a reconfigure for hosts that each have a strategy', () => {
    const hosts = ['ch-1', 'ch-2'].map((name) => `{ name: ${name}, url: "http://${name}", restart: { sql: true } }`);
    const spec = specOf(
      `id: a\nclickhouse: { hosts: [${hosts.join(', ')}], restart: { reconfigure: [r] } }\nzookeeper: { connect: zk, after: { root: /n } }\n`,
    );
    assert.deepEqual(
      spec.hosts.map(({ restart }) => restart.reconfigure),
      [['r'], ['r']],
    );
  });

  it("fills in a host's name as it is, whatever stands in it", () => {
    const host = '{ name: "a.$1-_", url: "http://ch-1" }'.replace('$1', 'x');
    const [first] = specOf(specText({ host, restart: '{ command: ["{host}{host}"] }' })).hosts;
    assert.deepEqual(first?.restart.strategy, { kind: 'command', command: ['a.x-_a.x-_'] });
  });

  it('takes IPv6 addresses', () => {
    const spec = specOf(specText({ host: '{ name: ch-1, url: "http://[::1]:8123" }', zookeeper: '{ connect: "[::1]:2181,[fe80::1]" }' }));
    assert.deepEqual([spec.hosts[0]?.url, spec.hosts[0]?.zookeeper.connect], ['http://[::1]:8123', '[::1]:2181,[fe80::1]:2181']);
  });

  it('takes the gates of the spec and of the command line, in the order of the phases', () => {
    const overrides = { pauseBefore: ['restore', 'detach', 'clean'], statusFile: '/tmp/x.yaml', allowMissingReplicas: ['r3', 'r3', 'r1'] };
    const spec = specOf(specText({ rest: 'pauseBefore: [clean]\nstatusFile: other.yaml' }), { overrides });
    assert.deepEqual(
      [spec.pauseBefore, spec.statusFile, spec.allowMissingReplicas],
      [['detach', 'clean', 'restore'], '/tmp/x.yaml', ['r3', 'r1']],
    );
  });

  describe('has a status file', () => {
    for (const [id, file] of [
      ['orders-to-new-root', /^status\/orders-to-new-root\.yaml$/],
      ['a.b_c-1', /^status\/a\.b_c-1\.yaml$/],
      ['../../etc/passwd', /^status\/_etc_passwd-[0-9a-f]{12}\.yaml$/],
      ['Umzug nach Süden', /^status\/Umzug_nach_S_den-[0-9a-f]{12}\.yaml$/],
      ['.', /^status\/_-[0-9a-f]{12}\.yaml$/],
      ['語'.repeat(200), /^status\/_-[0-9a-f]{12}\.yaml$/],
    ] as const) {
      it(`with a safe name for ${id.slice(0, 20)}`, () => {
        assert.match(specOf(specText({ id: JSON.stringify(id) })).statusFile, file);
      });
    }

    it('of its own for each id', () => {
      const files = ['a/b', 'a_b', 'a b', 'a:b'].map((id) => specOf(specText({ id: JSON.stringify(id) })).statusFile);
      assert.equal(new Set(files).size, files.length);
    });
  });
});
