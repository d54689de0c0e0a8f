import { randomUUID } from 'node:crypto';

import type { ClickHouseHost } from '../clickhouse/host';
import {
  addEventUnlessTurned,
  addNewColumns,
  createStore,
  latestNotesSql,
  noteOfRow,
  removeNotes,
  SEALED_ROWS,
  STORE_DATABASE,
  writeInventory,
} from '../clickhouse/store';
import { type SkipRule, skippedBy } from '../config/skips';
import { MigrationError } from '../domain/failure';
import { type Hold, isAllowedToMiss, lostHosts, type SealedHost } from '../domain/hold';
import {
  type InventoryPage,
  type InventoryReplica,
  type ReplicaEntry,
  type ReplicaRef,
  type ReplicatedTable,
  replicaLabel,
  tableOrderKey,
} from '../domain/inventory';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { NO_COUNTS, type StatusCounts } from '../domain/status';
import { type Connections, ensembleOf, report, stopIfCancelled } from './deps';
import { heldBy, heldByOthers, readHold } from './hold';
import { listReplicas } from './inspect';
import { withNewPaths } from './path-move';
import { hostTarget } from '../workflows/targets';
import type { FreezeOutcome, HostTarget, LoadPageInput, PreflightInput } from './types';

/** What a spec says that must not change between runs of one migration. */
function fingerprint(spec: MigrationSpec, host: HostSpec): string {
  return JSON.stringify([spec.clean, host.zookeeper, host.after, ...(spec.newPath === undefined ? [] : [spec.newPath])]);
}

/** Whether the own tables of a host of a spec know the migration: its inventory is sealed there, and not let go of. */
export async function knownHere(connections: Connections, spec: MigrationSpec, host: HostSpec): Promise<boolean> {
  return (await readHold(connections.host(hostTarget(host, 'before')), spec.id)).sealed;
}

/** A host at a freeze. */
interface FreezingHost {
  readonly spec: HostSpec;
  readonly server: ClickHouseHost;
  /** As it was when this try began: another one may seal, or let go, at any moment. */
  readonly hold: Hold;
  /** What this try's rows of the inventory are known by. */
  readonly take: string;
}

/**
 * Freezes the inventory: each host keeps its own replicas in its own table. A host that has it already keeps what it has, whatever the
 * server lists now (its tables may be detached). Claims come first and are looked at again after they were written, so that of two
 * migrations that come at once at most one goes on (invariant 11). A try that was given up and goes on all the same changes nothing of what
 * another one sealed: its rows have a take of their own, which is never read.
 */
export async function freezeInventory(connections: Connections, { spec, withoutHosts = [], unnamedBlobs }: PreflightInput): Promise<FreezeOutcome> {
  report({ doing: 'freezing the inventory', total: spec.hosts.length });
  const hosts = await Promise.all(spec.hosts.map((host) => freezingHost(connections, spec, host)));
  const known = hosts.filter(({ hold }) => hold.sealed);
  const fresh = hosts.filter(({ hold }) => !hold.sealed);
  // What a completed migration let go of may be another's by now: it is claimed again.
  const claimed = hosts.filter(({ hold }) => !hold.sealed || !hold.held);
  for (const host of known) checkFingerprint(spec, host);
  refuseFewer(spec, withoutHosts, hosts);
  if (known.length > 0) for (const host of fresh) refuseAdded(spec, host);
  await Promise.all(known.map(({ server }) => createStore(server)));
  await Promise.all(fresh.map((host) => writeTake(spec, host)));
  stopIfCancelled();
  await Promise.all(claimed.map(({ server, hold, take }) => addEventUnlessTurned(server, spec.id, hold.turns, 'claimed', { take })));
  try {
    await Promise.all(claimed.map((host) => yieldToOthers(spec, host)));
  } catch (error) {
    // Nothing is held by a migration that does not begin, on no host.
    await Promise.all(claimed.map(({ server, hold }) => addEventUnlessTurned(server, spec.id, hold.turns, 'released', { why: 'held by another' })));
    throw error;
  }
  stopIfCancelled();
  const begunWith = fresh.length === 0 ? [] : await Promise.all(hosts.map((host) => sealedHost(spec, host)));
  for (const host of fresh) await seal(spec, host, { hosts: begunWith, ...(unnamedBlobs === undefined ? {} : { unnamedBlobs }) });
  return { ...(await tally(connections, spec)), resumed: known.length > 0 };
}

