import { quoteString } from '../clickhouse/sql';
import { STORE_DATABASE } from '../clickhouse/store';
import type { EnsembleSpec, MigrationSpec } from '../domain/spec';
import { parseAddress, pathLike, type ReplicaAddress } from '../domain/replica-address';
import { moves } from '../workflows/targets';
import { ZooKeeperError } from '../zookeeper/errors';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, report } from './deps';
import { hasTable } from './host-checks';
import { type Occupants, occupants, occupantsAt } from './path-conflicts';
import { inBatches, parentOf, searchAround } from './path-search';
import type { Findings, InspectedHost } from './preflight';
import { entryOf } from './take-over';
import { detachedTables, type DetachedTable, splitPath, tableId } from './take-over-look';

/** So many of a host's replicas are asked for its address: they have the same. */
const ADDRESSES_READ = 8;
/** So many forms of path are tried for a table whose path nobody can say. */
const FORMS_TRIED = 16;

/** A host that moves, with what its detached tables can be told by. */
interface MovingHost {
  readonly host: InspectedHost;
  readonly replicaNames: ReadonlySet<string>;
  /** The parents of its paths: a table without a known owner among their children is taken for its own. */
  readonly parents: ReadonlySet<string>;
  /** Undefined where the server cannot say which tables are detached. */
  readonly detached: readonly DetachedTable[] | undefined;
  /** Paths that its detached tables have where they were made as its other tables were. */
  readonly guesses: ReadonlySet<string>;
  /** Tables that were dropped, whose nodes the server is still to remove. */
  readonly dropped: ReadonlySet<string>;
}

/** A replica that no server of the spec has attached. */
interface Unattached {
  readonly path: string;
  readonly replicaName: string;
  readonly address: ReplicaAddress | undefined;
}

/**
 * Refuses what a move would strand although no server lists it (invariant 3): a replicated table that was detached before the migration
 * is in nobody's `system.replicas`, and has its metadata at the old place all the same. ZooKeeper is searched around the paths of the
 * hosts that move; where a server can say what is detached (`system.detached_tables`, which came in 24.x), what ZooKeeper does not tell is named.
 */
export async function checkDetachedReplicas(connections: Connections, spec: MigrationSpec, hosts: readonly InspectedHost[], found: Findings): Promise<void> {
  const moving = await Promise.all(hosts.filter((host) => moves(host.spec)).map((host) => movingHost(spec, host)));
  const all = occupants(spec, hosts);
  for (const { ensemble, group } of byEnsemble(moving)) {
    report({ doing: `looking for detached tables on ${ensemble.connect}` });
    await checkGroup(connections, spec, { ensemble, group, hosts, all }, found);
  }
}

/** The hosts that move away from one root of one ensemble. */
interface Group {
  readonly ensemble: EnsembleSpec;
  readonly group: readonly MovingHost[];
}

function byEnsemble(moving: readonly MovingHost[]): Group[] {
  const groups = new Map<string, { ensemble: EnsembleSpec; group: MovingHost[] }>();
  for (const one of moving) {
    const { zookeeper: ensemble } = one.host.spec;
    const { group } = groups.get(placeOf(ensemble)) ?? { group: [] };
    groups.set(placeOf(ensemble), { ensemble, group: [...group, one] });
  }
  return [...groups.values()];
}

function placeOf({ connect, root }: EnsembleSpec): string {
  return JSON.stringify([connect, root]);
}

async function movingHost(spec: MigrationSpec, host: InspectedHost): Promise<MovingHost> {
  const own = ownReplicas(host);
  const detached = (await detachedTables(host.server))?.filter(
    (table) => table.database !== STORE_DATABASE && entryOf(spec, { host: host.spec.name, database: table.database, table: table.table }) === undefined,
  );
  return {
    host,
    replicaNames: new Set(own.map(({ replicaName }) => replicaName)),
    parents: new Set(own.map(({ zookeeperPath }) => parentOf(zookeeperPath))),
    detached,
    guesses: new Set((detached ?? []).flatMap((table) => guesses(own, table))),
    dropped: await droppedTables(host),
  };
}

