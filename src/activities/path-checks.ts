import { MigrationError } from '../domain/failure';
import { refusePath } from '../domain/guards';
import { type MovedReplica, replicaLabel } from '../domain/inventory';
import type { MigrationSpec } from '../domain/spec';
import type { Connections } from './deps';
import type { ListedReplica } from './inspect';
import { placeByDefault, readDefaults, type ReplicaDefaults } from './path-move';
import type { Findings, InspectedHost, InspectedTable } from './preflight';

const BY_HAND = "set the servers' default_replica_path to what is asked for, or leave the table out with tables.exclude";

/**
 * Where each replica would be, where the spec gives tables other paths, and all that stands against it: no statement chooses the path, it is
 * the server's present `default_replica_path`. Only SELECTs and ZooKeeper reads.
 */
export async function checkPaths(
  connections: Connections,
  spec: MigrationSpec,
  hosts: readonly InspectedHost[],
  tables: readonly InspectedTable[],
  found: Findings,
): Promise<ReadonlyMap<ListedReplica, MovedReplica>> {
  const places = new Map<ListedReplica, MovedReplica>();
  const { newPath } = spec;
  if (newPath === undefined) return places;
  const defaults = await defaultsOf(hosts, found);
  for (const { members } of tables) {
    for (const { host, listed } of members) {
      const there = defaults.get(host);
      if (there !== undefined) placeOne(listed, newPath, there, places, found);
    }
  }
  for (const table of tables) checkReplicas(table, places, found);
  checkAgainstOthers(tables, places, found);
  for (const table of tables) await checkFree(connections, spec, table, places, found);
  return places;
}

async function defaultsOf(hosts: readonly InspectedHost[], found: Findings): Promise<ReadonlyMap<InspectedHost, ReplicaDefaults>> {
  const defaults = new Map<InspectedHost, ReplicaDefaults>();
  for (const host of hosts) {
    try {
      defaults.set(host, await readDefaults(host.server));
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      found.refuse('PATH_UNSUPPORTED', { host: host.spec.name }, error.message, 'a path is moved by ATTACH TABLE … AS REPLICATED, which newer versions have');
    }
  }
  return defaults;
}

function placeOne(listed: ListedReplica, newPath: string, defaults: ReplicaDefaults, places: Map<ListedReplica, MovedReplica>, found: Findings): void {
  const { replica } = listed;
  if (replica.zookeeperName !== 'default') {
    found.refuse('PATH_DIFFERS', replica, `it is in the auxiliary ensemble "${replica.zookeeperName}", and would leave it`, 'leave it out with tables.exclude');
    return;
  }
  if (listed.databaseEngine !== 'Atomic') {
    found.refuse('DATABASE_ENGINE', replica, `the database ${replica.database} has the engine ${listed.databaseEngine}: only in an Atomic one a table is attached AS REPLICATED`, 'leave it out with tables.exclude');
    return;
  }
  const place = placeByDefault(replica, newPath, defaults);
  if ('differs' in place) {
    found.refuse('PATH_DIFFERS', replica, place.differs, BY_HAND);
    return;
  }
  const unsafe = refusePath(place.to.zookeeperPath);
  if (unsafe !== undefined) found.refuse('PATH_DIFFERS', replica, `its path would become ${place.to.zookeeperPath}: ${unsafe}`, BY_HAND);
  else if (place.to.zookeeperPath === replica.zookeeperPath) found.refuse('PATH_DIFFERS', replica, `its path is ${replica.zookeeperPath} already`, 'leave it out with tables.exclude or tables.zkPath');
  else places.set(listed, place.to);
}

