import { quoteTable } from '../clickhouse/sql';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import type { PlannedZeroCopy } from '../domain/plan';
import type { EnsembleSpec, MigrationSpec } from '../domain/spec';
import { countLocks, kindsOf, type LockHolder, lockPath, locksOf, type PartBlobs, type SortedLocks, sortLocks, versionFault, type ZeroCopyLock } from '../domain/zero-copy';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, report } from './deps';
import type { ListedReplica } from './inspect';
import { knownEnsemble } from './path-conflicts';
import type { Findings, InspectedHost } from './preflight';
import { readPartBlobs } from './zero-copy-blobs';
import { type PartNames, partNamesOf } from './zero-copy-parts';
import { tellSharedId } from './zero-copy-id';
import { readLocks } from './zero-copy-locks';
import { settingOf, storageOf, type ZeroCopySetting } from './zero-copy-storage';
import { straysAmong } from './zero-copy-strays';

interface Member {
  readonly host: InspectedHost;
  readonly listed: ListedReplica;
  readonly setting: ZeroCopySetting;
}

/** All replicas of one path. */
interface Group {
  readonly ensemble: EnsembleSpec;
  readonly path: string;
  readonly members: readonly Member[];
}

/** A zero-copy table, with the tables (itself included) whose locks lie under the same id. */
interface Sharing extends Group {
  readonly sharedId: string;
  readonly lockRoot: string;
}

/** What one host has of the tables in question. */
interface PartsOnHost {
  readonly names: PartNames;
  /** The blobs of a replica's parts; undefined where the host cannot tell. */
  blobsOf(replica: InventoryReplica): PartBlobs | undefined;
}

/**
 * What stands against carrying the zero-copy tables, and what a plan says of each replica. Only SELECTs and ZooKeeper reads. See
 * docs/zero-copy.md.
 */
export async function checkZeroCopy(
  connections: Connections,
  spec: MigrationSpec,
  hosts: readonly InspectedHost[],
  found: Findings,
): Promise<ReadonlyMap<ListedReplica, PlannedZeroCopy>> {
  const groups = await groupAll(spec, hosts);
  const parts = new Map<InspectedHost, PartsOnHost>();
  for (const host of new Set(groups.flatMap(({ members }) => members.map((member) => member.host)))) parts.set(host, await partsOnHost(host, groups));
  const carried: Sharing[] = [];
  for (const group of groups) {
    const zookeeper = await connections.zookeeper(group.ensemble, spec.digestEnv);
    const first = group.members[0];
    if (first === undefined) continue;
    if (!group.members.some(isOn)) await checkOff(zookeeper, group, parts, found);
    if (!checkSettings(group, found)) continue;
    const sharedId = await idOrRefusal(zookeeper, group, first, found);
    if (sharedId !== undefined) carried.push({ ...group, sharedId, lockRoot: first.setting.lockRoot });
  }
  const planned = new Map<ListedReplica, PlannedZeroCopy>();
  for (const table of carried) {
    if (!isSelected(table)) continue;
    checkWay(spec, table, found);
    const sharers = carried.filter((other) => other !== table && idOf(other) === idOf(table));
    report({ doing: 'looking at zero-copy locks', done: planned.size });
    await checkTable(connections, spec, table, sharers, parts, found, planned);
  }
  return planned;
}

/** Undefined where it cannot be told, which refuses a table that is selected. */
async function idOrRefusal(zookeeper: ZooKeeperSession, group: Group, { host, listed, setting }: Member, found: Findings): Promise<string | undefined> {
  try {
    return await tellSharedId(zookeeper, host.server, listed.replica, setting.lockRoot);
  } catch (error) {
    if (!(error instanceof MigrationError) || error.type !== 'UNSUPPORTED') throw error;
    if (isSelected(group)) found.refuse('ZERO_COPY_ID', listed.replica, error.message, 'leave it out with tables.exclude; or make the node table_shared_id again, once you know its value');
    return undefined;
  }
}

/** Ways of a migration that do not carry locks. */
function checkWay(spec: MigrationSpec, { members }: Sharing, found: Findings): void {
  for (const { listed: { replica, selected } } of members) {
    if (!selected) continue;
    if (spec.newPath !== undefined) {
      found.refuse('ZERO_COPY_PATH', replica, 'it is a zero-copy table: as a plain table, which it would be for a moment, it removes parts without asking for locks', 'leave it out with tables.exclude; in place or to another root it can be carried');
    }
  }
}