function ownReplicas({ replicas }: InspectedHost): InspectedHost['replicas'][number]['replica'][] {
  return replicas.map(({ replica }) => replica).filter(({ zookeeperName }) => zookeeperName === 'default');
}

function guesses(own: ReturnType<typeof ownReplicas>, table: DetachedTable): string[] {
  const tried = new Set<string>();
  for (const other of own) {
    const guess = pathLike(other.zookeeperPath, other, table);
    if (guess !== undefined) tried.add(guess);
    if (tried.size >= FORMS_TRIED) break;
  }
  return [...tried];
}

async function droppedTables(host: InspectedHost): Promise<ReadonlySet<string>> {
  if (!(await hasTable(host, 'dropped_tables'))) return new Set();
  const rows = await host.server.select<{ database: string; table: string }>('SELECT database, table FROM system.dropped_tables', { doing: 'listing dropped tables' });
  return new Set(rows.map(tableId));
}

async function checkGroup(
  connections: Connections,
  spec: MigrationSpec,
  { ensemble, group, hosts, all }: Group & { readonly hosts: readonly InspectedHost[]; readonly all: Occupants },
  found: Findings,
): Promise<void> {
  const zookeeper = await connections.zookeeper(ensemble, spec.digestEnv);
  const known = new Set(group.flatMap(({ host }) => ownReplicas(host).map(({ zookeeperPath }) => zookeeperPath)));
  const { tables, unseen } = await searchAround(zookeeper, known, group.flatMap((one) => [...one.guesses]));
  const unattached = await inactiveAmong(zookeeper, unlisted(spec, { ensemble, group }, tables, all));
  const neighbours = hosts.filter(({ spec: { zookeeper: place } }) => placeOf(place) === placeOf(ensemble));
  const servers = await addressesOf(zookeeper, unattached.length === 0 ? [] : neighbours);
  const refused = new Set<string>();
  for (const one of unattached) {
    for (const { host } of ownersOf(spec, one, group, servers)) {
      if (one.address !== undefined) refused.add(JSON.stringify([host.spec.name, tableId(one.address)]));
      refuse(host, one, ensemble, found);
    }
  }
  for (const { host, detached } of group) {
    for (const words of unseen) {
      found.warn('NOT_SEARCHED', { host: host.spec.name }, `${host.spec.name} moves, and not all of ZooKeeper was searched for tables of it that are detached: ${words}`, 'see that no replicated table is detached there, or let the user of zookeeper.digestEnv read them');
    }
    for (const { database, table } of detached ?? []) {
      if (refused.has(JSON.stringify([host.spec.name, tableId({ database, table })]))) continue;
      found.warn('DETACHED_TABLE', { host: host.spec.name, database, table }, `it is detached on ${host.spec.name}, which moves: no replica of it was found in ZooKeeper; if it is a replicated table, its metadata stays behind`, 'where it is replicated, ATTACH it and plan again');
    }
  }
}

/** Replicas that go by a name that a host of the group uses, and that no host of the spec lists. */
function unlisted(spec: MigrationSpec, { ensemble, group }: Group, tables: ReadonlyMap<string, readonly string[]>, all: Occupants): Omit<Unattached, 'address'>[] {
  const names = new Set(group.flatMap(({ replicaNames }) => [...replicaNames]));
  return [...tables].flatMap(([path, replicas]) => {
    const here = occupantsAt(all, ensemble, path);
    // Of a path that is taken along every replica is looked at anyway: see checkClosure.
    if (here.some(({ listed }) => listed.selected)) return [];
    return replicas
      .filter((name) => names.has(name) && !spec.allowMissingReplicas.includes(name) && !here.some(({ listed }) => listed.replica.replicaName === name))
      .map((replicaName) => ({ path, replicaName }));
  });
}