async function freezingHost(connections: Connections, spec: MigrationSpec, host: HostSpec): Promise<FreezingHost> {
  const server = connections.host(hostTarget(host, 'before'));
  const hold = await readHold(server, spec.id);
  return { spec: host, server, hold, take: hold.sealed ? hold.take : randomUUID() };
}

function checkFingerprint(spec: MigrationSpec, { spec: host, hold }: FreezingHost): void {
  if (hold.fingerprint === fingerprint(spec, host)) return;
  throw new MigrationError(
    'HELD',
    `${host.name} knows a migration "${spec.id}" already, with another zookeeper, after or clean in its spec: give this one another id, or finish that one with its own spec`,
  );
}

/** A host that is missing would keep what the migration detached on it; the preflight says so first. */
function refuseFewer(spec: MigrationSpec, withoutHosts: readonly string[], hosts: readonly FreezingHost[]): void {
  const lost = lostHosts(hosts.map(({ spec: { name }, hold }) => ({ name, hold })));
  const [first] = lost.filter((one) => !withoutHosts.includes(one.name) && !isAllowedToMiss(one, spec.allowMissingReplicas));
  if (first === undefined) return;
  throw new MigrationError('HELD', `${first.knownBy} knows the migration "${spec.id}" with the host ${first.name}, which the spec lacks now: add it to clickhouse.hosts`);
}

/** More names of replicas than this are not kept of a host: macros give one or a few, and every host keeps those of all hosts. */
const MAX_REPLICA_NAMES = 5;

/** What is kept of a host for a run that may know nothing else. */
async function sealedHost(spec: MigrationSpec, { spec: { name }, server, hold, take }: FreezingHost): Promise<SealedHost> {
  const [row] = await server.select<{ names: string[] }>(
    `SELECT groupUniqArray(${MAX_REPLICA_NAMES + 1})(replica_name) AS names FROM ${STORE_DATABASE}.inventory WHERE migration = {migration:String} AND take = {take:String}`,
    { params: { migration: spec.id, take }, doing: 'reading the names of its replicas' },
  );
  const names = row?.names ?? [];
  return { name: hold.host ?? name, replicas: names.length > MAX_REPLICA_NAMES ? [] : [...names].sort() };
}

/** Every host is claimed before the first is sealed: one without a claim came into the spec later, and no preflight looked at its tables. */
function refuseAdded(spec: MigrationSpec, { spec: host, hold }: FreezingHost): void {
  if (hold.held || hold.turns > 0) return;
  throw new MigrationError(
    'HELD',
    `other hosts know the migration "${spec.id}" already, and ${host.name} does not: a migration that has begun takes no host more; leave it out of the spec, or move it with a migration of its own`,
  );
}

/** Writes what the host has now, under a take of its own, where nothing that was noted before stands. */
async function writeTake(spec: MigrationSpec, { spec: host, server, hold, take }: FreezingHost): Promise<void> {
  await createStore(server);
  const replicas = (await listReplicas(server, spec)).filter(({ selected }) => selected);
  await removeNotes(server, spec.id, hold.turns);
  const placed = await withNewPaths(server, spec, replicas.map(({ replica }) => replica));
  await writeInventory(
    server,
    spec.id,
    take,
    replicas.map(({ replica, createQuery }, index) => ({
      sortKey: orderKeyOf(spec, host, replica),
      replica: placed[index] ?? replica,
      createQuery,
    })),
  );
}