async function partsOnHost(host: InspectedHost, groups: readonly Group[]): Promise<PartsOnHost> {
  const names = await partNamesOf(host.server);
  const replicas = groups.flatMap(({ members }) => members.filter((member) => member.host === host).map(({ listed }) => listed.replica));
  const uuids = replicas.filter(hasFolders).map(({ uuid }) => uuid);
  const blobs = await readPartBlobs(host.server, uuids, `the tables of ${host.spec.name}`);
  return {
    names,
    blobsOf: (replica) => {
      const own = hasFolders(replica) ? blobs?.get(replica.uuid) : undefined;
      // A server that names no file of parts that it has does not tell.
      return own?.size === 0 && names.of(replica).active.length > 0 ? undefined : own;
    },
  };
}

/** Without a uuid a table's folders have other names. */
function hasFolders({ uuid }: InventoryReplica): boolean {
  return /[1-9a-f]/u.test(uuid);
}

function idOf({ ensemble, lockRoot, sharedId }: Sharing): string {
  return JSON.stringify([ensemble, lockRoot, sharedId]);
}

function isSelected({ members }: Group): boolean {
  return members.some(({ listed }) => listed.selected);
}

/** Every table of the hosts, selected or not, that could have parts on an object storage on one of them. */
async function groupAll(spec: MigrationSpec, hosts: readonly InspectedHost[]): Promise<Group[]> {
  const groups = new Map<string, Group & { members: Member[] }>();
  for (const host of hosts) {
    const storage = await storageOf(host.server);
    for (const listed of host.replicas) {
      const ensemble = knownEnsemble(spec, host, listed);
      if (ensemble === undefined) continue;
      const path = listed.replica.zookeeperPath;
      const key = JSON.stringify([ensemble, path]);
      const group = groups.get(key) ?? { ensemble, path, members: [] };
      group.members.push({ host, listed, setting: settingOf(storage, listed) });
      groups.set(key, group);
    }
  }
  return [...groups.values()].filter(({ members }) => members.some(({ setting }) => setting.remote));
}

function isOn({ setting }: Member): boolean {
  return setting.remote && setting.on;
}

