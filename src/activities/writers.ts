import type { ClickHouseHost } from '../clickhouse/host';
import { STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { insertsInto, loggedNames, together, type Writer, writerWords } from '../domain/writers';
import type { Connections } from './deps';
import { targetOf } from './elect';
import type { CleanInput } from './types';

const ASKED_FOR_MS = 10_000;
const MOST_ROWS = 100;

/**
 * Adds to a failure that says by way of which replicas a table was written, who wrote: the users and addresses of the INSERTs that these
 * servers know of since the table was first detached. What cannot be asked (no such log, no right, no answer) is left out.
 *
 * @param failure `REPLICAS_DIFFER`, with `details.ahead`: the names of the replicas that got the rows
 */
export async function withWriters(connections: Connections, input: CleanInput, failure: MigrationError): Promise<MigrationError> {
  const ahead = (failure.options.details?.['ahead'] ?? []) as readonly string[];
  const asked = await Promise.all(
    input.table.replicas
      // Where none has all, each got something.
      .filter(({ replicaName }) => ahead.length === 0 || ahead.includes(replicaName))
      .map(async ({ host: name, database, table }) => {
        const host = connections.host(targetOf(input.hosts, name));
        const [running, logged] = await Promise.all([runningInserts(host, { database, table }), loggedInserts(host, input.migration, { database, table })]);
        return [...running, ...logged];
      }),
  );
  const writers = together(asked.flat());
  if (writers.length === 0) return failure;
  return new MigrationError(failure.type, `${failure.message}; since it was first detached it was written ${writerWords(writers)}`, { ...failure.options, details: { ...failure.options.details, writers } });
}

interface Table {
  readonly database: string;
  readonly table: string;
}

/** Of a Distributed table's INSERT the one who sent it first. */
const WHO = `initial_user AS user, replaceOne(toString(initial_address), '::ffff:', '') AS address, if(client_name != '', client_name, http_user_agent) AS client`;

/** INSERTs that run now. Source: https://clickhouse.com/docs/operations/system-tables/processes */
async function runningInserts(host: ClickHouseHost, table: Table): Promise<Writer[]> {
  const rows = await best(host.select<Omit<Writer, 'inserts'> & { database: string; text: string }>(
    `SELECT ${WHO}, current_database AS database, substring(query, 1, 4096) AS text FROM system.processes WHERE query_kind = 'Insert' LIMIT ${MOST_ROWS}`,
    { doing: 'asking who writes', timeoutMs: ASKED_FOR_MS },
  ));
  return rows.filter(({ text, database }) => insertsInto(text, database, table)).map(({ user, address, client }) => ({ user, address, client, inserts: 1 }));
}

/**
 * INSERTs that are over, since the first manifest of the table was taken. The log is written some seconds late, so one try may not see its
 * own, and the next does. Source: https://clickhouse.com/docs/operations/system-tables/query_log
 */
async function loggedInserts(host: ClickHouseHost, migration: string, { database, table }: Table): Promise<Writer[]> {
  const rows = await best(host.select<Omit<Writer, 'inserts'> & { n: string }>(
    `SELECT ${WHO}, count() AS n FROM system.query_log
     WHERE type = 'QueryFinish' AND query_kind IN ('Insert', 'AsyncInsertFlush') AND hasAny(tables, {names:Array(String)})
       AND event_date >= today() - 30 AND event_time >= (SELECT toDateTime(min(at)) FROM ${STORE_DATABASE}.manifests
         WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String} AND kind = 'detach')
     GROUP BY user, address, client ORDER BY n DESC LIMIT ${MOST_ROWS}`,
    { params: { names: loggedNames({ database, table }), migration, database, table }, doing: 'asking who wrote', timeoutMs: ASKED_FOR_MS },
  ));
  return rows.map(({ user, address, client, n }) => ({ user, address, client, inserts: Number(n) }));
}

/** Nothing of this is needed to be right: what the server does not tell is not known. */
async function best<T>(rows: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await rows;
  } catch (error) {
    if (error instanceof MigrationError) return [];
    throw error;
  }
}
