import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel, tableOrderKey } from '../domain/inventory';
import type { PlannedTable, PlannedTakeOver } from '../domain/plan';
import type { MigrationSpec, TakeOverEntry, TakeOverSpec } from '../domain/spec';
import { differenceWords, entriesById, judge, type LeftParts, type SeenReplica, type Verdict } from '../domain/take-over';
import { createTableFilter } from '../config/table-filter';
import { hostTarget } from '../workflows/targets';
import { type Connections, ensembleOf } from './deps';
import { orderKeyOf } from './inventory';
import type { ListedReplica } from './inspect';
import type { Occupants } from './path-conflicts';
import type { Findings, InspectedHost, InspectedTable } from './preflight';
import { selectionOf } from './selection';
import { detachedTables, keyOfEntry, lookAtHost, pathState, seeReplica, splitPath, tableId, type TakeOverHost } from './take-over-look';

/** What a preflight found of the tables that a status file to take over names. */
export class TakenOver {
  readonly attached = new Map<ListedReplica, PlannedTakeOver & { readonly place: SeenReplica['place'] }>();
  readonly absent = new Map<string, Omit<PlannedTable, 'statements'>[]>();

  /** Whether it lives at its new place already: what is said of its old one does not count. */
  isThere(listed: ListedReplica): boolean {
    return this.attached.get(listed)?.place === 'after';
  }

  planned(listed: ListedReplica): PlannedTakeOver | undefined {
    const one = this.attached.get(listed);
    return one === undefined ? undefined : { said: one.said, found: one.found, attached: true };
  }
}

const LOOKED_AT_ONCE = 32;
const NAMES_SHOWN = 10;

/** Whether the operator said what is to become of the parts that lie in `detached/` of a table. */
export function wordOnDetached(takeOver: TakeOverSpec | undefined, table: { readonly database: string; readonly table: string }): 'attach' | 'leave' | undefined {
  if (takeOver === undefined) return undefined;
  const matches = (include: readonly string[]): boolean =>
    include.length > 0 && createTableFilter({ include, exclude: [] })({ host: '', zookeeperPath: '', disks: [], database: table.database, table: table.table });
  if (matches(takeOver.attachDetached)) return 'attach';
  return matches(takeOver.leaveDetached) ? 'leave' : undefined;
}

/**
 * Checks each entry of the status file against server and ZooKeeper. Only reads: of a table that is not attached it knows what ZooKeeper
 * has at the path that the file gives, and no more. What differs is a warning, what cannot be gone on from is a refusal.
 */
export async function checkTakeOver(connections: Connections, spec: MigrationSpec, hosts: readonly InspectedHost[], found: Findings): Promise<TakenOver> {
  const taken = new TakenOver();
  const { takeOver } = spec;
  if (takeOver === undefined) return taken;
  const members = membersByKey(spec, hosts);
  for (const host of hosts) {
    const entries = takeOver.entries.filter((entry) => entry.host === host.spec.name);
    if (host.known || entries.length === 0) continue;
    const check = new HostCheck(connections, spec, host, await lookAtHost(connections, host.spec), members, found, taken);
    await check.run(entries);
  }
  return taken;
}

