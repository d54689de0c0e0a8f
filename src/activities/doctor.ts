import { serverWords } from '../clickhouse/errors';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { MigrationError } from '../domain/failure';
import type { Connections } from './deps';
import { storageOf } from './zero-copy-storage';
import { hostTarget } from '../workflows/targets';
import { inspect } from './preflight';

/** One thing that was looked at. */
export interface Check {
  readonly what: string;
  readonly ok: boolean;
  readonly found: string;
  readonly fix?: string;
}

/** What a migration needs of a user on every host, as `CHECK GRANT` takes it. Source: https://clickhouse.com/docs/sql-reference/statements/grant */
export const NEEDED_GRANTS = [
  'SELECT ON system.*',
  'SHOW TABLES ON *.*',
  'SYSTEM MERGES ON *.*',
  'SYSTEM RESTORE REPLICA ON *.*',
  'SYSTEM SYNC REPLICA ON *.*',
  'DROP TABLE ON *.*',
  'CREATE TABLE ON *.*',
  'INSERT ON *.*',
  'CREATE DATABASE ON _ch_zk_migrate.*',
] as const;

/** What it needs beside, where zero-copy replication is on. */
export const NEEDED_GRANTS_ZERO_COPY = ['SYSTEM MOVES ON *.*', 'SYSTEM CLEANUP ON *.*', 'SELECT ON *.*'] as const;

/** Looks at every part of a spec: what is reachable, with which versions and rights, and what to fix. Only SELECTs and reads. */
export async function examine(connections: Connections, spec: MigrationSpec): Promise<Check[]> {
  const hosts = await Promise.all(spec.hosts.map((host) => examineHost(connections, host)));
  const ensembles = new Map(spec.hosts.flatMap((host) => [host.zookeeper, host.after]).map((one) => [JSON.stringify(one), one]));
  const zookeepers = await Promise.all(
    [...ensembles.values()].map(async (ensemble): Promise<Check> => {
      const what = `ZooKeeper ${ensemble.connect}${ensemble.root || '/'}`;
      try {
        const top = await connections.zookeeper({ connect: ensemble.connect, root: '' }, spec.digestEnv);
        const there = ensemble.root === '' || (await top.exists(ensemble.root)) !== undefined;
        return { what, ok: true, found: there ? 'answers' : 'answers; the root does not exist yet' };
      } catch (error) {
        return { what, ok: false, found: wordsOf(error), fix: 'see that it can be reached from here' };
      }
    }),
  );
  const checks = [...hosts.flat(), ...zookeepers];
  if (checks.some(({ ok }) => !ok)) return checks;
  const { refusals } = await inspect(connections, spec);
  return [
    ...checks,
    {
      what: 'preflight',
      ok: refusals.length === 0,
      found: refusals.length === 0 ? 'nothing stands against it' : `${refusals.length} refusals`,
      ...(refusals.length === 0 ? {} : { fix: 'ch-zk-migrate plan SPEC names each, and what to do' }),
    },
  ];
}

async function examineHost(connections: Connections, host: HostSpec): Promise<Check[]> {
  try {
    const server = connections.host(hostTarget(host, 'before'));
    const rows = await server.select<{ version: string; up: string; user: string }>(
      'SELECT version() AS version, toString(uptime()) AS up, currentUser() AS user',
      { doing: 'asking for its version', timeoutMs: 10_000 },
    );
    const found = `ClickHouse ${rows[0]?.version ?? '?'}, up ${rows[0]?.up ?? '?'} s, as ${rows[0]?.user ?? '?'}`;
    const missing = await missingGrants(connections, host);
    return [
      { what: host.name, ok: true, found },
      missing.length === 0
        ? { what: `${host.name} rights`, ok: true, found: 'all that is needed' }
        : { what: `${host.name} rights`, ok: false, found: `missing: ${missing.join('; ')}`, fix: missing.map((grant) => `GRANT ${grant} TO …`).join('; ') },
    ];
  } catch (error) {
    return [{ what: host.name, ok: false, found: wordsOf(error), fix: `see that ClickHouse answers at ${host.url}, for ${host.user}` }];
  }
}

/**
 * The rights of {@link NEEDED_GRANTS} that the user lacks.
 *
 * @throws MigrationError when the server does not answer. A server that does not know `CHECK GRANT` (before 24.10) is believed: a
 *   statement that is refused later stops its table, and says so.
 */
export async function missingGrants(connections: Connections, host: HostSpec): Promise<string[]> {
  const server = connections.host(hostTarget(host, 'before'));
  const missing: string[] = [];
  for (const grant of [...NEEDED_GRANTS, ...((await storageOf(server)).on ? NEEDED_GRANTS_ZERO_COPY : [])]) {
    try {
      const [row] = await server.select<{ result: number | string }>(`CHECK GRANT ${grant}`, { doing: 'asking for rights', timeoutMs: 10_000 });
      if (Number(row?.result) !== 1) missing.push(grant);
    } catch (error) {
      if (error instanceof MigrationError && error.type === 'UNSUPPORTED') return [];
      throw error;
    }
  }
  return missing;
}

function wordsOf(error: unknown): string {
  return error instanceof MigrationError ? error.message : serverWords(error);
}
