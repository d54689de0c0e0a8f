import { addEvent, SEALED_ROWS, STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type Connections, report } from './deps';
import { tallyTargets } from './inventory';
import type { FinishInput, FinishOutcome, HostTarget } from './types';

const LEFTOVER_TABLES_SHOWN = 100;
const LEFTOVER_NAMES_SHOWN = 10;

/**
 * Looks once more at what the hosts' own tables say of every replica, lists what lies in `detached/` (nothing there was dropped), and
 * lets go of the replicas when the migration is over. A migration is completed only when every replica is RESTORED or SKIPPED.
 */
export async function finishMigration(connections: Connections, input: FinishInput): Promise<FinishOutcome> {
  report({ doing: 'counting what was proved' });
  const { counts, replicas } = await tallyTargets(connections, input.migration, input.hosts, input.skip);
  if (input.replicas !== undefined && replicas !== input.replicas) {
    throw new MigrationError(
      'INVARIANT',
      `the hosts' own tables have an inventory of ${replicas} replicas, and the migration was begun with ${input.replicas}: it lets go of nothing`,
    );
  }
  if (input.release === 'completed' && counts.RESTORED + counts.SKIPPED !== replicas) {
    throw new MigrationError(
      'INVARIANT',
      `the hosts' own tables have ${counts.RESTORED} of ${replicas} replicas RESTORED: the migration is not complete`,
      { details: { ...counts } },
    );
  }
  const leftovers = (await Promise.all(input.hosts.map((target) => leftoversOf(connections, input.migration, target)))).flat();
  if (input.release !== 'no') {
    for (const target of input.hosts) await addEvent(connections.host(target), input.migration, 'released', { why: input.release });
  }
  return { counts, leftovers: leftovers.slice(0, LEFTOVER_TABLES_SHOWN), leftoversTotal: leftovers.length };
}

async function leftoversOf(connections: Connections, migration: string, target: HostTarget): Promise<FinishOutcome['leftovers'][number][]> {
  const rows = await connections.host(target).select<{ database: string; table: string; n: string; names: string[]; on_blobs: number }>(
    `SELECT database, table, count() AS n, arraySlice(arraySort(groupArray(name)), 1, ${LEFTOVER_NAMES_SHOWN}) AS names,
       max(disk IN (SELECT name FROM system.disks WHERE lower(type) NOT IN ('local', 'memory'))) AS on_blobs FROM system.detached_parts
     WHERE (database, table) IN (SELECT database, table FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS})
     GROUP BY database, table ORDER BY database, table`,
    { params: { migration }, doing: 'looking what lies in detached/', timeoutMs: 300_000 },
  );
  return rows.map((row) => ({ host: target.name, db: row.database, table: row.table, parts: Number(row.n), names: row.names, onBlobs: row.on_blobs === 1 }));
}