/** Makes this try's take the inventory, unless another try's is by now. */
async function seal(spec: MigrationSpec, { spec: host, server, hold, take }: FreezingHost, begunWith: { readonly hosts: readonly SealedHost[]; readonly unnamedBlobs?: number }): Promise<void> {
  await addEventUnlessTurned(server, spec.id, hold.turns, 'sealed', { fingerprint: fingerprint(spec, host), take, host: host.name, ...begunWith });
  const now = await readHold(server, spec.id);
  if (now.sealed && now.held) return;
  throw new MigrationError('STILL_RUNNING', `${host.name}: another try of this migration let go of its inventory meanwhile; it is frozen again`);
}

/** The place in the inventory of the replicated table that a replica on this host belongs to. */
export function orderKeyOf(spec: MigrationSpec, host: HostSpec, replica: InventoryReplica): string {
  const { connect, root } = ensembleOf(hostTarget(host, 'before'), spec, replica.zookeeperName);
  return tableOrderKey(connect, root, replica.zookeeperPath);
}

async function yieldToOthers(spec: MigrationSpec, { spec: host, server, take }: FreezingHost): Promise<void> {
  const mine = await server.select<{ database: string; table: string }>(
    `SELECT database, table FROM ${STORE_DATABASE}.inventory WHERE migration = {migration:String} AND take = {take:String}`,
    { params: { migration: spec.id, take }, doing: 'reading the inventory back' },
  );
  const names = new Set(mine.map(({ database, table }) => JSON.stringify([database, table])));
  const held = (await heldByOthers(server, spec.id)).find(({ database, table }) => names.has(JSON.stringify([database, table])));
  if (held !== undefined) throw heldBy(replicaLabel({ ...held, host: host.name }), held);
}

/** Counts what the hosts' own tables say: replicas, replicated tables, statuses. */
export async function tally(
  connections: Connections,
  spec: Pick<MigrationSpec, 'id'> & { readonly hosts: readonly HostSpec[] },
): Promise<Omit<FreezeOutcome, 'resumed'>> {
  const hosts = spec.hosts.map((host) => hostTarget(host, 'before'));
  return tallyTargets(connections, spec.id, hosts);
}

export async function tallyTargets(
  connections: Connections,
  migration: string,
  hosts: readonly HostTarget[],
  skip: readonly SkipRule[] = [],
): Promise<Omit<FreezeOutcome, 'resumed'>> {
  const isSkipped = skippedBy(skip);
  const counts: Record<string, number> = { ...NO_COUNTS };
  const perHost: Record<string, number> = {};
  const keys = new Set<string>();
  for (const target of hosts) {
    const rows = await connections.host(target).select<{ key: string; database: string; table: string; status: string }>(
      `SELECT i.sort_key AS key, i.database AS database, i.table AS table, s.status AS status FROM
         (SELECT sort_key, database, table FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}) AS i
       LEFT JOIN (${latestNotesSql('')}) AS s USING (database, table)`,
      { params: { migration }, doing: 'counting what was proved' },
    );
    perHost[target.name] = rows.length;
    for (const { key, database, table, status } of rows) {
      keys.add(key);
      const left = status !== 'RESTORED' && isSkipped({ database, table });
      const word = left ? 'SKIPPED' : status === '' ? 'INIT' : status;
      counts[word] = (counts[word] ?? 0) + 1;
    }
  }
  const replicas = Object.values(perHost).reduce((sum, n) => sum + n, 0);
  return { replicas, tables: keys.size, counts: counts as unknown as StatusCounts, perHost };
}

interface PageRow {
  readonly sort_key: string;
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
  readonly zookeeper_name: string;
  readonly zookeeper_path: string;
  readonly replica_name: string;
  readonly rows: string;
  readonly bytes: string;
  readonly parts: string;
  readonly new_path: string;
  readonly new_replica: string;
  readonly attached: number;
}

const FROZEN_COLUMNS = 'database, table, toString(uuid) AS uuid, zookeeper_name, zookeeper_path, replica_name, rows, bytes, parts, new_path, new_replica';

