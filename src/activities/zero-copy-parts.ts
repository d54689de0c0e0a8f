import type { ClickHouseHost } from '../clickhouse/host';
import { STORE_DATABASE } from '../clickhouse/store';

/** The names of one replica's parts on its host. */
export interface ReplicaParts {
  /** Active, on a disk that is not local. */
  readonly active: readonly string[];
  readonly outdated: readonly string[];
  /** In `detached/`, under a plain name. */
  readonly lying: readonly string[];
  /** In `detached/`, without the reason that stands before a name. */
  readonly detached: readonly string[];
  readonly rows: number;
}

/** The parts of every table of one host. */
export interface PartNames {
  of(replica: { readonly database: string; readonly table: string }): ReplicaParts;
}

const NONE: ReplicaParts = { active: [], outdated: [], lying: [], detached: [], rows: 0 };

/** Reads the names of the parts that may be on blobs, of all tables at once. */
export async function partNamesOf(host: ClickHouseHost): Promise<PartNames> {
  const remote = "(SELECT name FROM system.disks WHERE lower(type) NOT IN ('local', 'memory'))";
  const parts = await host.select<{ database: string; table: string; active_names: string[]; outdated: string[]; n_rows: string }>(
    `SELECT database, table, groupArrayIf(name, active) AS active_names, groupArrayIf(name, NOT active) AS outdated, sumIf(rows, active) AS n_rows
     FROM system.parts WHERE database != {store:String} AND disk_name IN ${remote} GROUP BY database, table`,
    { params: { store: STORE_DATABASE }, doing: 'reading the names of parts on blobs', timeoutMs: 300_000 },
  );
  const detached = await host.select<{ database: string; table: string; lying: string[]; detached: string[] }>(
    `SELECT database, table, groupArrayIf(name, reason = '') AS lying,
       groupArray(if(reason = '', name, substring(name, length(reason) + 2))) AS detached
     FROM system.detached_parts WHERE database != {store:String} AND disk IN ${remote} GROUP BY database, table`,
    { params: { store: STORE_DATABASE }, doing: 'looking into detached/', timeoutMs: 300_000 },
  );
  const key = (table: { database: string; table: string }): string => JSON.stringify([table.database, table.table]);
  const names = new Map<string, ReplicaParts>();
  for (const row of parts) names.set(key(row), { ...NONE, active: row.active_names, outdated: row.outdated, rows: Number(row.n_rows) });
  for (const row of detached) names.set(key(row), { ...(names.get(key(row)) ?? NONE), lying: [...row.lying].sort(), detached: row.detached });
  return { of: (replica) => names.get(key(replica)) ?? NONE };
}