/** Replicas of one path stay replicas of one path, under names of their own. */
function checkReplicas({ path, members }: InspectedTable, places: ReadonlyMap<ListedReplica, MovedReplica>, found: Findings): void {
  const [first, ...others] = members.flatMap(({ listed }) => {
    const to = places.get(listed);
    return to === undefined ? [] : [{ replica: listed.replica, to }];
  });
  for (const { replica, to } of others) {
    if (first === undefined) return;
    if (to.zookeeperPath !== first.to.zookeeperPath) {
      found.refuse('PATH_SPLIT', replica, `the replicas of ${path} would part: its path would become ${to.zookeeperPath}, that of ${replicaLabel(first.replica)} ${first.to.zookeeperPath}`, "a path that differs between a table's replicas ({uuid} of tables made apart, a macro) cannot be used");
    } else if (to.replicaName === first.to.replicaName) {
      found.refuse('PATH_TAKEN', replica, `it and ${replicaLabel(first.replica)} would both be the replica "${to.replicaName}" of ${to.zookeeperPath}`, "give the servers' default_replica_name a macro that differs");
    }
  }
}

/** No two tables may come to one path, and none above or below another's, of today or to come. */
function checkAgainstOthers(tables: readonly InspectedTable[], places: ReadonlyMap<ListedReplica, MovedReplica>, found: Findings): void {
  const owners = new Map<string, InspectedTable>();
  const keyOf = (table: InspectedTable, path: string): string => JSON.stringify([table.ensemble.connect, table.ensemble.root, path]);
  for (const table of tables) owners.set(keyOf(table, table.path), table);
  const comers = new Map<string, InspectedTable>();
  const entries = tables.flatMap((table) => table.members.slice(0, 1).flatMap(({ listed }) => ({ table, listed, to: places.get(listed)?.zookeeperPath })));
  for (const { table, listed, to } of entries) {
    if (to === undefined) continue;
    const other = owners.get(keyOf(table, to)) ?? comers.get(keyOf(table, to));
    if (other !== undefined) found.refuse('PATH_TAKEN', listed.replica, `its path would become ${to}, and so ${other.path === to ? 'is' : 'would'} that of ${other.members[0] === undefined ? 'another table' : replicaLabel(other.members[0].listed.replica)}`, 'a pattern needs what tells tables apart: {database} and {table}, or {uuid}');
    comers.set(keyOf(table, to), table);
  }
  const all = [...tables.map((table) => ({ table, path: table.path })), ...entries.flatMap(({ table, to }) => (to === undefined ? [] : [{ table, path: to }]))];
  const known = new Set(all.map(({ table, path }) => keyOf(table, path)));
  const above = new Map(all.flatMap(({ table, path }) => ancestors(path).map((ancestor) => [keyOf(table, ancestor), path] as const)));
  for (const { table, listed, to } of entries) {
    if (to === undefined) continue;
    const clash = ancestors(to).find((path) => known.has(keyOf(table, path))) ?? above.get(keyOf(table, to));
    if (clash !== undefined) found.refuse('PATH_CONTAINS_OTHER', listed.replica, `its path would become ${to}, and ${clash} is a table's path too: one lies below the other`, BY_HAND);
  }
}

function ancestors(path: string): string[] {
  const components = path.split('/').slice(1);
  return components.slice(0, -1).map((_, depth) => `/${components.slice(0, depth + 1).join('/')}`);
}

async function checkFree(
  connections: Connections,
  spec: MigrationSpec,
  { ensemble, members }: InspectedTable,
  places: ReadonlyMap<ListedReplica, MovedReplica>,
  found: Findings,
): Promise<void> {
  const zookeeper = await connections.zookeeper(ensemble, spec.digestEnv);
  for (const path of new Set(members.flatMap(({ listed }) => places.get(listed)?.zookeeperPath ?? []))) {
    if ((await zookeeper.exists(path)) === undefined) continue;
    const where = members[0]?.listed.replica ?? { host: '' };
    found.refuse('TARGET_EXISTS', where, `${ensemble.root}${path} exists already on ${ensemble.connect}`, 'choose another path, or remove what is there once you know what it is');
  }
}
