import type { ClickHouseHost } from '../clickhouse/host';
import { hasStore, readEvents, SEALED_ROWS, STORE_DATABASE } from '../clickhouse/store';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import { type Hold, holdOf, type HostEvent } from '../domain/hold';
import type { ReplicaRef } from '../domain/inventory';

interface TableName {
  readonly database: string;
  readonly table: string;
}

export interface HeldTable extends TableName {
  /** Who holds it. */
  readonly migration: string;
}

/** What the host's own tables say of a migration. */
export async function readHold(host: ClickHouseHost, migration: string): Promise<Hold> {
  return holdOf((await hasStore(host)) ? await readEvents(host, migration) : []);
}

/** Every migration that the host's own tables know. */
async function readHolds(host: ClickHouseHost): Promise<ReadonlyMap<string, Hold>> {
  // Of their data only what holds are made of: an inventory's event names all hosts, and this is asked again and again.
  const rows = await host.select<{ migration: string; kind: string; take: string; why: string }>(
    `SELECT migration, kind, JSONExtractString(data, 'take') AS take, JSONExtractString(data, 'why') AS why FROM ${STORE_DATABASE}.events WHERE kind IN ('claimed', 'sealed', 'released') ORDER BY at`,
    { doing: 'reading which migrations hold tables' },
  );
  const events = new Map<string, HostEvent[]>();
  for (const { migration, kind, take, why } of rows) {
    const those = events.get(migration) ?? [];
    those.push({ kind, data: { take, why } });
    events.set(migration, those);
  }
  return new Map([...events].map(([migration, those]) => [migration, holdOf(those)]));
}

/** Replicas of a host that another migration, not ended, holds. */
export async function heldByOthers(host: ClickHouseHost, migration: string): Promise<HeldTable[]> {
  return (await hasStore(host)) ? heldBeside(host, migration, await readHolds(host)) : [];
}

/** One query, where anybody else holds anything on the host; else none. */
async function heldBeside(host: ClickHouseHost, migration: string, holds: ReadonlyMap<string, Hold>, tables?: readonly TableName[]): Promise<HeldTable[]> {
  const takes = [...holds].flatMap(([other, hold]) => (other === migration ? [] : hold.takes.map((take) => [other, take] as const)));
  if (takes.length === 0) return [];
  // Tables of before there were takes have no column for them, and who only looks adds none.
  const mine = takes.every(([, take]) => take === '') ? 'migration IN {migrations:Array(String)}' : '(migration, take) IN arrayZip({migrations:Array(String)}, {takes:Array(String)})';
  const { condition, params } = tables === undefined ? { condition: () => '1', params: {} } : ofTables(tables);
  return host.select<HeldTable>(
    `SELECT DISTINCT migration, database, table FROM ${STORE_DATABASE}.inventory
     WHERE ${mine} AND ${condition('database', 'table')}`,
    { params: { ...params, migrations: takes.map(([other]) => other), takes: takes.map(([, take]) => take) }, doing: 'looking for other migrations' },
  );
}

/**
 * Asked right before something is done to a replica: the migration holds it still, and nobody else does. A run that was reset to before its
 * abort, or that was given up and goes on, holds nothing. One query for all replicas of the host that are asked for at the same time.
 *
 * @throws MigrationError `HELD`
 */
export async function stillHeld(host: ClickHouseHost, migration: string, { database, table }: ReplicaRef): Promise<void> {
  const { hold, other } = await askTogether(host, `hold ${migration}`, { database, table }, async (tables) => {
    const holds = await readHolds(host);
    const of = rowsOf(await heldBeside(host, migration, holds, tables));
    return tables.map((one) => ({ hold: holds.get(migration), other: of(one)[0] }));
  });
  refuseUnheld(`${host.name} ${labelOf([{ database, table }])}`, migration, hold, other);
}

/**
 * The same, for one that was proved: answers false where the migration does not hold it (any more), so that a run which was reset to before
 * its end sends nothing, and has nothing to send.
 */
export async function isStillHeld(host: ClickHouseHost, migration: string, replica: ReplicaRef): Promise<boolean> {
  try {
    await stillHeld(host, migration, replica);
    return true;
  } catch (error) {
    if (error instanceof MigrationError && error.type === 'HELD') return false;
    throw error;
  }
}

/** The same of a whole host, before it is restarted: nobody else holds any table of the migration's on it. */
export async function stillHeldHost(host: ClickHouseHost, migration: string): Promise<void> {
  const holds = await readHolds(host);
  const others = await heldBeside(host, migration, holds);
  const mine = others.length === 0 ? [] : await host.select<TableName>(
    `SELECT database, table FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}`,
    { params: { migration }, doing: 'reading its inventory' },
  );
  const of = rowsOf(others);
  refuseUnheld(host.name, migration, holds.get(migration), mine.flatMap(of)[0]);
}

function refuseUnheld(what: string, migration: string, hold: Hold | undefined, other: HeldTable | undefined): void {
  if (other !== undefined) throw heldBy(what, other);
  if (hold?.held === true) return;
  const words = hold?.released === undefined ? 'never took it' : `let go of it (${hold.released})`;
  throw new MigrationError('HELD', `${what}: the migration "${migration}" ${words}, and does nothing to it: ch-zk-migrate retry ${migration} takes it again (start SPEC --execute, where it had not begun)`);
}

/** Another migration holds it. */
export function heldBy(what: string, { migration }: HeldTable): MigrationError {
  return new MigrationError('HELD', `${what} is held by the migration "${migration}": finish or abort it first (ch-zk-migrate status ${migration})`);
}
