import type { ClickHouseHost } from '../clickhouse/host';
import type { ReplicaRef } from '../domain/inventory';
import { replicaLabel } from '../domain/inventory';
import { isOn, tableSetting } from '../domain/zero-copy';

/** What a server has set for zero-copy replication, and where it could have such tables. */
export interface ServerStorage {
  readonly on: boolean;
  readonly lockRoot: string;
  readonly compatible: boolean;
  readonly remoteDisks: ReadonlySet<string>;
  /** The kinds of those disks, as the nodes of their locks name them: `s3` in `zero_copy_s3`. */
  readonly lockKinds: ReadonlySet<string>;
  /** Storage policies with a disk that is not local, by name. */
  readonly remotePolicies: ReadonlySet<string>;
}

/** How zero-copy replication is set for one table. */
export interface ZeroCopySetting {
  /** Its storage policy has a disk that is not local: its parts can be on blobs. */
  readonly remote: boolean;
  readonly on: boolean;
  readonly from: 'server' | 'table';
  /** The table's own setting, where it has one. */
  readonly own?: boolean;
  readonly lockRoot: string;
  /** Locks are kept below the table's path as well. */
  readonly compatible: boolean;
}

const SETTINGS = {
  on: 'allow_remote_fs_zero_copy_replication',
  lockRoot: 'remote_fs_zero_copy_zookeeper_path',
  compatible: 'remote_fs_zero_copy_path_compatible_mode',
} as const;
const DEFAULT_LOCK_ROOT = '/clickhouse/zero_copy';

const FRESH_MS = 2_000;
const known = new WeakMap<ClickHouseHost, { readonly at: number; readonly storage: Promise<ServerStorage> }>();

/** Asked at most every two seconds, for every table of a server asks it. */
export async function storageOf(host: ClickHouseHost): Promise<ServerStorage> {
  const before = known.get(host);
  if (before !== undefined && Date.now() - before.at < FRESH_MS) return before.storage;
  const storage = readStorage(host);
  known.set(host, { at: Date.now(), storage });
  storage.catch(() => known.delete(host));
  return storage;
}

async function readStorage(host: ClickHouseHost): Promise<ServerStorage> {
  const doing = 'asking for its disks and zero-copy replication';
  // Everything of them, for what an object storage is has a column of its own on newer servers.
  const disks = await host.select<DiskRow>("SELECT * FROM system.disks WHERE lower(type) NOT IN ('local', 'memory')", { doing });
  const remoteDisks = new Set(disks.map(({ name }) => name));
  const lockKinds = new Set(disks.flatMap((disk) => lockKindOf(disk) ?? []));
  if (remoteDisks.size === 0) return { on: false, lockRoot: DEFAULT_LOCK_ROOT, compatible: false, remoteDisks, lockKinds, remotePolicies: new Set() };
  const policies = await host.select<{ name: string }>(
    'SELECT DISTINCT policy_name AS name FROM system.storage_policies WHERE hasAny(disks, {disks:Array(String)})',
    { params: { disks: [...remoteDisks] }, doing },
  );
  const values = await readSettings(host, doing);
  return {
    on: isOn(values.get(SETTINGS.on)),
    lockRoot: values.get(SETTINGS.lockRoot) ?? DEFAULT_LOCK_ROOT,
    compatible: isOn(values.get(SETTINGS.compatible)),
    remoteDisks,
    lockKinds,
    remotePolicies: new Set(policies.map(({ name }) => name)),
  };
}

interface DiskRow {
  readonly name: string;
  readonly type: string;
  readonly object_storage_type?: string;
}

/** What `system.disks` calls an object storage, and what the nodes of locks call it (`DataSourceDescription` in ClickHouse's DiskType.cpp). */
const LOCK_KINDS: ReadonlyMap<string, string> = new Map([
  ['s3', 's3'],
  ['hdfs', 'hdfs'],
  ['azure', 'azure_blob_storage'],
  ['azure_blob_storage', 'azure_blob_storage'],
  ['azureblobstorage', 'azure_blob_storage'],
  ['local', 'local_blob_storage'],
]);

function lockKindOf({ type, object_storage_type: storage }: DiskRow): string | undefined {
  return LOCK_KINDS.get((storage ?? type).toLowerCase());
}

/** `<replicated_merge_tree>` overrides `<merge_tree>` for the tables that matter here; older versions list only the latter. */
async function readSettings(host: ClickHouseHost, doing: string): Promise<ReadonlyMap<string, string>> {
  const tables = await host.select<{ name: string }>(
    "SELECT name FROM system.tables WHERE database = 'system' AND name IN ('merge_tree_settings', 'replicated_merge_tree_settings') ORDER BY name DESC LIMIT 1",
    { doing },
  );
  const table = tables[0]?.name ?? 'merge_tree_settings';
  const rows = await host.select<{ name: string; value: string }>(
    `SELECT name, value FROM system.${table} WHERE name IN ({names:Array(String)})`,
    { params: { names: Object.values(SETTINGS) }, doing },
  );
  return new Map(rows.map(({ name, value }) => [name, value]));
}

/** The setting in force for a table: its own over the server's. */
export function settingOf(storage: ServerStorage, table: { readonly storagePolicy: string; readonly createQuery: string }): ZeroCopySetting {
  const own = tableSetting(table.createQuery, SETTINGS.on);
  const lockRoot = tableSetting(table.createQuery, SETTINGS.lockRoot) ?? storage.lockRoot;
  const compatible = tableSetting(table.createQuery, SETTINGS.compatible);
  return {
    remote: storage.remotePolicies.has(table.storagePolicy),
    on: own === undefined ? storage.on : isOn(own),
    from: own === undefined ? 'server' : 'table',
    ...(own === undefined ? {} : { own: isOn(own) }),
    lockRoot: lockRoot.replace(/\/+$/u, ''),
    compatible: compatible === undefined ? storage.compatible : isOn(compatible),
  };
}

/** The same of an attached table, asked now. Undefined where the server has no disk but local ones, or the table is away. */
export async function currentSetting(host: ClickHouseHost, replica: ReplicaRef): Promise<ZeroCopySetting | undefined> {
  const storage = await storageOf(host);
  if (storage.remotePolicies.size === 0) return undefined;
  const rows = await host.select<{ policy: string; query: string }>(
    'SELECT storage_policy AS policy, create_table_query AS query FROM system.tables WHERE database = {database:String} AND name = {table:String}',
    { params: { database: replica.database, table: replica.table }, doing: `asking how ${replicaLabel(replica)} is stored` },
  );
  const row = rows[0];
  return row === undefined ? undefined : settingOf(storage, { storagePolicy: row.policy, createQuery: row.query });
}
