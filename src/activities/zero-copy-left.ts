import { latestNotesSql, noteOfRow, SEALED_ROWS, STORE_DATABASE } from '../clickhouse/store';
import type { InventoryReplica } from '../domain/inventory';
import { type LockHolder, lockPath, sortLocks, type ZeroCopyFacts, type ZeroCopyLock } from '../domain/zero-copy';
import { ZooKeeperError } from '../zookeeper/errors';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, ensembleOf, report } from './deps';
import { partBlobsOf } from './zero-copy-blobs';
import { readLocks, readSharedId, savedLocks } from './zero-copy-locks';
import { type PartNames, partNamesOf } from './zero-copy-parts';
import { unnamedBlobs } from './zero-copy-unnamed';
import type { FinishInput, FinishOutcome, HostTarget } from './types';

const LOCKS_SHOWN = 5;
const PLACES_AT_A_TIME = 100;

interface Left {
  readonly nobody: readonly ZeroCopyLock[];
  readonly outside: readonly ZeroCopyLock[];
}

interface Carried {
  readonly target: HostTarget;
  readonly replica: InventoryReplica;
  readonly facts: ZeroCopyFacts;
}

/** One id under which locks lie, in one ensemble and root. */
interface Place {
  readonly zookeeper: ZooKeeperSession;
  readonly root: string;
  readonly lockRoot: string;
  readonly sharedId: string;
  readonly members: Carried[];
}

/**
 * The zero-copy locks that are left when all is done and that none of the migration's replicas needs, at the old place and at the new one:
 * what leaked before is there still, and keeps its blobs. The old locks that a run leaves on purpose (`clean: never`) are none of them.
 */
export async function locksLeft(connections: Connections, input: FinishInput): Promise<FinishOutcome['locks']> {
  const { zookeeper } = input;
  if (zookeeper === undefined) return undefined;
  report({ doing: 'looking which zero-copy locks are left' });
  const carried = await carriedOnAll(connections, input);
  const left: NonNullable<FinishOutcome['locks']>[number][] = [];
  const names = new Map(await Promise.all([...new Set(carried.map(({ target }) => target))].map(async (target) => [target.name, await partNamesOf(connections.host(target))] as const)));
  const places = await placesOf(connections, input, carried);
  for (let from = 0; from < places.length; from += PLACES_AT_A_TIME) {
    report({ doing: 'looking which zero-copy locks are left', done: from, total: places.length });
    // Those that are looked at together read a host's files once.
    const some = places.slice(from, from + PLACES_AT_A_TIME);
    left.push(...(await Promise.all(some.map(async (place) => entryOf(place, await leftAt(connections, input.migration, place, names))))).flat());
  }
  return left;
}

/**
 * The blobs that no host names when all is done, where the spec has them listed and the migration has zero-copy tables: what leaked before is
 * there still. Says why where it cannot be told.
 *
 * @param before how many there were when the migration began
 * @throws MigrationError `ABORTED` when the activity was asked to stop
 */
export async function blobsLeft(connections: Connections, input: FinishInput, before: number | undefined): Promise<FinishOutcome['blobs']> {
  const { hosts, listing, secretEnvs = [] } = input;
  if (listing === undefined) return undefined;
  // Where that cannot be read, the listing says why it cannot be compared.
  const carried = await carriedOnAll(connections, input).catch(() => undefined);
  if (carried?.length === 0) return undefined;
  const unnamed = await unnamedBlobs(connections, { hosts: hosts.map((target) => connections.host(target)), listing, secretEnvs });
  return { ...unnamed, ...(before === undefined ? {} : { before }) };
}

async function carriedOnAll(connections: Connections, { hosts, migration }: FinishInput): Promise<Carried[]> {
  return (await Promise.all(hosts.map((target) => carriedOn(connections, migration, target)))).flat();
}

function entryOf({ members: [first], root }: Place, { nobody, outside }: Left): NonNullable<FinishOutcome['locks']>[number][] {
  if (first === undefined || nobody.length + outside.length === 0) return [];
  const { database, table, host } = first.replica;
  const names = [...nobody, ...outside].map((lock) => `${root}${lockPath(lock)}`).sort().slice(0, LOCKS_SHOWN);
  return [{ host, db: database, table, nobody: nobody.length, outside: outside.length, names }];
}