/** How many replicas of each replicated table the hosts of the spec have, detached ones of the file included. */
function membersByKey(spec: MigrationSpec, hosts: readonly InspectedHost[]): ReadonlyMap<string, number> {
  const keys = hosts.flatMap((host) => {
    const listed = new Set(host.replicas.map(({ replica }) => tableId(replica)));
    const absent = (spec.takeOver?.entries ?? []).filter((entry) => entry.host === host.spec.name && !listed.has(tableId(entry)));
    return [
      ...host.replicas.flatMap(({ replica }) => keyOf(spec, host, replica) ?? []),
      ...absent.map((entry) => keyOfEntry(spec, host.spec, entry)),
    ];
  });
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

/** How many replicas of a path the status file names that no host lists, since they are detached. */
export function detachedOfFile(spec: MigrationSpec, { ensemble, path }: InspectedTable, all: Occupants): number {
  if (spec.takeOver === undefined) return 0;
  const key = tableOrderKey(ensemble.connect, ensemble.root, path);
  const listed = new Set([...all.values()].flat().map((one) => JSON.stringify([one.host, tableId(one.listed.replica)])));
  return spec.takeOver.entries.filter((entry) => {
    const host = spec.hosts.find(({ name }) => name === entry.host);
    return host !== undefined && keyOfEntry(spec, host, entry) === key && !listed.has(JSON.stringify([entry.host, tableId(entry)]));
  }).length;
}

/** Undefined for a path in an ensemble that the spec does not name, which is refused elsewhere. */
function keyOf(spec: MigrationSpec, host: InspectedHost, replica: InventoryReplica): string | undefined {
  try {
    return orderKeyOf(spec, host.spec, replica);
  } catch (error) {
    if (error instanceof MigrationError) return undefined;
    throw error;
  }
}

class HostCheck {
  private detached: ReadonlySet<string> | undefined;
  private engines: ReadonlyMap<string, string> = new Map();
  private databases: ReadonlySet<string> = new Set();
  private readonly selects: ReturnType<typeof selectionOf>;
  private readonly listed: ReadonlyMap<string, ListedReplica>;

  constructor(
    private readonly connections: Connections,
    private readonly spec: MigrationSpec,
    private readonly host: InspectedHost,
    private readonly look: TakeOverHost,
    private readonly members: ReadonlyMap<string, number>,
    private readonly found: Findings,
    private readonly taken: TakenOver,
  ) {
    this.selects = selectionOf(spec);
    this.listed = new Map(host.replicas.map((listed) => [tableId(listed.replica), listed]));
  }

  async run(entries: readonly TakeOverEntry[]): Promise<void> {
    const { server } = this.look;
    const detached = await detachedTables(server);
    this.detached = detached === undefined ? undefined : new Set(detached.map(tableId));
    const databases = await server.select<{ name: string }>('SELECT name FROM system.databases', { doing: 'listing databases' });
    this.databases = new Set(databases.map(({ name }) => name));
    const tables = await server.select<{ database: string; table: string; engine: string }>(
      'SELECT database, name AS table, engine FROM system.tables WHERE database IN ({databases:Array(String)})',
      { params: { databases: [...new Set(entries.map(({ database }) => database))] }, doing: 'listing tables' },
    );
    this.engines = new Map(tables.map((row) => [tableId(row), row.engine]));
    for (let at = 0; at < entries.length; at += LOOKED_AT_ONCE) {
      await Promise.all(entries.slice(at, at + LOOKED_AT_ONCE).map((entry) => this.check(entry)));
    }
  }

  private async check(entry: TakeOverEntry): Promise<void> {
    const listed = this.listed.get(tableId(entry));
    if (listed !== undefined) return this.checkAttached(entry, listed);
    const unknown = this.unknownWords(entry);
    if (unknown !== undefined) {
      this.found.refuse('TAKE_OVER_UNKNOWN', entry, unknown, 'take it out of the status file, once you know what became of it');
      return;
    }
    return this.checkAbsent(entry);
  }

  private unknownWords(entry: TakeOverEntry): string | undefined {
    if (!this.databases.has(entry.database)) return `the status file names it, and ${entry.host} has no database ${entry.database}`;
    const engine = this.engines.get(tableId(entry));
    if (engine !== undefined) return `the status file names it, and on ${entry.host} it is a ${engine} table, which is not replicated`;
    return this.detached === undefined || this.detached.has(tableId(entry))
      ? undefined
      : `the status file names it, and on ${entry.host} it is neither attached nor detached`;
  }

  private async checkAttached(entry: TakeOverEntry, listed: ListedReplica): Promise<void> {
    const { replica } = listed;
    if (!listed.selected) return this.notSelected(entry);
    const key = keyOf(this.spec, this.host, replica);
    if (key === undefined) return;
    const seen = await seeReplica(this.connections, this.spec, this.look, replica, (this.members.get(key) ?? 1) === 1);
    const verdict = judge(entry.status, seen);
    this.taken.attached.set(listed, { said: entry.status, found: verdict.found, attached: true, place: seen.place });
    this.differences(entry, replica, verdict, seen);
    this.suspicions(entry, verdict, seen);
    if (seen.place === 'after' && (seen.zeroCopy?.strays.length ?? 0) > 0) {
      this.found.refuse('TAKE_OVER_ZERO_COPY', entry, `a RESTORE at the new place met zero-copy locks that were there before, and left ${seen.zeroCopy?.strays.length ?? 0} parts in detached/`, 'start it in place there, without the status file: zero-copy tables in that state are found and brought back (ZERO_COPY_BROKEN)');
    } else if (!seen.alone && seen.place === 'after') {
      this.found.refuse('TAKE_OVER_REPLICATED', entry, 'it is restored at the new place, and other hosts of the spec have replicas of its path', 'end it by hand: SYSTEM RESTORE REPLICA on the others, once they are on the new root');
    } else if (verdict.found === 'RESTORED') {
      this.found.warn('TAKE_OVER_UNVOUCHED', entry, 'it was restored before the take-over: that it is whole is proved by what ZooKeeper has of it now, and no manifest from before can vouch for its rows', 'compare its rows with what you know of them');
    }
  }

  private differences(entry: TakeOverEntry, replica: InventoryReplica, { found }: Verdict, seen: SeenReplica): void {
    const path = replica.zookeeperName === 'default' ? replica.zookeeperPath : `${replica.zookeeperName}:${replica.zookeeperPath}`;
    const words = [
      differenceWords(entry.status, found, seen),
      entry.zookeeperPath === path ? undefined : `the file has the path ${entry.zookeeperPath}, the server ${path}`,
      entry.rows === undefined || entry.rows === replica.rows ? undefined : `the file has ${entry.rows} rows, the server ${replica.rows}`,
    ];
    for (const one of words) if (one !== undefined) this.differs(entry, one);
  }

  private differs(entry: TakeOverEntry, words: string): void {
    this.found.warn('TAKE_OVER_DIFFERS', entry, words, 'the world wins; look whether the status file is the right one');
  }

  private suspicions(entry: TakeOverEntry, { suspicious }: Verdict, { left, place }: SeenReplica): void {
    const word = wordOnDetached(this.spec.takeOver, entry);
    if (!suspicious || word === 'leave') return;
    const name = `${entry.database}.${entry.table}`;
    if (left.stuck.length > 0) {
      this.found.refuse('HALF_RESTORED', entry, `its detached/ holds ${namesOf(left.stuck.map((part) => part.name))}, which were put aside by a server, or left by an ATTACH that was cut short: its rows may be missing`, `on the host: ${left.stuck.map(renaming).join(' && ')} ; then start with --attach-detached ${JSON.stringify(name)}. Or, once you know that none of its rows is missing: --leave-detached ${JSON.stringify(name)}`);
    } else if (word === undefined) {
      this.found.refuse('HALF_RESTORED', entry, `its detached/ holds ${namesOf(left.plain)}: a RESTORE that died leaves parts so, and then its rows are missing`, `look what they are; then start with --attach-detached ${JSON.stringify(name)} to have all of them attached, or --leave-detached ${JSON.stringify(name)} where none of its rows is missing`);
    } else if (place === 'none') {
      this.found.refuse('HALF_RESTORED', entry, `its detached/ holds ${namesOf(left.plain)}, and nothing can be attached to it while its nodes are gone`, `on the host: SYSTEM RESTORE REPLICA ${name}; then start again with --attach-detached ${JSON.stringify(name)}`);
    }
  }

  private notSelected(entry: TakeOverEntry): void {
    this.found.refuse('TAKE_OVER_NOT_SELECTED', entry, 'the status file names it, and the spec does not select it', 'widen tables, or take it out of the status file');
  }

  private async checkAbsent(entry: TakeOverEntry): Promise<void> {
    const { name = 'default', path } = splitPath(entry.zookeeperPath);
    const { host, database, table } = entry;
    if (!this.selects({ host, database, table, zookeeperPath: path, zookeeperName: name, disks: [] })) return this.notSelected(entry);
    if (name !== 'default' && this.spec.auxiliary[name] === undefined) {
      this.found.refuse('AUXILIARY_UNKNOWN', entry, `the status file has its path in the auxiliary ensemble "${name}", which the spec does not name`, `name it under zookeeper.auxiliary.${name}`);
      return;
    }
    const state = await absentState(this.connections, this.spec, this.host.spec, entry, this.found);
    if (state === undefined) return;
    const found = state.nodes > 0 ? 'DETACHED' : 'ZK_CLEANED';
    if (entry.status !== found && entry.status !== 'SKIPPED') {
      this.differs(entry, `the file says ${entry.status}, and it is not attached, and its nodes are ${state.nodes > 0 ? 'there' : 'gone'}: it goes on as ${found}`);
    }
    const planned = { db: database, table, zk_path: entry.zookeeperPath, replica: '', rows: entry.rows ?? 0, bytes: 0, parts: entry.parts ?? 0, znodes: state.nodes };
    const takenOver: PlannedTakeOver = { said: entry.status, found, attached: false };
    this.taken.absent.set(host, [...(this.taken.absent.get(host) ?? []), { ...planned, takenOver }]);
  }
}

/** The command that gives a part its own name back, under which SQL can attach it. */
function renaming({ name, path }: LeftParts['stuck'][number]): string {
  const own = name.replace(/^(?:attaching|ignored)_/u, '').replace(/_try\d+$/u, '');
  return `mv '${path}' '${path.slice(0, path.lastIndexOf('/'))}/${own}'`;
}

function namesOf(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).join(', ');
  return `${names.length} part(s): ${shown}${names.length > NAMES_SHOWN ? ', …' : ''}`;
}

