import { clickHouseCode, CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { type InventoryReplica, tableOrderKey } from '../domain/inventory';
import type { HostSpec, MigrationSpec, TakeOverEntry } from '../domain/spec';
import { type LeftParts, NOTHING_LEFT, type SeenReplica } from '../domain/take-over';
import { hostTarget, moves } from '../workflows/targets';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, ensembleOf } from './deps';
import { lookAtLocks } from './take-over-zero-copy';

/** What is known of one host before its replicas are looked at one by one. */
export interface TakeOverHost {
  readonly spec: HostSpec;
  readonly server: ClickHouseHost;
  /** Milliseconds since 1970, by the server's own clock, no later than its start and less than two seconds before it. */
  readonly bootMs: number;
  readonly left: ReadonlyMap<string, LeftParts>;
}

export function tableId(table: { readonly database: string; readonly table: string }): string {
  return JSON.stringify([table.database, table.table]);
}

export async function lookAtHost(connections: Connections, spec: HostSpec): Promise<TakeOverHost> {
  const server = connections.host(hostTarget(spec, 'before'));
  const rows = await server.select<{ boot: string }>('SELECT toInt64(toUnixTimestamp(now())) - toInt64(uptime()) AS boot', {
    doing: 'asking how long it has been up',
  });
  // Both are whole seconds: their difference may be a second late.
  return { spec, server, bootMs: (Number(rows[0]?.boot) - 1) * 1_000, left: await leftParts(server) };
}

/** What lies in `detached/`, table by table, but for what a server names as broken or as made by itself. */
async function leftParts(server: ClickHouseHost): Promise<ReadonlyMap<string, LeftParts>> {
  const rows = await server.select<{ database: string; table: string; plain: string[]; stuck: [string, string][] }>(
    `SELECT database, table, groupArrayIf(name, named) AS plain, groupArrayIf((name, path), NOT named) AS stuck
     FROM (SELECT database, table, name, path, ifNull(reason, '') = '' AND isNotNull(partition_id) AS named FROM system.detached_parts
       WHERE ifNull(reason, '') IN ('', 'attaching', 'ignored') ORDER BY database, table, partition_id, min_block_number, name)
     GROUP BY database, table`,
    { doing: 'looking into detached/', timeoutMs: 300_000 },
  );
  return new Map(rows.map((row) => [tableId(row), { plain: row.plain, stuck: row.stuck.map(([name, path]) => ({ name, path })) }]));
}

/** Looks in ZooKeeper what became of an attached replica. */
export async function seeReplica(
  connections: Connections,
  spec: MigrationSpec,
  host: TakeOverHost,
  replica: InventoryReplica,
  alone: boolean,
): Promise<SeenReplica> {
  const before = await connections.zookeeper(ensembleOf(hostTarget(host.spec, 'before'), spec, replica.zookeeperName), spec.digestEnv);
  const node = `${replica.zookeeperPath}/replicas/${replica.replicaName}`;
  const goes = moves(host.spec) && replica.zookeeperName === 'default';
  const [top, own] = await Promise.all([before.exists(replica.zookeeperPath), before.exists(node)]);
  const there = goes && (await isThere(await connections.zookeeper(host.spec.after, spec.digestEnv), node, own !== undefined));
  const left = host.left.get(tableId(replica)) ?? NOTHING_LEFT;
  const ensemble = there ? host.spec.after : ensembleOf(hostTarget(host.spec, 'before'), spec, replica.zookeeperName);
  const zeroCopy = await lookAtLocks(connections, spec, host, replica, ensemble, left);
  return {
    place: there ? 'after' : own === undefined ? 'none' : 'before',
    moves: goes,
    remade: top !== undefined && top.createdMs >= host.bootMs,
    alone,
    left,
    ...(zeroCopy === undefined ? {} : { zeroCopy }),
  };
}

/** Whether the replica lives at the new place: registered there, and where it is registered at the old one too, active there. */
async function isThere(after: ZooKeeperSession, node: string, isHere: boolean): Promise<boolean> {
  if ((await after.exists(node)) === undefined) return false;
  return !isHere || (await after.exists(`${node}/is_active`)) !== undefined;
}

/** The replicated table, over all hosts, that an entry of a status file says it is of: see {@link tableOrderKey}. */
export function keyOfEntry(spec: MigrationSpec, host: HostSpec, entry: TakeOverEntry): string {
  const { name, path } = splitPath(entry.zookeeperPath);
  const { connect, root } = name === undefined ? host.zookeeper : (spec.auxiliary[name] ?? host.zookeeper);
  return tableOrderKey(connect, root, path);
}

