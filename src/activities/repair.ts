import { dirname } from 'node:path/posix';

import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { STORE_DATABASE, type ReplicaNote } from '../clickhouse/store';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type ReplicaRef, replicaLabel } from '../domain/inventory';
import { type Connections, ensembleOf, report } from './deps';
import { refusalOf, send, statementId } from './statement';
import type { RestoreInput } from './types';

/** Names that lie in `detached/` and are active as well: RESTORE would restore the stale one and leave the real one behind. */
export async function collisionsInDetached(host: ClickHouseHost, { database, table }: ReplicaRef): Promise<string[]> {
  const rows = await askTogether(host, 'collisions', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const all = await host.select<{ database: string; table: string; name: string }>(
      `SELECT database, table, name FROM system.detached_parts WHERE ${condition('database', 'table')}
         AND (database, table, name) IN (SELECT database, table, name FROM system.parts WHERE active AND ${condition('database', 'table')})
       ORDER BY name`,
      { params, doing: `looking into detached/ of ${labelOf(tables)}` },
    );
    return tables.map(rowsOf(all));
  });
  return rows.map(({ name }) => name);
}

/** The prefix of a folder whose ATTACH was cut short: no SQL can name it. */
const ATTACHING = 'attaching_';

/**
 * A RESTORE that died in the middle leaves some parts active and the rest in `detached/` under their baseline names, and nothing on the
 * server says that rows are missing (ClickHouse issue 111628). Attaches those that the baseline names and that are not active, by
 * `ALTER TABLE … ATTACH PART` on the active replica. Nothing else in `detached/` is touched (invariant 8).
 *
 * @returns how many parts were attached
 * @throws MigrationError `NEEDS_HAND` where a folder must be renamed on the host first
 */
export async function repairParts(connections: Connections, input: RestoreInput, note: ReplicaNote): Promise<number> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const missing = await nameableParts(host, migration, replica, note);
  await attachParts(host, migration, replica, missing);
  // Of parts with the same content the server took one and left the others where they were, without a word.
  for (const part of await missingParts(host, migration, replica, note.baselineTake)) {
    await forgetTwins(connections, input, note, part);
    await attachParts(host, migration, replica, [part]);
  }
  return missing.length;
}

/**
 * The parts of the baseline that are missing and lie in `detached/` under their own names.
 *
 * @throws MigrationError `NEEDS_HAND` where one lies there under a name that SQL cannot attach
 */
export async function nameableParts(host: ClickHouseHost, migration: string, replica: ReplicaRef, note: ReplicaNote): Promise<readonly MissingPart[]> {
  const missing = await missingParts(host, migration, replica, note.baselineTake);
  const stuck = missing.filter(({ found }) => found.startsWith(ATTACHING));
  if (stuck.length > 0) {
    const commands = stuck.map(({ path, name }) => `mv '${path}' '${path.slice(0, path.lastIndexOf('/'))}/${name}'`).join(' && ');
    throw new MigrationError('NEEDS_HAND', `${replicaLabel(replica)}: ${stuck.length} part(s) lie in detached/ under a name that SQL cannot attach. On the host: ${commands} ; then retry`);
  }
  return missing;
}

/**
 * A server that died while it moved the parts out of the way, which is how RESTORE begins, has the later ones still, and would give them numbers
 * before the earlier ones. Where the row that stays is chosen by their order, each part has to be at its place before RESTORE.
 *
 * @throws MigrationError `NEEDS_HAND` with the command that puts them back, which no SQL does on a table without metadata
 */
export async function refuseOtherOrder(host: ClickHouseHost, migration: string, replica: ReplicaRef, note: ReplicaNote): Promise<void> {
  const missing = await nameableParts(host, migration, replica, note);
  if (missing.length === 0) return;
  const commands = missing.map(({ path, name }) => `mv '${path}' '${dirname(dirname(path))}/${name}'`).join(' && ');
  throw new MigrationError(
    'NEEDS_HAND',
    `${replicaLabel(replica)}: ${missing.length} part(s) were moved to detached/ by a RESTORE that died, and its engine chooses among rows by the order of their parts, which they would lose there. On the host: ${commands} ; then retry`,
  );
}

export async function attachParts(host: ClickHouseHost, migration: string, replica: InventoryReplica, parts: readonly MissingPart[]): Promise<void> {
  let done = 0;
  for (const { name } of parts) {
    report({ doing: 'attaching parts of the manifest from detached/', done, total: parts.length });
    const sent = await send(host, statements.attachPart(replica, name), {
      queryId: statementId(migration, replica, `attach-part-${name}`),
      doing: `attaching the part ${name} of ${replicaLabel(replica)}`,
    });
    if (sent.end === 'refused') throw await refusalOf(host, replica, sent);
    done += 1;
  }
}

