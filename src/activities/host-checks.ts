import type { MigrationSpec } from '../domain/spec';
import { quoteIdentifier, quoteString } from '../clickhouse/sql';
import { STORE_DATABASE } from '../clickhouse/store';
import { moves } from '../workflows/targets';
import { FOR_ASYNC_INSERTS, grantStatement } from './grants';
import type { Findings, InspectedHost } from './preflight';
import { entryOf, wordOnDetached } from './take-over';
import { zooKeeperWords } from './zookeeper-words';

interface NamedRow {
  readonly database: string;
  readonly table: string;
}

/** What stands against a migration on one host, beside ZooKeeper. Only SELECTs. */
export async function checkHost(spec: MigrationSpec, host: InspectedHost, found: Findings): Promise<void> {
  await checkReplicas(spec, host, found);
  checkStranded(host, found);
  await checkStrandedOthers(host, found);
  if (!host.known) await checkFunctions(host, found);
  await checkDetachedParts(spec, host, found);
  await checkDependants(host, found);
  if (!host.known) await checkAsyncInserts(host, found);
}

function selected(host: InspectedHost): InspectedHost['replicas'] {
  return host.replicas.filter((one) => one.selected);
}

async function checkReplicas(spec: MigrationSpec, host: InspectedHost, found: Findings): Promise<void> {
  for (const one of selected(host)) {
    const { replica } = one;
    if (one.databaseEngine === 'Replicated') {
      found.refuse('REPLICATED_DATABASE', replica, `the database ${replica.database} has the Replicated engine: it keeps its own metadata in ZooKeeper, and refuses a plain DETACH (ClickHouse issue 52561)`, 'leave it out with tables.exclude');
    } else if (one.databaseEngine !== 'Atomic' && one.databaseEngine !== 'Ordinary') {
      found.refuse('DATABASE_ENGINE', replica, `the database ${replica.database} has the engine ${one.databaseEngine}`, 'leave it out with tables.exclude');
    }
    // Nothing renews the session of a replica without nodes, such as a run that stopped before RESTORE leaves: the restore gives it one.
    const without = host.lost.has(one) || (one.readonly && entryOf(spec, replica) !== undefined);
    if (one.sessionExpired && !without) {
      found.refuse('SESSION_EXPIRED', replica, `${host.spec.name} has no ZooKeeper session for it now: ${await zooKeeperWords(host.server, replica)}`, 'see that the server reaches ZooKeeper, then plan again');
    }
  }
}

/** A host's move takes everything on it along that lives in ZooKeeper (invariant 3). */
function checkStranded(host: InspectedHost, found: Findings): void {
  if (!moves(host.spec)) return;
  for (const { replica, selected: taken } of host.replicas) {
    if (taken || replica.zookeeperName !== 'default') continue;
    found.refuse('STRANDED', replica, `${host.spec.name} moves to another root or ensemble, and this replicated table is not in the inventory: it would lose its metadata`, 'take it in (tables.include, tables.exclude): a host moves as a whole');
  }
}

async function checkStrandedOthers(host: InspectedHost, found: Findings): Promise<void> {
  if (!moves(host.spec)) return;
  const rows = await host.server.select<{ what: string; database: string; table: string }>(
    `SELECT concat('a database of the engine ', engine) AS what, name AS database, '' AS table FROM system.databases WHERE engine = 'Replicated'
     UNION ALL SELECT concat('a table of the engine ', engine), database, name FROM system.tables
       WHERE engine IN ('KeeperMap', 'S3Queue', 'AzureQueue', 'ObjectStorageQueue') OR (engine = 'Kafka' AND create_table_query LIKE '%kafka\\_keeper\\_path%')
     ORDER BY database, table`,
    { doing: 'looking what else lives in ZooKeeper' },
  );
  for (const row of rows) {
    found.refuse('STRANDED', { host: host.spec.name, database: row.database, ...(row.table === '' ? {} : { table: row.table }) }, `${host.spec.name} moves to another root or ensemble, and ${row.what} lives in ZooKeeper too: it would be stranded`, 'move or drop it first');
  }
  if (await hasTable(host, 'user_directories')) {
    const directories = await host.server.select<{ name: string }>("SELECT name FROM system.user_directories WHERE type = 'replicated'", {
      doing: 'looking for replicated access storage',
    });
    for (const { name } of directories) {
      found.refuse('STRANDED', { host: host.spec.name }, `the access storage "${name}" is kept in ZooKeeper: users and grants would be stranded`, 'move it first');
    }
  }
}