/** `name:/path` of an auxiliary ensemble, or a path alone. */
export function splitPath(path: string): { readonly name?: string; readonly path: string } {
  const [, name, rest] = /^([^/:]+):(\/.*)$/su.exec(path) ?? [];
  return name === undefined || rest === undefined ? { path } : { name, path: rest };
}

/** What ZooKeeper has at the path of a table that is not attached. */
export type PathState =
  | { readonly nodes: 'gone' | 'whole' }
  /** A deletion was begun and not ended. */
  | { readonly nodes: 'half'; readonly why: string };

/** What every version keeps of a table, and of a replica; a table that lacks one of them was not left so by a server. */
const OF_TABLE = ['metadata', 'columns', 'log', 'blocks', 'block_numbers', 'replicas'] as const;
const OF_REPLICA = ['host', 'log_pointer', 'metadata', 'columns', 'parts', 'queue'] as const;

/**
 * Whether a deletion of the nodes of a detached table was cut short. An ATTACH on such a record makes the server put the parts that it does
 * not name aside, as `ignored_…`, without a word. A replica's node changes last when it is detached (its `is_active` goes); a list below it
 * that changed later was changed by another's hand.
 */
export async function pathState(zookeeper: ZooKeeperSession, path: string): Promise<PathState> {
  const children = await zookeeper.children(path);
  if (children === undefined) return { nodes: 'gone' };
  const lacking = OF_TABLE.find((name) => !children.includes(name));
  if (lacking !== undefined) return { nodes: 'half', why: `it has no ${lacking} any more` };
  const replicas = (await zookeeper.children(`${path}/replicas`)) ?? [];
  if (replicas.length === 0) return { nodes: 'half', why: 'it has no replica any more' };
  for (const name of replicas) {
    const why = await replicaState(zookeeper, path, name, replicas.length === 1);
    if (why !== undefined) return { nodes: 'half', why };
  }
  return { nodes: 'whole' };
}

async function replicaState(zookeeper: ZooKeeperSession, path: string, name: string, alone: boolean): Promise<string | undefined> {
  const node = `${path}/replicas/${name}`;
  const children = (await zookeeper.children(node)) ?? [];
  if (children.includes('is_active')) return undefined;
  const lacking = OF_REPLICA.find((child) => !children.includes(child));
  if (lacking !== undefined) return `its replica "${name}" has no ${lacking} any more`;
  const lists = [`${node}/parts`, ...(alone ? [`${path}/log`, `${path}/blocks`, `${path}/block_numbers`] : [])];
  const [own, ...stats] = await Promise.all([node, ...lists].map((one) => zookeeper.exists(one)));
  const left = BigInt(own?.pzxid ?? 0);
  const changed = lists.find((_list, index) => BigInt(stats[index]?.pzxid ?? 0) > left);
  return changed === undefined ? undefined : `${changed} was changed after its replica was detached`;
}

/** A table that is detached on a server; its engine cannot be seen. */
export interface DetachedTable {
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
}

/** The databases of other engines have no such list, and one of them spoils it for all (code 48). */
const WITH_DETACHED = ['Atomic', 'Ordinary', 'Replicated'] as const;

/**
 * The tables that are detached on a server, where it can say so; undefined where it cannot (the table came in 24.x).
 *
 * Source: https://clickhouse.com/docs/operations/system-tables/detached_tables
 */
export async function detachedTables(server: ClickHouseHost): Promise<readonly DetachedTable[] | undefined> {
  const known = await server.select<{ n: string }>(
    "SELECT count() AS n FROM system.tables WHERE database = 'system' AND name = 'detached_tables'",
    { doing: 'looking for system.detached_tables' },
  );
  if (Number(known[0]?.n ?? 0) === 0) return undefined;
  try {
    return await server.select<DetachedTable>(
      `SELECT database, table, toString(uuid) AS uuid FROM system.detached_tables
       WHERE database IN (SELECT name FROM system.databases WHERE engine IN ({engines:Array(String)})) ORDER BY database, table`,
      { params: { engines: WITH_DETACHED }, doing: 'listing detached tables' },
    );
  } catch (error) {
    const code = clickHouseCode(error);
    if (code === CODES.NOT_IMPLEMENTED || code === CODES.UNKNOWN_TABLE) return undefined;
    throw error;
  }
}
