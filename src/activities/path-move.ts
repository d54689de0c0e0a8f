import { clickHouseCode } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type MovedReplica, replicaLabel } from '../domain/inventory';
import { fillInPath } from '../domain/replica-path';
import type { MigrationSpec } from '../domain/spec';

/** What a server makes of a replica that is attached AS REPLICATED. */
export interface ReplicaDefaults {
  readonly path: string;
  readonly name: string;
  readonly macros: Readonly<Record<string, string>>;
}

/**
 * A server's present `default_replica_path`, `default_replica_name` and macros.
 *
 * @throws MigrationError `UNSUPPORTED` when it does not tell them, or does not know ATTACH … AS REPLICATED
 */
export async function readDefaults(host: ClickHouseHost): Promise<ReplicaDefaults> {
  const doing = 'asking which path a replica gets by default';
  try {
    // The server's own parser tells whether it knows the statement; nothing is run.
    await host.select("SELECT formatQuery('ATTACH TABLE a AS NOT REPLICATED')", { doing });
  } catch (error) {
    if (!(error instanceof MigrationError) || clickHouseCode(error) === undefined) throw error;
    throw new MigrationError('UNSUPPORTED', `${host.name} does not know ATTACH TABLE … AS REPLICATED: ${error.message}`, { cause: error });
  }
  const settings = await host.select<{ name: string; value: string }>(
    "SELECT name, value FROM system.server_settings WHERE name IN ('default_replica_path', 'default_replica_name')",
    { doing },
  );
  const macros = await host.select<{ macro: string; substitution: string }>('SELECT macro, substitution FROM system.macros', { doing });
  const valueOf = (name: string): string => {
    const value = settings.find((row) => row.name === name)?.value;
    if (value === undefined) throw new MigrationError('UNSUPPORTED', `${host.name} does not tell its ${name}`);
    return value;
  };
  return {
    path: valueOf('default_replica_path'),
    name: valueOf('default_replica_name'),
    macros: Object.fromEntries(macros.map(({ macro, substitution }) => [macro, substitution])),
  };
}

/** Where the server would put a replica now, or why that is not what the spec's pattern asks for, in words. */
export function placeByDefault(
  replica: InventoryReplica,
  pattern: string,
  defaults: ReplicaDefaults,
): { readonly to: MovedReplica } | { readonly differs: string } {
  const fill = (text: string) => fillInPath(text, defaults.macros, replica);
  const asked = fill(pattern);
  const would = fill(defaults.path);
  const name = fill(defaults.name);
  if ('unknown' in asked) return { differs: `its server has no macro "${asked.unknown}" for ${pattern}` };
  if ('unknown' in would) return { differs: `its server has no macro "${would.unknown}" for its default_replica_path ${defaults.path}` };
  if ('unknown' in name || name.path === '') return { differs: `its server has no default_replica_name that can be filled in: ${defaults.name}` };
  if (asked.path !== would.path) {
    return { differs: `its path would become ${would.path}, by its server's default_replica_path ${defaults.path}, and ${asked.path} is asked for` };
  }
  return { to: { zookeeperPath: asked.path, replicaName: name.path } };
}

/**
 * The replicas with the places they will have, where the spec gives them other paths.
 *
 * @throws MigrationError `WRONG_PATH` where one would not go where the spec asks for: the configuration changed since the preflight
 */
export async function withNewPaths(
  host: ClickHouseHost,
  { newPath }: Pick<MigrationSpec, 'newPath'>,
  replicas: readonly InventoryReplica[],
): Promise<readonly InventoryReplica[]> {
  if (newPath === undefined) return replicas;
  const defaults = await readDefaults(host);
  return replicas.map((replica) => {
    const place = placeByDefault(replica, newPath, defaults);
    if ('differs' in place) throw new MigrationError('WRONG_PATH', `${replicaLabel(replica)}: ${place.differs}`);
    return { ...replica, after: place.to };
  });
}

/** Throws unless the server would, at this moment, put the replica where the inventory has it: what is attached AS REPLICATED has no other choice. */
export async function stillGoesTo(host: ClickHouseHost, replica: InventoryReplica, to: MovedReplica): Promise<void> {
  const now = placeByDefault(replica, to.zookeeperPath, await readDefaults(host));
  const differs = 'differs' in now ? now.differs : now.to.replicaName === to.replicaName ? undefined : `its replica name would become ${now.to.replicaName}, and ${to.replicaName} was planned`;
  if (differs === undefined) return;
  throw new MigrationError('WRONG_PATH', `${replicaLabel(replica)} is left as it is: ${differs}`);
}