function frozenReplica(host: string, row: Omit<PageRow, 'sort_key' | 'attached'>): InventoryReplica {
  return {
    host,
    database: row.database,
    table: row.table,
    uuid: row.uuid,
    zookeeperName: row.zookeeper_name,
    zookeeperPath: row.zookeeper_path,
    replicaName: row.replica_name,
    rows: Number(row.rows),
    bytes: Number(row.bytes),
    parts: Number(row.parts),
    ...(row.new_path === '' ? {} : { after: { zookeeperPath: row.new_path, replicaName: row.new_replica } }),
  };
}

/** One replica as the migration's inventory froze it on its host. @throws MigrationError `INVARIANT` where it is not in it */
export async function readFrozen(connections: Connections, migration: string, target: HostTarget, { database, table }: ReplicaRef): Promise<InventoryReplica> {
  const [row] = await connections.host(target).select<PageRow>(
    `SELECT ${FROZEN_COLUMNS} FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS} AND database = {database:String} AND table = {table:String}`,
    { params: { migration, database, table }, doing: `reading what the inventory has of ${replicaLabel({ host: target.name, database, table })}` },
  );
  if (row === undefined) throw new MigrationError('INVARIANT', `${replicaLabel({ host: target.name, database, table })} is not in the inventory`);
  return frozenReplica(target.name, row);
}

/** A page of inventory in its order, with each replica's note in force. All replicas of a table are on one page. */
export async function loadPage(connections: Connections, input: LoadPageInput): Promise<InventoryPage> {
  const perHost = await Promise.all(input.hosts.map((target) => loadFromHost(connections, input, target)));
  const keys = [...new Set(perHost.flatMap((entries) => entries.map(({ key }) => key)))].sort();
  const taken = keys.slice(0, input.limit);
  const tables = new Map<string, ReplicatedTable & { replicas: ReplicaEntry[] }>();
  for (const { key, entry } of perHost.flat()) {
    if (key > (taken.at(-1) ?? '')) continue;
    const table = tables.get(key) ?? { key, zookeeperName: entry.zookeeperName, zookeeperPath: entry.zookeeperPath, replicas: [] };
    table.replicas.push(entry);
    tables.set(key, table);
  }
  const page = await withSharers(connections, input, taken.flatMap((key) => tables.get(key) ?? []), perHost.flat());
  const last = taken.at(-1);
  return keys.length > taken.length && last !== undefined ? { tables: page, next: last } : { tables: page };
}

interface LoadedEntry {
  readonly key: string;
  /** The id that its zero-copy locks lie under, once that was noted. */
  readonly sharedId: string | undefined;
  readonly entry: ReplicaEntry;
}

/**
 * Adds to each table the replicas of other tables, on whatever page, whose zero-copy locks lie under the same id on the same ensemble and
 * root: a table that was made ON CLUSTER has one id in all its shards.
 */
async function withSharers(
  connections: Connections,
  input: LoadPageInput,
  page: readonly ReplicatedTable[],
  loaded: readonly LoadedEntry[],
): Promise<ReplicatedTable[]> {
  const idOf = new Map(loaded.flatMap(({ key, sharedId }) => (sharedId === undefined ? [] : [[key, sharedId] as const])));
  if (idOf.size === 0) return [...page];
  const rows = await Promise.all(
    input.hosts.map(async (target) => ({ target, found: await sharingReplicas(connections, input.migration, target, [...new Set(idOf.values())]) })),
  );
  const found = rows.flatMap((one) => one.found.map((row) => ({ ...row, host: one.target.name })));
  const noted = new Map(found.flatMap(({ key, id }) => (id === undefined ? [] : [[key, id] as const])));
  // One that was left out before its DETACH is not noted: it goes with the other replicas of its table, or by the id that a table gives itself.
  const all = found.map((row) => ({ ...row, id: row.id ?? noted.get(row.key) ?? row.uuid }));
  return page.map((table) => {
    const sharers = all.filter(({ key, id }) => id === idOf.get(table.key) && key !== table.key && samePlace(key, table.key));
    if (sharers.length === 0) return table;
    return { ...table, sharers: sharers.map(({ host, database, table: name, replicaName }) => ({ host, database, table: name, replicaName })) };
  });
}