/** How many nodes a table has that is not attached; undefined, and a refusal, where it must not be attached as it is. */
export async function absentState(
  connections: Connections,
  spec: MigrationSpec,
  host: MigrationSpec['hosts'][number],
  entry: TakeOverEntry,
  found: Findings,
): Promise<{ readonly nodes: number } | undefined> {
  const { name = 'default', path } = splitPath(entry.zookeeperPath);
  const ensemble = ensembleOf(hostTarget(host, 'before'), spec, name);
  const zookeeper = await connections.zookeeper(ensemble, spec.digestEnv);
  const state = await pathState(zookeeper, path);
  if (state.nodes === 'half') {
    found.refuse('HALF_CLEANED', entry, `${replicaLabel(entry)} is not attached, and the deletion of its nodes was cut short at ${ensemble.root}${path} (${state.why}): attached so, the server would put parts of it aside without a word`, `delete what is left of ${ensemble.root}${path}, once you know that it is this table's and no other replica lives on it; then start again`);
    return undefined;
  }
  return { nodes: state.nodes === 'gone' ? 0 : await zookeeper.countTree(path) };
}

/** The entry of the file that names a replica. */
export function entryOf(spec: MigrationSpec, replica: { readonly host: string; readonly database: string; readonly table: string }): TakeOverEntry | undefined {
  return entriesById(spec.takeOver).get(JSON.stringify([replica.host, replica.database, replica.table]));
}
