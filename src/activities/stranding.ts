import { hasReached } from '../domain/status';
import { latestNotesSql, noteOfRow, STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import type { Connections } from './deps';
import type { RestartInput } from './types';

const NAMES_SHOWN = 5;

/**
 * A host takes everything along when it moves (invariant 3), and the plan saw to it; but a table may have been created since, or left out by
 * `retry --skip` or `--tables`. Looks directly before the host's restart.
 *
 * @throws MigrationError `STRANDED` with the tables whose metadata would be left at the old place
 */
export async function refuseStranding(connections: Connections, { migration, host: target }: RestartInput): Promise<void> {
  const host = connections.host(target);
  const [attached, notes] = await Promise.all([
    host.select<{ database: string; table: string }>(
      `SELECT database, table FROM system.replicas WHERE database != '${STORE_DATABASE}' AND zookeeper_name IN ('', 'default') ORDER BY database, table`,
      { doing: 'looking what would be stranded', timeoutMs: 120_000 },
    ),
    host.select<Parameters<typeof noteOfRow>[0]>(latestNotesSql(''), { params: { migration }, doing: 'reading how far its tables are', timeoutMs: 120_000 }),
  ]);
  const key = ({ database, table }: { database: string; table: string }): string => JSON.stringify([database, table]);
  const cleaned = new Set(notes.filter((row) => hasReached(noteOfRow(row).status, 'ZK_CLEANED')).map(key));
  const detached = notes.filter((row) => noteOfRow(row).status === 'DETACHED');
  const names = [...new Set([...attached, ...detached].filter((table) => !cleaned.has(key(table))).map(({ database, table }) => `${database}.${table}`))];
  if (names.length === 0) return;
  throw new MigrationError(
    'STRANDED',
    `${target.name} is not restarted on its new place: the metadata of ${names.slice(0, NAMES_SHOWN).join(', ')}${names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : ''} ` +
      `would stay at the old one. Take along what was left out: ch-zk-migrate retry ${migration} --unskip '*', and without --tables; drop or move away what was created since the plan; or abort`,
  );
}