const FUNCTIONS_SHOWN = 5;

/** Whether a server keeps its functions in ZooKeeper is in its configuration file alone (`user_defined_zookeeper_path`). */
async function checkFunctions(host: InspectedHost, found: Findings): Promise<void> {
  if (!moves(host.spec) || !(await tellsOrigin(host))) return;
  const rows = await host.server.select<{ name: string }>("SELECT name FROM system.functions WHERE origin = 'SQLUserDefined' ORDER BY name", {
    doing: 'looking for functions made in SQL',
  });
  if (rows.length === 0) return;
  const names = rows.slice(0, FUNCTIONS_SHOWN).map(({ name }) => name).join(', ');
  found.warn('FUNCTIONS_STAY', { host: host.spec.name }, `${host.spec.name} has ${rows.length} function(s) made in SQL (${names}${rows.length > FUNCTIONS_SHOWN ? ', …' : ''}): where it keeps them in ZooKeeper (user_defined_zookeeper_path) they stay behind`, 'look whether its configuration has user_defined_zookeeper_path; if so, copy that node to the new place before its restart, or make them again afterwards');
}

/** `system.functions.origin` came with functions in SQL, in 21.10. */
async function tellsOrigin(host: InspectedHost): Promise<boolean> {
  const [row] = await host.server.select<{ n: string }>("SELECT count() AS n FROM system.columns WHERE database = 'system' AND table = 'functions' AND name = 'origin'", {
    doing: 'looking for system.functions',
  });
  return Number(row?.n ?? 0) > 0;
}

/** Whether a server has a table of this name in its database `system`. */
export async function hasTable(host: InspectedHost, name: string): Promise<boolean> {
  const rows = await host.server.select<{ n: string }>(
    "SELECT count() AS n FROM system.tables WHERE database = 'system' AND name = {name:String}",
    { params: { name }, doing: `looking for system.${name}` },
  );
  return Number(rows[0]?.n ?? 0) > 0;
}

async function checkDetachedParts(spec: MigrationSpec, host: InspectedHost, found: Findings): Promise<void> {
  const rows = await host.server.select<NamedRow & { name: string; attaching: number; collides: number }>(
    `SELECT database, table, name, startsWith(name, 'attaching_') AS attaching,
       (database, table, name) IN (SELECT database, table, name FROM system.parts WHERE active) AS collides
     FROM system.detached_parts WHERE database != {store:String} AND (attaching OR collides) ORDER BY database, table, name`,
    { params: { store: STORE_DATABASE }, doing: 'looking into detached/' },
  );
  const taken = new Set(selected(host).map(({ replica }) => JSON.stringify([replica.database, replica.table])));
  for (const row of rows) {
    if (!taken.has(JSON.stringify([row.database, row.table]))) continue;
    const where = { host: host.spec.name, database: row.database, table: row.table };
    if (row.collides === 1 && wordOnDetached(spec.takeOver, row) === 'attach') continue;
    if (row.collides === 1) {
      found.refuse('DETACHED_COLLISION', where, `detached/ holds a part ${row.name}, and an active part has the same name: RESTORE would take the stale one`, 'move it out of detached/ on the host, once you know what it is');
    } else {
      found.refuse('DETACHED_ATTACHING', where, `detached/ holds ${row.name}, left by an ATTACH that was cut short`, 'rename or move it on the host, once you know what it is');
    }
  }
}

/** INSERTs that the server has acknowledged and not written yet: each table with some is named, for somebody writes to it so. */
async function checkAsyncInserts(host: InspectedHost, found: Findings): Promise<void> {
  if (!(await hasTable(host, 'asynchronous_inserts'))) return;
  const rows = await host.server.select<NamedRow & { n: string }>(
    'SELECT database, table, sum(length(`entries.query_id`)) AS n FROM system.asynchronous_inserts GROUP BY database, table',
    { doing: 'looking for asynchronous INSERTs' },
  );
  for (const { replica } of selected(host)) {
    const row = rows.find(({ database, table }) => database === replica.database && table === replica.table);
    if (row === undefined) continue;
    found.warn(
      'ASYNC_INSERTS',
      replica,
      `${row.n} asynchronous INSERT(s) into it wait in the server's memory: rows that come there between the flush and the DETACH are lost, though acknowledged`,
      `stop who writes so (async_insert = 1, wait_for_async_insert = 0). The run flushes the queue right before DETACH, with ${grantStatement(FOR_ASYNC_INSERTS, host.server.target.user)}; without that right it waits until it empties by itself`,
    );
  }
}

