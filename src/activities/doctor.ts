import { serverWords } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { MigrationError } from '../domain/failure';
import type { Connections } from './deps';
import { hostTarget } from '../workflows/targets';
import { grantStatement, type MissingGrants, missingGrants, neededGrants, TO_LOOK, zeroCopyAmong } from './grants';
import { listReplicas } from './inspect';
import { inspect } from './preflight';

/** One thing that was looked at. */
export interface Check {
  readonly what: string;
  readonly ok: boolean;
  readonly found: string;
  readonly fix?: string;
}

/** Looks at every part of a spec: what is reachable, with which versions and rights, and what to fix. Only SELECTs and reads. */
export async function examine(connections: Connections, spec: MigrationSpec): Promise<Check[]> {
  const hosts = await Promise.all(spec.hosts.map((host) => examineHost(connections, spec, host)));
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
  // Nothing is refused for what is only listed.
  const { zeroCopy: _listed, ...looked } = spec;
  const { refusals } = await inspect(connections, looked);
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

async function examineHost(connections: Connections, spec: MigrationSpec, host: HostSpec): Promise<Check[]> {
  try {
    const server = connections.host(hostTarget(host, 'before'));
    const rows = await server.select<{ version: string; up: string; user: string }>(
      'SELECT version() AS version, toString(uptime()) AS up, currentUser() AS user',
      { doing: 'asking for its version', timeoutMs: 10_000 },
    );
    const found = `ClickHouse ${rows[0]?.version ?? '?'}, up ${rows[0]?.up ?? '?'} s, as ${rows[0]?.user ?? '?'}`;
    const { grants: missing, user, checked } = await grantsOf(server, spec, host);
    return [
      { what: host.name, ok: true, found },
      missing.length === 0
        ? { what: `${host.name} rights`, ok: true, found: checked ? 'all that is needed' : 'not looked at: the server does not know CHECK GRANT (24.10)' }
        : { what: `${host.name} rights`, ok: false, found: `missing: ${missing.join('; ')}`, fix: missing.map((grant) => grantStatement(grant, user)).join('; ') },
    ];
  } catch (error) {
    return [{ what: host.name, ok: false, found: wordsOf(error), fix: `see that ClickHouse answers at ${host.url}, for ${host.user}` }];
  }
}

/** What is needed to look comes first: without it the rest cannot be known. */
async function grantsOf(server: ClickHouseHost, spec: MigrationSpec, host: HostSpec): Promise<MissingGrants> {
  const toLook = await missingGrants(server, TO_LOOK);
  if (toLook.grants.length > 0) return toLook;
  const replicas = await listReplicas(server, spec);
  return missingGrants(server, neededGrants(host, replicas, await zeroCopyAmong(server, replicas), spec.verify.blobs));
}

function wordsOf(error: unknown): string {
  return error instanceof MigrationError ? error.message : serverWords(error);
}