/** True for a table to be carried: zero-copy on every replica, set alike. */
function checkSettings(group: Group, found: Findings): boolean {
  const on = group.members.filter(isOn);
  const [first] = on;
  if (first === undefined) return false;
  if (!isSelected(group)) return true;
  const others = group.members.filter((member) => !isOn(member) || member.setting.lockRoot !== first.setting.lockRoot);
  for (const other of others) {
    found.refuse('ZERO_COPY_DIFFERS', other.listed.replica, `zero-copy replication is not set for it as on ${replicaLabel(first.listed.replica)}: a part that one replica removes takes along blobs of the other`, 'set allow_remote_fs_zero_copy_replication and remote_fs_zero_copy_zookeeper_path alike on all replicas first');
  }
  if (!/^\/[^{]*$/u.test(first.setting.lockRoot)) {
    found.refuse('ZERO_COPY_LOCK_ROOT', first.listed.replica, `remote_fs_zero_copy_zookeeper_path is ${first.setting.lockRoot}: only a plain path can be followed`, 'leave it out with tables.exclude');
    return false;
  }
  return true;
}

/** Locks of a table that has the setting off on every replica: whatever part it removes now takes its blobs along, locked or not. */
async function checkOff(zookeeper: ZooKeeperSession, group: Group, parts: ReadonlyMap<InspectedHost, PartsOnHost>, found: Findings): Promise<void> {
  const [first] = group.members;
  if (first === undefined || !isSelected(group)) return;
  const sharedId = await idOrRefusal(zookeeper, group, first, found);
  if (sharedId === undefined) return;
  const { locks } = await readLocks(zookeeper, { lockRoot: first.setting.lockRoot, sharedId }, group.path);
  for (const { host, listed } of group.members) {
    const here = parts.get(host);
    const own = locksOf(locks, listed.replica.replicaName, new Set(here?.names.of(listed.replica).active), here?.blobsOf(listed.replica));
    if (own.length === 0) continue;
    found.refuse('ZERO_COPY_OFF', listed.replica, `${own.length} of its parts have zero-copy locks, and allow_remote_fs_zero_copy_replication is off: a part that it removes takes along blobs of other replicas`, 'set it on again, on every replica, and restart the servers');
  }
}

async function checkTable(
  connections: Connections,
  spec: MigrationSpec,
  table: Sharing,
  sharers: readonly Sharing[],
  parts: ReadonlyMap<InspectedHost, PartsOnHost>,
  found: Findings,
  planned: Map<ListedReplica, PlannedZeroCopy>,
): Promise<void> {
  const zookeeper = await connections.zookeeper(table.ensemble, spec.digestEnv);
  const tree = await readLocks(zookeeper, table, table.path);
  checkSharers(table, sharers, found);
  const others = sortLocks(tree.locks, holdersOf([table, ...sharers], parts));
  warnOfOthers(table, others, found);
  for (const member of table.members) {
    if (!member.listed.selected) continue;
    const { listed, host } = member;
    const names = parts.get(host)?.names.of(listed.replica) ?? { active: [], outdated: [], lying: [], detached: [], rows: 0 };
    const blobs = parts.get(host)?.blobsOf(listed.replica);
    checkVersion(member, found);
    await checkRights(member, spec, found);
    const own = locksOf(tree.locks, listed.replica.replicaName, new Set(names.active), blobs);
    const locked = new Set(own.map(({ part }) => part));
    const unlocked = names.active.filter((name) => !locked.has(name));
    const aside = straysAmong(listed.replica, names.lying, tree.locks, blobs);
    const strays = names.rows > 0 ? [] : aside;
    warnOfParts(member, { unlocked, outdated: names.outdated, strays, beside: names.rows > 0 ? aside : [] }, found);
    await checkTarget(connections, spec, table, member, blobs ?? new Set(locksOf(tree.locks, listed.replica.replicaName, new Set([...names.active, ...strays]), undefined).map(({ blob }) => blob)), found);
    planned.set(listed, {
      setting: member.setting.from,
      disks: listed.disks,
      shared_id: table.sharedId,
      lock_root: `${table.ensemble.root}${table.lockRoot}`,
      lock_kinds: kindsOf(tree.locks),
      lock_counts: countLocks(tree.locks, names.active, blobs),
      locks: own.filter(({ legacy }) => !legacy).length,
      legacy_locks: own.filter(({ legacy }) => legacy).length,
      parts_without_lock: unlocked.length,
      leaked_locks: others.leaked.length + others.doubtful.length,
      foreign_locks: others.foreign.length,
      shared_with: sharers.flatMap(({ members }) => members.map((other) => replicaLabel(other.listed.replica))),
      attach: strays,
    });
  }
}

function checkSharers(table: Sharing, sharers: readonly Sharing[], found: Findings): void {
  const left = sharers.flatMap(({ members }) => members).find(({ listed }) => !listed.selected);
  if (left === undefined) return;
  for (const { listed } of table.members) {
    found.refuse('ZERO_COPY_SHARED', listed.replica, `its zero-copy locks lie under the same id ${table.sharedId} as those of ${replicaLabel(left.listed.replica)}, which is not in the inventory`, 'take both in (tables.include), or leave both out');
  }
}

/** The replicas of these tables, with what their hosts have of them. */
function holdersOf(tables: readonly Sharing[], parts: ReadonlyMap<InspectedHost, PartsOnHost>): LockHolder[] {
  return tables.flatMap(({ members }) =>
    members.map(({ host, listed: { replica } }) => {
      const here = parts.get(host);
      const names = here?.names.of(replica);
      return {
        replica: replica.replicaName,
        parts: new Set([...(names?.active ?? []), ...(names?.outdated ?? []), ...(names?.detached ?? [])]),
        blobs: here?.blobsOf(replica),
      };
    }),
  );
}

/** Locks under the table's id that none of the spec's replicas needs are left alone, and each kind means something else. */
function warnOfOthers({ members: [first, ...rest], sharedId }: Sharing, { foreign, doubtful, leaked }: SortedLocks, found: Findings): void {
  if (first === undefined) return;
  const example = (locks: readonly ZeroCopyLock[]): string => (locks[0] === undefined ? '' : lockPath(locks[0]));
  if (leaked.length > 0) {
    found.warn('ZERO_COPY_LEAKED', first.listed.replica, `${leaked.length} zero-copy locks are of no part that a replica of the spec has, such as ${example(leaked)}`, 'left alone: their blobs are never deleted by the servers, look at them when all is done');
  }
  if (foreign.length > 0) {
    const names = [...new Set(foreign.map(({ replica }) => replica))].sort();
    found.warn('ZERO_COPY_FOREIGN', first.listed.replica, `${foreign.length} zero-copy locks under its id ${sharedId} are of replicas that no table of the spec has (${someOf(names)}), such as ${example(foreign)}`, 'left alone. A shard that is not in the spec may live by them (ON CLUSTER gives all shards one id): do not remove them by hand before you know that none does');
  }
  if (doubtful.length === 0) return;
  const names = new Set(doubtful.map(({ replica }) => replica));
  for (const { listed: { replica } } of [first, ...rest]) {
    if (!names.has(replica.replicaName)) continue;
    found.refuse('ZERO_COPY_SHARED', replica, `${doubtful.length} zero-copy locks under its id ${sharedId} are of replicas and parts of the same names, on blobs that no host of the spec has, such as ${example(doubtful)}: a table of another shard seems to share the id and the replica names`, 'take that shard into the same spec; or, once you know that no server has these blobs, remove the locks that have them');
  }
}

function checkVersion({ host, listed }: Member, found: Findings): void {
  const fault = versionFault(host.version);
  if (fault === 'deletes-shared-blobs') {
    found.refuse('ZERO_COPY_VERSION', listed.replica, `ClickHouse ${host.version} deletes blobs that other replicas use when it removes a part (ClickHouse pull requests 94262 and 95597)`, 'upgrade the server to a later release first');
  } else if (fault === 'deletes-unlocked-blobs') {
    found.warn('ZERO_COPY_OLD', listed.replica, `ClickHouse ${host.version} deletes the blobs of a part whose lock is lost when it removes the part (ClickHouse pull request 72933)`, 'drop nothing in detached/ of the table, or upgrade the server first');
  }
}

/** The proof reads the table: the right to do so is asked for now, not after its DETACH. */
async function checkRights({ host, listed: { replica } }: Member, spec: MigrationSpec, found: Findings): Promise<void> {
  if (spec.verify.blobs === 'locks') return;
  try {
    await host.server.select(`SELECT * FROM ${quoteTable(replica)} LIMIT 0`, { doing: `asking whether ${replicaLabel(replica)} can be read` });
  } catch (error) {
    if (!(error instanceof MigrationError) || error.type !== 'ACCESS_DENIED') throw error;
    found.refuse('ACCESS_DENIED', replica, error.message, `GRANT SELECT ON ${quoteTable(replica)}, or write verify: { blobs: locks }`);
  }
}

function warnOfParts(
  { listed: { replica } }: Member,
  { unlocked, outdated, strays, beside }: Readonly<Record<'unlocked' | 'outdated' | 'strays' | 'beside', readonly string[]>>,
  found: Findings,
): void {
  if (unlocked.length > 0) {
    found.warn('ZERO_COPY_UNLOCKED', replica, `${unlocked.length} active parts have no zero-copy lock of this replica: ${someOf(unlocked)}`, 'another replica could delete their blobs; they get their locks with RESTORE');
  }
  if (outdated.length > 0) {
    found.warn('ZERO_COPY_OUTDATED', replica, `${outdated.length} old parts are not removed yet, and would lie in detached/ afterwards: ${someOf(outdated)}`, 'they may share blobs with active parts: wait until the server removed them (old_parts_lifetime, 8 minutes), or drop none of them from detached/ later');
  }
  if (strays.length > 0) {
    found.warn('ZERO_COPY_BROKEN', replica, `it has no row, and ${strays.length} parts lie in detached/ with its locks, as a RESTORE that met old locks leaves them: ${strays.join(', ')}`, 'a start attaches exactly these parts again; look through the list first');
  }
  if (beside.length > 0) {
    found.warn('ZERO_COPY_ASIDE', replica, `it has rows, and ${beside.length} parts lie in detached/ with its locks beside them, as a RESTORE that met a lock half way leaves them: ${someOf(beside)}`, 'they are not brought back, for nothing says that they belong to it: where they do, ALTER TABLE … ATTACH PART each of them first');
  }
}

const NAMES_SHOWN = 10;

function someOf(names: readonly string[]): string {
  return `${names.slice(0, NAMES_SHOWN).join(', ')}${names.length > NAMES_SHOWN ? ', …' : ''}`;
}

/** Where the locks will be made anew, none of the same replica on the same blob may be: RESTORE would fail on it. */
async function checkTarget(
  connections: Connections,
  spec: MigrationSpec,
  table: Sharing,
  { host, listed: { replica } }: Member,
  blobs: { has(blob: string): boolean },
  found: Findings,
): Promise<void> {
  const { zookeeper, after } = host.spec;
  if ((zookeeper.connect === after.connect && zookeeper.root === after.root) || replica.zookeeperName !== 'default') return;
  const target = await connections.zookeeper(after, spec.digestEnv);
  const { locks } = await readLocks(target, table, table.path);
  const inTheWay = locks.filter((lock) => lock.replica === replica.replicaName && blobs.has(lock.blob));
  const [first] = inTheWay;
  if (first === undefined) return;
  found.refuse('ZERO_COPY_TARGET', replica, `${inTheWay.length} of its zero-copy locks are at the new place already, such as ${after.root}${lockPath(first)}: RESTORE would fail on them`, 'choose another root, or remove these locks once you know that no server uses that root');
}