interface SharingRow {
  readonly key: string;
  /** Undefined where nothing was noted yet. */
  readonly id: string | undefined;
  readonly uuid: string;
  readonly database: string;
  readonly table: string;
  readonly replicaName: string;
}

/** Those that are noted with one of these ids, and those that are not noted yet. */
async function sharingReplicas(connections: Connections, migration: string, target: HostTarget, ids: readonly string[]): Promise<SharingRow[]> {
  const rows = await connections.host(target).select<Omit<SharingRow, 'id'> & { noted: number; id: string }>(
    `SELECT i.sort_key AS key, s.noted AS noted, s.id AS id, i.uuid AS uuid, i.database AS database, i.table AS table, i.replica_name AS replicaName FROM
       (SELECT sort_key, database, table, replica_name, toString(uuid) AS uuid FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}) AS i
     LEFT JOIN (SELECT database, table, 1 AS noted, JSONExtractString(detail, 'zeroCopy', 'sharedId') AS id FROM (${latestNotesSql('')})) AS s USING (database, table)
     WHERE s.noted = 0 OR s.id IN {ids:Array(String)}`,
    { params: { migration, ids }, doing: 'looking which tables share the id of their zero-copy locks' },
  );
  return rows.map(({ noted, id, ...row }) => ({ ...row, id: noted === 0 ? undefined : id }));
}

/** Whether two tables, by their places in the inventory, are on the same ensemble and root. */
function samePlace(key: string, other: string): boolean {
  const place = (text: string): string => JSON.stringify((JSON.parse(text.slice(text.indexOf(' ') + 1)) as string[]).slice(0, 2));
  return place(key) === place(other);
}

/** The rows of a host's next tables, all rows of each: a host may have two replicas of one path. */
const ON_PAGE = `${SEALED_ROWS} AND sort_key IN (SELECT DISTINCT sort_key FROM ${STORE_DATABASE}.inventory
  WHERE ${SEALED_ROWS} AND sort_key > {after:String} ORDER BY sort_key LIMIT {keys:UInt32})`;

/** One table more than the page takes is read of each host: it says whether there is another page. */
async function loadFromHost(
  connections: Connections,
  input: LoadPageInput,
  target: HostTarget,
): Promise<LoadedEntry[]> {
  const host = connections.host(target);
  const params = { migration: input.migration, after: input.after ?? '', keys: input.limit + 1 };
  await addNewColumns(host);
  const rows = await host.select<PageRow>(
    `SELECT sort_key, ${FROZEN_COLUMNS},
       (database, table, toString(uuid)) IN (SELECT database, name, toString(uuid) FROM system.tables) AS attached
     FROM ${STORE_DATABASE}.inventory WHERE ${ON_PAGE} ORDER BY sort_key, database, table`,
    { params, doing: 'reading a page of the inventory' },
  );
  const notes = await host.select<Parameters<typeof noteOfRow>[0]>(
    latestNotesSql(`AND (database, table) IN (SELECT database, table FROM ${STORE_DATABASE}.inventory WHERE ${ON_PAGE})`),
    { params, doing: 'reading what was noted of a page' },
  );
  const noteOf = new Map(notes.map((row) => [JSON.stringify([row.database, row.table]), noteOfRow(row)]));
  return rows.map((row) => {
    const note = noteOf.get(JSON.stringify([row.database, row.table]));
    const frozen = frozenReplica(target.name, row);
    return {
      key: row.sort_key,
      sharedId: note?.zeroCopy?.sharedId,
      entry: {
        ...frozen,
        status: note?.status ?? 'INIT',
        oldMetadata: note?.oldMetadata ?? 'kept',
        attached: row.attached === 1,
        step: note?.step ?? 'none',
        ...(note?.moved === true ? { moved: true } : {}),
      },
    };
  });
}
