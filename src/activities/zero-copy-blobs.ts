import { clickHouseCode, CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { askTogether, labelOf } from '../clickhouse/together';
import { type InventoryReplica, NO_UUID } from '../domain/inventory';
import { blobOfPath, type PartBlobs } from '../domain/zero-copy';
import { report } from './deps';

/** Every file name on the host's remote disks is read, whatever is asked for. */
const READ_TIMEOUT_MS = 3_600_000;

/** A part's folder below the uuid of its table; a projection's folder lies one deeper, and has a blob of its own that no lock names. */
const FOLDER = String.raw`([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(detached/)?([^/]+)/checksums\.txt$`;

/**
 * By which blob each part of these tables is known in locks, as the host's own files name it: of active and old parts, and of those in
 * `detached/`; of a table that is detached as well. By the table's uuid. Undefined where the server cannot tell: one without
 * `system.remote_data_paths`, or a user who may not read it.
 */
export async function readPartBlobs(host: ClickHouseHost, uuids: readonly string[], of: string): Promise<ReadonlyMap<string, PartBlobs> | undefined> {
  const blobs = new Map(uuids.map((uuid) => [uuid, new Map<string, Set<string>>()]));
  if (uuids.length === 0) return blobs;
  report({ doing: 'reading which blobs are whose' });
  try {
    const rows = await host.select<{ uuid: string; aside: number; folder: string; path: string }>(
      `SELECT groups[1] AS uuid, notEmpty(groups[2]) AS aside, groups[3] AS folder, remote_path AS path FROM
         (SELECT extractGroups(local_path, {folder:String}) AS groups, remote_path FROM system.remote_data_paths WHERE endsWith(local_path, '/checksums.txt'))
       WHERE has({uuids:Array(String)}, groups[1])`,
      { params: { uuids, folder: FOLDER }, doing: `reading the blobs of ${of}`, timeoutMs: READ_TIMEOUT_MS },
    );
    for (const { uuid, aside, folder, path } of rows) {
      const table = blobs.get(uuid) ?? new Map<string, Set<string>>();
      const folders = table.get(blobOfPath(path)) ?? new Set();
      table.set(blobOfPath(path), folders.add(aside === 1 ? `detached/${folder}` : folder));
    }
  } catch (error) {
    const code = clickHouseCode(error);
    if (code === CODES.UNKNOWN_TABLE || code === CODES.ACCESS_DENIED) return undefined;
    throw error;
  }
  return blobs;
}

/** The same for one table, asked together with others of its host. Undefined also for a table without a uuid, whose folders are not known. */
export async function partBlobsOf(host: ClickHouseHost, { database, table, uuid }: InventoryReplica): Promise<PartBlobs | undefined> {
  if (uuid === NO_UUID) return undefined;
  return askTogether(host, 'blobs', { database, table, uuid }, async (tables) => {
    const all = await readPartBlobs(host, tables.map((one) => one.uuid), labelOf(tables));
    return tables.map((one) => all?.get(one.uuid));
  });
}