/** Those that are not active, with what their servers wrote of themselves. */
async function inactiveAmong(zookeeper: ZooKeeperSession, candidates: readonly Omit<Unattached, 'address'>[]): Promise<Unattached[]> {
  const inactive: Unattached[] = [];
  await inBatches(candidates, async ({ path, replicaName }) => {
    const node = `${path}/replicas/${replicaName}`;
    const [top, active] = await Promise.all([zookeeper.exists(node), zookeeper.exists(`${node}/is_active`)]);
    if (top === undefined || active !== undefined) return;
    inactive.push({ path, replicaName, address: await addressAt(zookeeper, node) });
  });
  return inactive.sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** Undefined also where the node may not be read: then nobody is ruled out. */
async function addressAt(zookeeper: ZooKeeperSession, node: string): Promise<ReplicaAddress | undefined> {
  try {
    return parseAddress((await zookeeper.get(`${node}/host`))?.data.toString() ?? '');
  } catch (error) {
    if (error instanceof ZooKeeperError && error.code === 'NO_AUTH') return undefined;
    throw error;
  }
}

/** Which hosts of the spec call themselves by which address, by what they wrote beside their attached replicas. */
async function addressesOf(zookeeper: ZooKeeperSession, hosts: readonly InspectedHost[]): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const servers = new Map<string, Set<string>>();
  const asked = hosts.flatMap((host) => ownReplicas(host).slice(0, ADDRESSES_READ).map((replica) => ({ host, replica })));
  await inBatches(asked, async ({ host, replica }) => {
    const address = await addressAt(zookeeper, `${replica.zookeeperPath}/replicas/${replica.replicaName}`);
    if (address === undefined) return;
    servers.set(address.server, (servers.get(address.server) ?? new Set()).add(host.spec.name));
  });
  return servers;
}

/**
 * The hosts that a replica may be of. Where a host of the spec goes by the address beside it, it is that one's. Where none does (it was
 * never active, or the server had another name) it is of the one whose detached table would have this path, else of each that has tables
 * beside it. The host always uses the replica's name.
 */
function ownersOf(spec: MigrationSpec, { path, replicaName, address }: Unattached, group: readonly MovingHost[], servers: ReadonlyMap<string, ReadonlySet<string>>): MovingHost[] {
  const inFile = new Set((spec.takeOver?.entries ?? []).filter((entry) => splitPath(entry.zookeeperPath).path === path).map(({ host }) => host));
  if (address?.database === STORE_DATABASE) return [];
  const possible = group.filter(({ host, replicaNames, dropped }) => replicaNames.has(replicaName) && !inFile.has(host.spec.name) && !(address !== undefined && dropped.has(tableId(address))));
  const near = possible.filter(({ parents }) => parents.has(parentOf(path)));
  const guessed = possible.filter(({ guesses: paths }) => paths.has(path));
  const byAddress = servers.get(address?.server ?? '');
  if (byAddress !== undefined) {
    // Several servers behind one address tell little apart.
    return possible.filter((one) => byAddress.has(one.host.spec.name) && (byAddress.size === 1 || near.includes(one) || guessed.includes(one)));
  }
  if (inFile.size > 0) return [];
  return guessed.length > 0 ? guessed : near;
}

function refuse({ spec: { name } }: InspectedHost, { path, replicaName, address }: Unattached, { connect, root }: EnsembleSpec, found: Findings): void {
  const where = { host: name, ...(address === undefined || address.table === '' ? {} : { database: address.database, table: address.table }) };
  found.refuse(
    'STRANDED',
    where,
    `${name} moves to another root or ensemble, and ZooKeeper has its replica "${replicaName}" at ${root}${path} on ${connect}, of a table that is not attached: its metadata would stay behind`,
    `ATTACH the table and take it along; where it is gone for good, SYSTEM DROP REPLICA ${quoteString(replicaName)} FROM ZKPATH ${quoteString(path)}`,
  );
}