/** Where ZooKeeper keeps what was inserted lately, each node with the name of the part that it became: older servers, newer ones. */
const DEDUPLICATION = ['blocks', 'deduplication_hashes'] as const;

/**
 * An ATTACH PART is deduplicated like an INSERT, on 26.7 whatever the settings say. Makes ZooKeeper forget the active parts with the same
 * content as this one, and nothing else, so that this one is taken too.
 */
async function forgetTwins(connections: Connections, input: RestoreInput, { baselineTake }: ReplicaNote, part: MissingPart): Promise<void> {
  const { migration, replica, host: target } = input;
  const twins = await connections.host(target).select<{ name: string }>(
    `SELECT name FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}
       AND (partition_id, rows, hash_of_all_files) IN (SELECT partition_id, rows, hash_of_all_files FROM ${STORE_DATABASE}.manifests
         WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND take = {take:String} AND name = {name:String})`,
    {
      params: { migration, database: replica.database, table: replica.table, take: baselineTake, name: part.name },
      doing: `looking for parts like ${part.name} of ${replicaLabel(replica)}`,
    },
  );
  const names = new Set(twins.map(({ name }) => name));
  const zookeeper = await connections.zookeeper(ensembleOf(target, input.zookeeper, replica.zookeeperName), input.zookeeper.digestEnv);
  for (const kind of DEDUPLICATION) {
    const parent = `${replica.zookeeperPath}/${kind}`;
    for (const child of (await zookeeper.children(parent)) ?? []) {
      const node = await zookeeper.get(`${parent}/${child}`);
      if (node !== undefined && names.has(node.data.toString())) await zookeeper.delete(`${parent}/${child}`);
    }
  }
}

const NAMES_SHOWN = 5;

/** Where what is missing against the baseline lies, in words that end a sentence. */
export async function wherePartsLie(host: ClickHouseHost, migration: string, replica: ReplicaRef, { baselineTake }: ReplicaNote): Promise<string> {
  const missing = await missingParts(host, migration, replica, baselineTake);
  if (missing.length === 0) return '; none of it lies in detached/';
  const names = missing.slice(0, NAMES_SHOWN).map(({ found }) => found);
  return `; ${missing.length} of these parts lie in detached/: ${names.join(', ')}${missing.length > names.length ? ', …' : ''}`;
}

export interface MissingPart {
  /** The baseline's name. */
  readonly name: string;
  /** Its folder's name in `detached/`. */
  readonly found: string;
  readonly path: string;
}

/**
 * Parts of the baseline that are not active (as many of each content as are missing) and that lie in `detached/` under their own name, or
 * as `attaching_<name>`. In the order of their blocks, as RESTORE attaches them: engines that keep the last row of several go by it.
 */
async function missingParts(host: ClickHouseHost, migration: string, replica: ReplicaRef, take: string): Promise<MissingPart[]> {
  const params = { migration, database: replica.database, table: replica.table, take };
  return host.select<MissingPart>(
    `WITH baseline AS (SELECT name, partition_id, rows, hash_of_all_files FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String}
        AND database = {database:String} AND table = {table:String} AND take = {take:String} AND rows > 0),
      lying AS (SELECT name AS found, path, min_block_number, max_block_number, if(startsWith(name, '${ATTACHING}'), substring(name, ${ATTACHING.length + 1}), name) AS own_name
        FROM system.detached_parts WHERE database = {database:String} AND table = {table:String}),
      active AS (SELECT partition_id, rows, hash_of_all_files, count() AS n FROM system.parts WHERE active AND rows > 0
        AND database = {database:String} AND table = {table:String} GROUP BY partition_id, rows, hash_of_all_files),
      expected AS (SELECT partition_id, rows, hash_of_all_files, count() AS n FROM baseline GROUP BY partition_id, rows, hash_of_all_files)
     SELECT name, found, path FROM (
       SELECT b.name AS name, l.found AS found, l.path AS path, b.partition_id AS partition, l.min_block_number AS low, l.max_block_number AS high,
         row_number() OVER (PARTITION BY b.partition_id, b.rows, b.hash_of_all_files ORDER BY b.name) AS nth,
         toInt64(e.n) - toInt64(a.n) AS lacking
       FROM baseline AS b INNER JOIN lying AS l ON b.name = l.own_name
       INNER JOIN expected AS e ON (b.partition_id, b.rows, b.hash_of_all_files) = (e.partition_id, e.rows, e.hash_of_all_files)
       LEFT JOIN active AS a ON (b.partition_id, b.rows, b.hash_of_all_files) = (a.partition_id, a.rows, a.hash_of_all_files))
     WHERE nth <= lacking ORDER BY partition, low, high`,
    { params, doing: `looking for the missing parts of ${replicaLabel(replica)}`, timeoutMs: 300_000 },
  );
}
