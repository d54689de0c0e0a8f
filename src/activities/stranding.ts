import { hasReached } from '../domain/status';
import { STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import type { Connections } from './deps';
import { notedReplicas, onlyAtOldPlace } from './old-place';
import type { RestartInput } from './types';

interface TableName {
  readonly database: string;
  readonly table: string;
}

const NAMES_SHOWN = 5;

/**
 * A host takes everything along when it moves (invariant 3), and the plan saw to it; but a table may have been created since, or left out by
 * `retry --skip` or `--tables`, and an abort that came to no end may have made one anew at the old place. Looks directly before the host's restart.
 *
 * @throws MigrationError `STRANDED` with the tables whose metadata would be left at the old place
 */
export async function refuseStranding(connections: Connections, input: RestartInput): Promise<void> {
  const { migration, host: target } = input;
  const host = connections.host(target);
  const [attached, noted] = await Promise.all([
    host.select<TableName>(
      `SELECT database, table FROM system.replicas WHERE database != '${STORE_DATABASE}' AND zookeeper_name IN ('', 'default') ORDER BY database, table`,
      { doing: 'looking what would be stranded', timeoutMs: 120_000 },
    ),
    notedReplicas(host, migration),
  ]);
  const key = ({ database, table }: TableName): string => JSON.stringify([database, table]);
  const cleaned = new Set(noted.filter(({ note }) => hasReached(note.status, 'ZK_CLEANED')).map(key));
  const detached = noted.filter(({ note }) => note.status === 'DETACHED');
  const here = new Set(attached.map(key));
  // Its manifest was noted, and its DETACH may have come to be done without a note; what was dropped since is registered nowhere.
  const gone = noted.filter((one) => one.note.status === 'INIT' && one.note.detachTake !== '' && !here.has(key(one)));
  const left = await onlyAtOldPlace(connections, input, [...gone, ...noted.filter(({ note }) => note.status === 'RESTORED')]);
  const anew = left.filter(({ note }) => note.status === 'RESTORED');
  const open = [...attached, ...detached, ...left].filter((table) => !cleaned.has(key(table)));
  if (open.length + anew.length === 0) return;
  const words = anew.length === 0 ? '' : ` (an abort made the metadata of ${named(anew)} anew at the old place: only an abort ends that)`;
  throw new MigrationError(
    'STRANDED',
    `${target.name} is not restarted on its new place: the metadata of ${named([...open, ...anew])} would stay at the old one${words}. ` +
      `Take along what was left out: ch-zk-migrate retry ${migration} --unskip '*', and without --tables; drop or move away what was created since the plan; or abort`,
  );
}

function named(tables: readonly TableName[]): string {
  const names = [...new Set(tables.map(({ database, table }) => `${database}.${table}`))];
  return `${names.slice(0, NAMES_SHOWN).join(', ')}${names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : ''}`;
}