const DEPENDENT_ENGINES = ['MaterializedView', 'Distributed', 'Buffer', 'Kafka', 'Dictionary', 'View', 'LiveView', 'WindowView', 'RabbitMQ', 'NATS'];

/** Engines that read from elsewhere, and write by way of materialized views alone. */
const FEEDING_ENGINES: readonly string[] = ['Kafka', 'RabbitMQ', 'NATS'];

interface Dependant {
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
  readonly engine: string;
  readonly query: string;
  readonly deps: readonly (readonly [string, string])[];
}

/** What reads from or writes into a table of the inventory is named: while the table is detached, it fails. */
async function checkDependants(host: InspectedHost, found: Findings): Promise<void> {
  const [rows, configured] = await Promise.all([dependantsOf(host), configuredDictionaries(host)]);
  for (const { replica } of selected(host)) {
    const users = rows.filter((row) => mentions(row, replica.database, replica.table) || isInner(row, replica.database, replica.table));
    for (const user of users) {
      found.warn('DEPENDENT', replica, `${user.engine} ${user.database}.${user.table} reads from or writes into it, and fails while it is detached`, STOP_THEM);
    }
    const feeding = rows.filter(({ engine, database, table }) => FEEDING_ENGINES.includes(engine) && users.some((user) => mentions(user, database, table)));
    for (const feeder of feeding) {
      found.warn('DEPENDENT', replica, `${feeder.engine} ${feeder.database}.${feeder.table} feeds a materialized view that writes into it, and is stopped by its errors while it is detached`, STOP_THEM);
    }
    for (const { name } of configured.filter(({ source }) => sourceNames(source, replica.database, replica.table))) {
      found.warn('DEPENDENT', replica, `the dictionary ${name} of the server's configuration reads from it, and is not reloaded while it is detached`, STOP_THEM);
    }
  }
}

const STOP_THEM = 'stop writers and readers for the time of the migration';

async function dependantsOf(host: InspectedHost): Promise<Dependant[]> {
  return host.server.select<Dependant>(
    `SELECT database, name AS table, toString(uuid) AS uuid, engine, create_table_query AS query,
       arrayZip(loading_dependencies_database, loading_dependencies_table) AS deps FROM system.tables
     WHERE engine IN ({engines:Array(String)}) AND database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')`,
    { params: { engines: DEPENDENT_ENGINES }, doing: 'looking what depends on the tables' },
  );
}

/** Dictionaries of configuration files; the source of one that was never loaded is not known. */
async function configuredDictionaries(host: InspectedHost): Promise<{ name: string; source: string }[]> {
  return host.server.select("SELECT name, source FROM system.dictionaries WHERE database = '' AND source != '' ORDER BY name", { doing: 'looking for dictionaries of its configuration' });
}

function mentions(row: Dependant, database: string, table: string): boolean {
  if (row.deps.some(([db, name]) => db === database && name === table)) return true;
  const forms = (name: string): string[] => [name, quoteIdentifier(name), quoteString(name)];
  // One scan for each that names no such table, which is nearly all of them.
  const tables = forms(table).filter((name) => row.query.includes(name));
  return tables.some((name) => forms(database).some((db) => row.query.includes(`${db}.${name}`) || row.query.includes(`${db}, ${name}`)));
}

/** A view without TO keeps its rows in a table of its own, which has the view's uuid or name, and which its query does not name. */
function isInner({ engine, database, table, uuid }: Dependant, ofDatabase: string, inner: string): boolean {
  return (engine === 'MaterializedView' || engine === 'WindowView') && database === ofDatabase && (inner === `.inner_id.${uuid}` || inner === `.inner.${table}`);
}

/** As the server says it: `ClickHouse: db.table`, unquoted, with a condition behind it where there is one. */
function sourceNames(source: string, database: string, table: string): boolean {
  const name = `ClickHouse: ${database}.${table}`;
  return source === name || source.startsWith(`${name}, where: `);
}
