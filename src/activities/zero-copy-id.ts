import { clickHouseCode, CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, NO_UUID, replicaLabel } from '../domain/inventory';
import { blobOfPath } from '../domain/zero-copy';
import type { ZooKeeperSession } from '../zookeeper/session';
import { kindsBelow, readSharedId } from './zero-copy-locks';

/** As many of a replica's parts are looked for under each id: one with its blob and its replica's name is found nowhere else. */
const PARTS_LOOKED_FOR = 8;

/**
 * The id that a replica's locks lie under. Where the node that says it is gone, it is read from the locks themselves: each names a part,
 * its blob and the replica, and the host's own files name the same blob. Without any lock it is the uuid, which RESTORE makes it from.
 *
 * @throws MigrationError `UNSUPPORTED` when it cannot be told for sure
 */
export async function tellSharedId(zookeeper: ZooKeeperSession, host: ClickHouseHost, replica: InventoryReplica, lockRoot: string): Promise<string> {
  const node = await readSharedId(zookeeper, replica.zookeeperPath);
  if (node !== undefined) return node;
  const locked = await idsWithLocks(zookeeper, host, replica, lockRoot);
  // What RESTORE would meet are the locks under the uuid; those under an older id stand in nobody's way.
  const [only = replica.uuid, ...others] = locked;
  if (locked.includes(replica.uuid)) return replica.uuid;
  if (others.length > 0) throw cannotTell(replica, `its locks lie under ${locked.length} ids: ${locked.join(', ')}`);
  return only;
}

function cannotTell(replica: InventoryReplica, why: string): MigrationError {
  return new MigrationError('UNSUPPORTED', `${replicaLabel(replica)}: its table_shared_id is gone with its path, and which zero-copy locks are its own cannot be told: ${why}`);
}

async function idsWithLocks(zookeeper: ZooKeeperSession, host: ClickHouseHost, replica: InventoryReplica, lockRoot: string): Promise<string[]> {
  const ids = (await Promise.all((await kindsBelow(zookeeper, lockRoot)).map(async (top) => ((await zookeeper.children(top)) ?? []).map((id) => ({ top, id }))))).flat();
  if (ids.length === 0) return [];
  if (replica.uuid === NO_UUID) throw cannotTell(replica, 'it has no uuid, by which its files on the host are known');
  const held = await partsOnHost(host, replica);
  const found = new Set<string>();
  for (const { top, id } of ids) {
    const locks = await Promise.all(held.map(({ part, blob }) => zookeeper.exists(`${top}/${id}/${part}/${blob}/${replica.replicaName}`)));
    if (locks.some((lock) => lock !== undefined)) found.add(id);
  }
  return [...found].sort();
}

/** Some of the replica's parts on its host, in `detached/` as well, each with the blob that its locks are named after. */
async function partsOnHost(host: ClickHouseHost, replica: InventoryReplica): Promise<{ part: string; blob: string }[]> {
  try {
    const rows = await host.select<{ part: string; path: string }>(
      `SELECT splitByChar('/', local_path)[-2] AS part, remote_path AS path FROM system.remote_data_paths
       WHERE local_path LIKE concat('%/', {uuid:String}, '/%/checksums.txt') AND NOT endsWith(local_path, '.proj/checksums.txt')
       ORDER BY match(part, '^[^_]+(_[0-9]+){3,4}$') DESC, part LIMIT ${PARTS_LOOKED_FOR}`,
      { params: { uuid: replica.uuid }, doing: `reading some blobs of ${replicaLabel(replica)}`, timeoutMs: 3_600_000 },
    );
    return rows.map(({ part, path }) => ({ part, blob: blobOfPath(path) }));
  } catch (error) {
    const code = clickHouseCode(error);
    if (code !== CODES.UNKNOWN_TABLE && code !== CODES.ACCESS_DENIED) throw error;
    throw cannotTell(replica, 'its host does not tell which blobs its parts have (system.remote_data_paths)');
  }
}