async function carriedOn(connections: Connections, migration: string, target: HostTarget): Promise<Carried[]> {
  const host = connections.host(target);
  const notes = await host.select<Parameters<typeof noteOfRow>[0]>(latestNotesSql("AND JSONHas(detail, 'zeroCopy', 'sharedId')"), {
    params: { migration }, doing: 'looking which of its tables are zero-copy tables', timeoutMs: 120_000,
  });
  if (notes.length === 0) return [];
  const rows = await host.select<{ database: string; table: string; uuid: string; name: string; path: string; replica: string }>(
    `SELECT database, table, toString(uuid) AS uuid, zookeeper_name AS name, zookeeper_path AS path, replica_name AS replica FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}`,
    { params: { migration }, doing: 'reading its inventory', timeoutMs: 120_000 },
  );
  const facts = new Map(notes.map((row) => [JSON.stringify([row.database, row.table]), noteOfRow(row).zeroCopy]));
  return rows.flatMap(({ database, table, uuid, name, path, replica }) => {
    const known = facts.get(JSON.stringify([database, table]));
    if (known === undefined || known === null) return [];
    const one: InventoryReplica = { host: target.name, database, table, uuid, zookeeperName: name, zookeeperPath: path, replicaName: replica, rows: 0, bytes: 0, parts: 0 };
    return [{ target, replica: one, facts: known }];
  });
}

/** Where locks of these replicas are or were: each with all replicas that share it. */
async function placesOf(connections: Connections, { zookeeper, before = [] }: FinishInput, carried: readonly Carried[]): Promise<Place[]> {
  const places = new Map<string, Place>();
  if (zookeeper === undefined) return [];
  for (const one of carried) {
    const { replica, facts, target } = one;
    const targets = [target, ...before.filter(({ name }) => name === target.name)];
    for (const ensemble of targets.map((at) => ensembleOf(at, zookeeper, replica.zookeeperName))) {
      const session = await connections.zookeeper(ensemble, zookeeper.digestEnv);
      const now = await unlessDenied(readSharedId(session, replica.zookeeperPath), undefined);
      for (const sharedId of new Set([facts.sharedId, ...(now === undefined ? [] : [now])])) {
        const key = JSON.stringify([ensemble.connect, ensemble.root, facts.lockRoot, sharedId]);
        const place = places.get(key) ?? { zookeeper: session, root: ensemble.root, lockRoot: facts.lockRoot, sharedId, members: [] };
        place.members.push(one);
        places.set(key, place);
      }
    }
  }
  return [...places.values()];
}

async function leftAt(
  connections: Connections,
  migration: string,
  { zookeeper, lockRoot, sharedId, members }: Place,
  partNames: ReadonlyMap<string, PartNames>,
): Promise<Left> {
  const [first] = members;
  const { locks } = await unlessDenied(readLocks(zookeeper, { lockRoot, sharedId }, first?.replica.zookeeperPath ?? ''), { locks: [], values: new Map<string, string>() });
  if (locks.length === 0) return { nobody: [], outside: [] };
  const unique = [...new Set(members)];
  const holders = await Promise.all(
    unique.map(async ({ target, replica }): Promise<LockHolder> => {
      const host = connections.host(target);
      const names = partNames.get(target.name)?.of(replica);
      return { replica: replica.replicaName, parts: new Set([...(names?.active ?? []), ...(names?.outdated ?? []), ...(names?.detached ?? [])]), blobs: await partBlobsOf(host, replica) };
    }),
  );
  const kept = new Set<string>();
  for (const { target, replica, facts } of unique) {
    if (facts.locksTake === '') continue;
    for (const lock of await savedLocks(connections.host(target), migration, replica, facts.locksTake)) kept.add(lockPath(lock));
  }
  const sorted = sortLocks(locks.filter((lock) => !kept.has(lockPath(lock))), holders);
  // The tables live: a lock that went with its part meanwhile is none that is left.
  const still = async (those: readonly ZeroCopyLock[]): Promise<ZeroCopyLock[]> =>
    (await Promise.all(those.map(async (lock) => ((await zookeeper.exists(lockPath(lock))) === undefined ? [] : [lock])))).flat();
  const [nobody, outside] = await Promise.all([still([...sorted.leaked, ...sorted.doubtful]), still(sorted.foreign)]);
  return { nobody, outside };
}

/** What may not be read there is not reported; the migration is over whatever it is. */
async function unlessDenied<T>(read: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof ZooKeeperError && error.code === 'NO_AUTH') return otherwise;
    throw error;
  }
}
