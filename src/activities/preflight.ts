import { serverWords } from '../clickhouse/errors';
import { plannedStatements } from '../clickhouse/planned-statements';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { areRemains, refuseShape } from '../domain/guards';
import { type Hold, isAllowedToMiss, lostHosts } from '../domain/hold';
import { type InventoryReplica, type MovedReplica, replicaLabel, tableOrderKey } from '../domain/inventory';
import { estimate, type Plan, type PlannedHost, type PlannedRemoteDisk, type PlannedTable, type PlannedZeroCopy } from '../domain/plan';
import type { EnsembleSpec, HostSpec, MigrationSpec } from '../domain/spec';
import { knowsRestoreReplica } from '../domain/versions';
import { type Finding, MAX_FINDINGS_SHOWN } from '../domain/summary';
import { type Connections, currentContext, ensembleOf, report } from './deps';
import { checkBroken } from './broken-metadata';
import { remembersInserts, warnOfRepeats } from './deduplication';
import { checkDetachedReplicas } from './detached-replicas';
import { grantStatement, missingGrants, neededGrants, TO_LOOK, zeroCopyAmong } from './grants';
import { checkHost } from './host-checks';
import { settle } from './in-flight';
import { heldByOthers, readHold } from './hold';
import { hostTarget, moves } from '../workflows/targets';
import { checkTakeOver, detachedOfFile, TakenOver } from './take-over';
import { listReplicas, type ListedReplica } from './inspect';
import { worksHere } from './lost-metadata';
import { checkMove } from './move-checks';
import { checkConflicts, leftOut, type Occupants, occupants } from './path-conflicts';
import { checkPaths } from './path-checks';
import { refuseTree } from './path-guard';
import { checkDifferences } from './replica-differences';
import { onRemoteDisks } from './remote-disks';
import { checkZeroCopy } from './zero-copy-checks';
import { checkUnnamed } from './zero-copy-unnamed';
import { checkForceRestore, checkRecord, checkSameZooKeeper, checkUnlisted, otherZooKeeperFix, serverUuid } from './zookeeper-checks';
import type { PreflightInput, PreflightOutcome } from './types';

const TABLES_AT_A_TIME = 32;
/** A plan is for somebody who sits before it: it waits no longer than this for what is in flight, whatever `preflight.wait` says. */
const PLAN_WAITS_MS = 5_000;

/** What a preflight knows of one host. */
export interface InspectedHost {
  readonly spec: HostSpec;
  readonly server: ClickHouseHost;
  readonly version: string;
  /** The server's id, where it has one. */
  readonly uuid: string | undefined;
  readonly replicas: readonly ListedReplica[];
  /** What its own tables say of the migration. */
  readonly hold: Hold;
  /** Its inventory is sealed there, and not let go of. */
  readonly known: boolean;
  /** Replicas whose nodes are not in ZooKeeper any more, by another's hand: filled in while the tables are looked at. */
  readonly lost: Set<ListedReplica>;
}

/** A replicated table over all hosts of the spec. */
export interface InspectedTable {
  readonly ensemble: EnsembleSpec;
  readonly path: string;
  readonly members: readonly { readonly host: InspectedHost; readonly listed: ListedReplica }[];
}

export class Findings {
  readonly refusals: Finding[] = [];
  readonly warnings: Finding[] = [];

  refuse(code: string, where: { host: string; database?: string; table?: string }, message: string, fix: string): void {
    this.refusals.push(finding(code, where, message, fix));
  }

  warn(code: string, where: { host: string; database?: string; table?: string }, message: string, fix: string): void {
    this.warnings.push(finding(code, where, message, fix));
  }
}

function finding(
  code: string,
  where: { host: string; database?: string; table?: string },
  message: string,
  fix: string,
): Finding {
  return {
    code,
    host: where.host,
    ...(where.database === undefined ? {} : { db: where.database }),
    ...(where.table === undefined ? {} : { table: where.table }),
    message,
    fix,
  };
}

/** Looks at everything, changes nothing: only SELECT, CHECK GRANT and ZooKeeper reads. All that stands against the migration, at once. */
export async function inspect(
  connections: Connections,
  spec: MigrationSpec,
  waitMs: number = Math.min(spec.preflight.waitMs, PLAN_WAITS_MS),
  withoutHosts: readonly string[] = [],
): Promise<Plan> {
  const deadline = Date.now() + waitMs;
  const found = new Findings();
  const hosts = (await Promise.all(spec.hosts.map((host) => inspectHost(connections, spec, host, found)))).filter(
    (host) => host !== undefined,
  );
  const known = hosts.some((host) => host.known);
  const zookeeperAnswers = await checkEnsembles(connections, spec, hosts, found);
  const taken = zookeeperAnswers ? await checkTakeOver(connections, spec, hosts, found) : new TakenOver();
  if (known) {
    found.warn('ALREADY_BEGUN', { host: '' }, begunWords(spec, hosts), 'a start goes on with it, from what is proved; for a new migration take another id');
    checkLostHosts(spec, hosts, withoutHosts, found);
  } else if (hosts.length === spec.hosts.length && taken.absent.size === 0 && hosts.every(({ replicas }) => !replicas.some(({ selected }) => selected))) {
    found.refuse('NO_TABLES', { host: '' }, 'no table is selected', 'widen tables.include, or look at tables.exclude, disk and zkPath');
  }
  const counted = new Map<ListedReplica, number | null>();
  if (!known) await Promise.all(hosts.map((host) => settle(host, deadline, found)));
  let places: ReadonlyMap<ListedReplica, MovedReplica> = new Map();
  if (zookeeperAnswers && !known) {
    // What is restored at its new place is counted there; its old place says nothing of it.
    const tables = groupTables(hosts, spec, found).filter(({ members }) => !members.some(({ listed }) => taken.isThere(listed)));
    await checkTables(connections, spec, hosts, tables, found, counted, deadline);
    places = await checkPaths(connections, spec, hosts, tables, found);
    await checkDetachedReplicas(connections, spec, hosts, found);
  }
  for (const host of hosts) {
    report({ doing: `looking at ${host.spec.name}` });
    await checkHost(spec, host, found);
    if (!host.known) await checkHeld(spec, host, found);
  }
  const zeroCopy = zookeeperAnswers && !known ? await checkZeroCopy(connections, spec, hosts, found) : new Map<ListedReplica, PlannedZeroCopy>();
  const unnamed = zeroCopy.size === 0 ? undefined : await checkUnnamed(connections, spec, hosts, found);
  const remote = await onRemoteDisks(hosts);
  const planned = spec.hosts.map((host) => planHost(spec, host, hosts.find(({ spec: { name } }) => name === host.name), { counted, taken, places, remote, zeroCopy }));
  return {
    id: spec.id,
    hosts: planned,
    refusals: inOrder(spec, found.refusals),
    warnings: inOrder(spec, found.warnings),
    estimate: estimate(
      planned.map((host, index) => ({ tables: host.tables, restarts: spec.hosts[index] !== undefined && moves(spec.hosts[index]) })),
      spec.wave,
    ),
    known,
    ...(unnamed === undefined ? {} : { unnamed_blobs: unnamed }),
  };
}

/** The checks of the tables are for a world that nobody has touched: of a migration that has begun they would only tell its own traces. */
function begunWords(spec: MigrationSpec, hosts: readonly InspectedHost[]): string {
  const names = hosts.filter(({ known }) => known).map((host) => host.spec.name);
  return `${names.join(', ')} ${names.length === 1 ? 'knows' : 'know'} the migration "${spec.id}" already: its tables were checked when it began and are not checked again, and those that are detached now are not listed here`;
}

/** A host that the migration was begun with keeps what was detached on it: the run that goes on without it would leave that behind, unseen. */
function checkLostHosts(spec: MigrationSpec, hosts: readonly InspectedHost[], withoutHosts: readonly string[], found: Findings): void {
  const present = spec.hosts.map(({ name }) => ({ name, hold: hosts.find((host) => host.spec.name === name)?.hold }));
  for (const lost of lostHosts(present)) {
    const { name, replicas, knownBy } = lost;
    if (withoutHosts.includes(name)) continue;
    const words = `${knownBy} knows that the migration "${spec.id}" was begun with the host ${name}, which the spec lacks: its tables may be detached`;
    if (isAllowedToMiss(lost, spec.allowMissingReplicas)) {
      found.warn('HOST_MISSING', { host: name }, `${words}, and what only they have is lost with them`, 'allowed by --allow-missing-replica, which names all of its replicas');
      continue;
    }
    const named = replicas.length === 0 ? '' : `, or pass ${replicas.map((replica) => `--allow-missing-replica ${replica}`).join(' ')}`;
    found.refuse('HOST_MISSING', { host: name }, words, `add it to clickhouse.hosts; where it is gone for good, start with the spec that it was begun with and ch-zk-migrate abort ${spec.id} --without-host ${name}${named}`);
  }
}

/** Host by host as the spec has them, then by table: two looks at the same world read the same. */
function inOrder(spec: MigrationSpec, findings: readonly Finding[]): Finding[] {
  const place = ({ host }: Finding): number => spec.hosts.findIndex(({ name }) => name === host);
  const rest = ({ db, table, code, message }: Finding): string => JSON.stringify([db ?? '', table ?? '', code, message]);
  return [...findings].sort((a, b) => place(a) - place(b) || (rest(a) < rest(b) ? -1 : 1));
}

/** The preflight of a run: the same as the plan, in numbers. */
export async function preflight(connections: Connections, { spec, page, goesOn, withoutHosts }: PreflightInput): Promise<PreflightOutcome> {
  const plan = await (page === undefined ? inspect(connections, spec, spec.preflight.waitMs, withoutHosts) : inspectForPage(connections, spec, page));
  const silent = plan.refusals.find(({ code }) => code === 'HOST_UNREACHABLE');
  if (goesOn === true && !plan.known && silent !== undefined) throw new MigrationError('HOST_UNREACHABLE', silent.message);
  const tables = plan.hosts.flatMap((host) => host.tables);
  const sum = (of: (table: PlannedTable) => number): number => tables.reduce((total, table) => total + of(table), 0);
  return {
    replicas: tables.length,
    tables: new Set(plan.hosts.flatMap((host) => host.tables.map((table) => JSON.stringify([host.from, table.zk_path])))).size,
    rows: sum(({ rows }) => rows),
    bytes: sum(({ bytes }) => bytes),
    parts: sum(({ parts }) => parts),
    refusals: plan.refusals.slice(0, MAX_FINDINGS_SHOWN),
    refusalsTotal: plan.refusals.length,
    warnings: plan.warnings.slice(0, MAX_FINDINGS_SHOWN),
    warningsTotal: plan.warnings.length,
    perHost: Object.fromEntries(plan.hosts.map((host) => [host.name, host.tables.length])),
    known: plan.known,
    ...(plan.unnamed_blobs === undefined ? {} : { unnamedBlobs: plan.unnamed_blobs }),
    ...(page === undefined ? {} : { plan: pieceOf(plan, page) }),
  };
}

type Page = NonNullable<PreflightInput['page']>;

/** A dry run is a plan, in pages: the first one looks, and the others are of what it found, as long as that is still here. */
async function inspectForPage(connections: Connections, spec: MigrationSpec, { offset, limit }: Page): Promise<Plan> {
  const run = currentContext()?.info.workflowExecution?.runId;
  const found = run === undefined || offset === 0 ? undefined : connections.plans.get(run);
  const plan = found ?? withoutStatements(await inspect(connections, spec));
  if (run !== undefined) {
    if (isLastPage(plan, offset + limit)) connections.plans.drop(run);
    else connections.plans.put(run, plan);
  }
  return plan;
}

/** They follow from the rest, and are the largest part of it. */
function withoutStatements(plan: Plan): Plan {
  return { ...plan, hosts: plan.hosts.map((host) => ({ ...host, tables: host.tables.map((table) => ({ ...table, statements: [] })) })) };
}

function isLastPage({ hosts }: Plan, end: number): boolean {
  return end >= hosts.reduce((sum, { tables }) => sum + tables.length, 0);
}

/** So many tables of a plan, host after host. */
function pieceOf(plan: Plan, { offset, limit }: Page): NonNullable<PreflightOutcome['plan']> {
  let from = offset;
  let room = limit;
  const hosts = plan.hosts.map((host) => {
    const tables = host.tables.slice(from, from + room);
    from = Math.max(0, from - host.tables.length);
    room -= tables.length;
    return { ...host, tables };
  });
  return { hosts, estimate: plan.estimate, ...(isLastPage(plan, offset + limit) ? {} : { next: offset + limit }) };
}

async function inspectHost(
  connections: Connections,
  spec: MigrationSpec,
  host: HostSpec,
  found: Findings,
): Promise<InspectedHost | undefined> {
  const where = { host: host.name };
  try {
    const server = connections.host(hostTarget(host, 'before'));
    const rows = await server.select<{ version: string }>('SELECT version() AS version', {
      doing: 'asking for its version',
      timeoutMs: 10_000,
    });
    const version = rows[0]?.version ?? '';
    if (!knowsRestoreReplica(version)) {
      found.refuse('TOO_OLD', where, `${host.name} runs ClickHouse ${version}, and SYSTEM RESTORE REPLICA came with 21.7`, 'upgrade the server first');
      return undefined;
    }
    // Without these nothing can be said about anything else.
    if (!(await checkGrants(server, host, TO_LOOK, found))) return undefined;
    const hold = await readHold(server, spec.id);
    const replicas = await listReplicas(server, spec);
    await checkGrants(server, host, neededGrants(host, replicas, await zeroCopyAmong(server, replicas), spec.verify.blobs), found);
    return { spec: host, server, version, uuid: await serverUuid(server), hold, known: hold.sealed, replicas, lost: new Set() };
  } catch (error) {
    refuseHost(error, host, found);
    return undefined;
  }
}

/** Refuses for each right that is missing. True when the user has all. */
async function checkGrants(server: ClickHouseHost, host: HostSpec, needed: readonly string[], found: Findings): Promise<boolean> {
  const { user, grants, checked } = await missingGrants(server, needed);
  for (const grant of grants) {
    found.refuse('MISSING_GRANT', { host: host.name }, `the user ${user} lacks ${grant}`, grantStatement(grant, user));
  }
  if (!checked && needed !== TO_LOOK) found.warn('GRANTS_UNKNOWN', { host: host.name }, 'this server does not know CHECK GRANT (it came with 24.10): rights were not looked at', 'see docs/operations.md for the rights that a run needs');
  return grants.length === 0;
}

function refuseHost(error: unknown, host: HostSpec, found: Findings): void {
  if (!(error instanceof MigrationError)) throw error;
  const fixes: Readonly<Record<string, string>> = {
    HOST_UNREACHABLE: `see that ClickHouse answers over HTTP at ${host.url}`,
    AUTHENTICATION_FAILED: `look at clickhouse.user and the variable ${host.passwordEnv ?? '(clickhouse.passwordEnv names none)'}`,
    MISSING_VARIABLE: `set the variable ${host.passwordEnv ?? ''} where the worker runs`,
    ACCESS_DENIED: 'grant the user what the message names',
    SETTING_FIXED: 'give the user a profile of its own that lets the setting be changed (no readonly = 1, no constraint on it)',
  };
  found.refuse(error.type, { host: host.name }, error.message, fixes[error.type] ?? 'see what the server said');
}

interface AskedEnsemble {
  readonly host: string;
  /** It is made on the way where it does not exist yet; false where the servers work with it. */
  readonly toCome: boolean;
  readonly ensemble: EnsembleSpec;
  /** Where the spec names its root. */
  readonly key: string;
}

/** The ensembles of today and tomorrow, and of the auxiliary ones those with a table of the inventory. */
function askedEnsembles(spec: MigrationSpec, hosts: readonly InspectedHost[]): AskedEnsemble[] {
  return [
    ...spec.hosts.flatMap((host): AskedEnsemble[] => [
      { host: host.name, toCome: false, ensemble: host.zookeeper, key: 'zookeeper.root' },
      ...(moves(host) ? [{ host: host.name, toCome: true, ensemble: host.after, key: 'zookeeper.after.root' }] : []),
    ]),
    ...hosts.flatMap((host) =>
      host.replicas.flatMap(({ replica, selected }): AskedEnsemble[] => {
        const ensemble = spec.auxiliary[replica.zookeeperName];
        return selected && ensemble !== undefined ? [{ host: host.spec.name, toCome: false, ensemble, key: `zookeeper.auxiliary.${replica.zookeeperName}.root` }] : [];
      }),
    ),
  ];
}

/** Every ensemble that is needed answers, today's roots exist; roots to come are named when they do not exist yet. */
async function checkEnsembles(connections: Connections, spec: MigrationSpec, hosts: readonly InspectedHost[], found: Findings): Promise<boolean> {
  let answers = true;
  const seen = new Set<string>();
  const silent = new Set<string>();
  for (const { host, toCome, ensemble, key } of askedEnsembles(spec, hosts)) {
    const asked = JSON.stringify([toCome, ensemble]);
    if (seen.has(asked) || silent.has(ensemble.connect)) continue;
    seen.add(asked);
    try {
      const top = await connections.zookeeper({ connect: ensemble.connect, root: '' }, spec.digestEnv);
      if (ensemble.root === '' || (await top.exists(ensemble.root)) !== undefined) continue;
      if (!toCome) {
        answers = false;
        found.refuse('ROOT_MISSING', { host }, `the ZooKeeper root of today, ${ensemble.root}, does not exist on ${ensemble.connect}`, `write the <root> of the servers' configuration into ${key}`);
      } else {
        found.warn('ROOT_TO_COME', { host }, `the root ${ensemble.root} does not exist yet on ${ensemble.connect}`, 'it is created before the first restart');
      }
    } catch (error) {
      answers = false;
      silent.add(ensemble.connect);
      if (error instanceof MigrationError && error.type === 'MISSING_VARIABLE') {
        found.refuse(error.type, { host }, error.message, 'set it where the worker runs, and start the worker again');
        continue;
      }
      const words = error instanceof MigrationError ? error.message : serverWords(error);
      found.refuse('ZOOKEEPER_UNAVAILABLE', { host }, words, `see that ${ensemble.connect} can be reached from here`);
    }
  }
  return answers;
}

async function checkHeld(spec: MigrationSpec, host: InspectedHost, found: Findings): Promise<void> {
  const named = (spec.takeOver?.entries ?? []).filter((entry) => entry.host === host.spec.name);
  const taken = [...host.replicas.filter((one) => one.selected).map(({ replica }) => replica), ...named];
  const selected = new Set(taken.map(({ database, table }) => JSON.stringify([database, table])));
  for (const held of await heldByOthers(host.server, spec.id)) {
    if (!selected.has(JSON.stringify([held.database, held.table]))) continue;
    found.refuse('HELD', { host: host.spec.name, ...held }, `it is held by the migration "${held.migration}"`, `finish or abort that one first: ch-zk-migrate status ${held.migration}`);
  }
}

function groupTables(hosts: readonly InspectedHost[], spec: MigrationSpec, found: Findings): InspectedTable[] {
  const groups = new Map<string, { ensemble: EnsembleSpec; path: string; members: { host: InspectedHost; listed: ListedReplica }[] }>();
  for (const host of hosts) {
    for (const listed of host.replicas) {
      if (!listed.selected) continue;
      const { replica } = listed;
      try {
        const ensemble = ensembleOf(hostTarget(host.spec, 'before'), spec, replica.zookeeperName);
        const key = tableOrderKey(ensemble.connect, ensemble.root, replica.zookeeperPath);
        const group = groups.get(key) ?? { ensemble, path: replica.zookeeperPath, members: [] };
        group.members.push({ host, listed });
        groups.set(key, group);
      } catch (error) {
        if (!(error instanceof MigrationError)) throw error;
        found.refuse('AUXILIARY_UNKNOWN', replica, error.message, `name it under zookeeper.auxiliary.${replica.zookeeperName}`);
      }
    }
  }
  return [...groups.values()];
}

async function checkTables(
  connections: Connections,
  spec: MigrationSpec,
  hosts: readonly InspectedHost[],
  tables: readonly InspectedTable[],
  found: Findings,
  counted: Map<ListedReplica, number | null>,
  deadline: number,
): Promise<void> {
  const all = occupants(spec, hosts);
  await checkDifferences(hosts, tables, deadline, found);
  let done = 0;
  const remembering: InventoryReplica[] = [];
  const queue = [...tables];
  const worker = async (): Promise<void> => {
    for (let table = queue.shift(); table !== undefined; table = queue.shift()) {
      await checkTable(connections, spec, { table, all, deadline, remembering }, found, counted);
      done += 1;
      if (done % 100 === 0) report({ doing: 'looking at the tables in ZooKeeper', done, total: tables.length });
    }
  };
  await Promise.all(Array.from({ length: TABLES_AT_A_TIME }, worker));
  warnOfRepeats(remembering.sort((a, b) => (replicaLabel(a) < replicaLabel(b) ? -1 : 1)), found);
  checkConflicts(spec, hosts, found);
}

async function checkTable(
  connections: Connections,
  spec: MigrationSpec,
  { table, all, deadline, remembering }: { readonly table: InspectedTable; readonly all: Occupants; readonly deadline: number; readonly remembering: InventoryReplica[] },
  found: Findings,
  counted: Map<ListedReplica, number | null>,
): Promise<void> {
  const zookeeper = await connections.zookeeper(table.ensemble, spec.digestEnv);
  const [first] = table.members;
  if (first === undefined) return;
  const where = first.listed.replica;
  checkMove(spec, table, found);
  const children = await zookeeper.children(table.path);
  if (children === undefined) {
    for (const { listed } of table.members) counted.set(listed, 0);
    await missingMetadata(connections, spec, table, found);
    await checkTarget(connections, spec, table, found);
    return;
  }
  const refusal = await refuseTree(zookeeper, table.path, children, areRemains(children));
  if (refusal !== undefined) found.refuse('UNSAFE_PATH', where, `its path ${table.path} may not be deleted: ${refusal}`, 'look at it by hand, or leave it out with tables.exclude');
  const nodes = await zookeeper.countTree(table.path);
  for (const { listed } of table.members) counted.set(listed, nodes);
  if (await remembersInserts(zookeeper, table.path)) remembering.push(where);
  const gone = refuseShape(children, false);
  if (gone !== undefined && refusal === undefined) {
    found.warn('METADATA_LOST', where, `part of its path ${table.path} is not in ZooKeeper any more: ${gone}`, 'the rest is deleted, and its metadata is made anew');
  }
  if (await checkClosure(connections, zookeeper, spec, table, all, found)) {
    await checkSameZooKeeper(zookeeper, table, found);
    await checkBroken(zookeeper, table, found);
    await checkRecord(zookeeper, table, deadline, found);
    await checkUnlisted(zookeeper, table, found);
  }
  await checkForceRestore(zookeeper, table, found);
  await checkTarget(connections, spec, table, found);
}

async function missingMetadata(connections: Connections, spec: MigrationSpec, table: InspectedTable, found: Findings): Promise<void> {
  for (const { host, listed } of table.members) {
    if (listed.readonly || (await worksHere(connections, spec, host, listed))) {
      host.lost.add(listed);
      found.warn('METADATA_LOST', listed.replica, `its path ${table.path} is not in ZooKeeper${listed.readonly ? ', and it is readonly' : ', though its server works with others there'}`, 'its metadata is made anew');
    } else {
      found.refuse('OTHER_ZOOKEEPER', listed.replica, `its path ${table.path} is not below ${table.ensemble.root || '/'} on ${table.ensemble.connect}, yet the server works with it`, otherZooKeeperFix(listed.replica));
    }
  }
}

/** Every replica that ZooKeeper lists below the path is in the inventory (invariant 2), and the other way round. True when it is so, or as it was allowed. */
async function checkClosure(
  connections: Connections,
  zookeeper: { children(path: string): Promise<string[] | undefined>; exists(path: string): Promise<unknown> },
  spec: MigrationSpec,
  table: InspectedTable,
  all: Occupants,
  found: Findings,
): Promise<boolean> {
  let closed = true;
  const registered = (await zookeeper.children(`${table.path}/replicas`)) ?? [];
  const names = table.members.map(({ listed }) => listed.replica.replicaName);
  const where = table.members[0]?.listed.replica ?? { host: '' };
  let awaited = detachedOfFile(spec, table, all);
  for (const name of registered) {
    if (names.includes(name)) continue;
    const other = leftOut(all, table.ensemble, table.path, name);
    if (other !== undefined) {
      closed = false;
      const { database, table: otherTable } = other.listed.replica;
      found.refuse('REPLICA_NOT_SELECTED', where, `the replica "${name}" of ${table.path} is ${database}.${otherTable} on ${other.host}, which the selection leaves out`, 'take both in, or leave both out: a path is migrated as a whole');
      continue;
    }
    const active = (await zookeeper.exists(`${table.path}/replicas/${name}/is_active`)) !== undefined;
    if (!active && spec.allowMissingReplicas.includes(name)) {
      const only = await partsOnlyOf(zookeeper, table.path, name, names);
      found.warn(
        'REPLICA_MISSING',
        where,
        `the replica "${name}" of ${table.path} is on no host of the spec${only === 0 ? '' : `; by ZooKeeper's record ${only} of its parts are on no other replica: what is in them is lost with it`}`,
        'allowed by --allow-missing-replica',
      );
      continue;
    }
    if (!active && awaited > 0) {
      // It is attached to be read before anything else, and looked at again then.
      awaited -= 1;
      continue;
    }
    closed = false;
    found.refuse(
      active ? 'REPLICA_ACTIVE_ELSEWHERE' : 'REPLICA_MISSING',
      where,
      `${table.path} has a replica "${name}" that is on no host of the spec${active ? ', and it is active' : ''}`,
      active ? 'add its host to clickhouse.hosts' : `add its host to clickhouse.hosts, ATTACH it where it is detached, or pass --allow-missing-replica ${name} when it is gone for good`,
    );
  }
  for (const { listed, host } of table.members) {
    if (registered.includes(listed.replica.replicaName)) continue;
    if (listed.readonly || (await worksHere(connections, spec, host, listed))) {
      host.lost.add(listed);
      found.warn('METADATA_LOST', listed.replica, `its replica "${listed.replica.replicaName}" is not in ZooKeeper at ${table.path} any more`, 'its metadata is made anew');
      continue;
    }
    closed = false;
    found.refuse('OTHER_ZOOKEEPER', listed.replica, `${host.spec.name} works with its replica "${listed.replica.replicaName}", which ZooKeeper does not have at ${table.ensemble.root}${table.path}`, otherZooKeeperFix(listed.replica));
  }
  return closed;
}

/** How many parts, by ZooKeeper's record, only this replica has. */
async function partsOnlyOf(
  zookeeper: { children(path: string): Promise<string[] | undefined> },
  path: string,
  name: string,
  others: readonly string[],
): Promise<number> {
  const parts = async (replica: string): Promise<string[]> => (await zookeeper.children(`${path}/replicas/${replica}/parts`)) ?? [];
  const elsewhere = new Set((await Promise.all(others.map(parts))).flat());
  return (await parts(name)).filter((part) => !elsewhere.has(part)).length;
}

/** Where the metadata will be made anew, nothing may be. */
async function checkTarget(connections: Connections, spec: MigrationSpec, table: InspectedTable, found: Findings): Promise<void> {
  for (const { host, listed } of table.members) {
    if (!moves(host.spec) || listed.replica.zookeeperName !== 'default') continue;
    const target = await connections.zookeeper(host.spec.after, spec.digestEnv);
    if ((await target.exists(table.path)) === undefined) continue;
    found.refuse('TARGET_EXISTS', listed.replica, `${host.spec.after.root}${table.path} exists already on ${host.spec.after.connect}`, 'choose another root, or remove what is there once you know what it is');
  }
}

function planHost(
  spec: MigrationSpec,
  host: HostSpec,
  inspected: InspectedHost | undefined,
  { counted, taken, places, remote, zeroCopy }: {
    readonly counted: ReadonlyMap<ListedReplica, number | null>;
    readonly taken: TakenOver;
    readonly places: ReadonlyMap<ListedReplica, MovedReplica>;
    readonly remote: ReadonlyMap<ListedReplica, PlannedRemoteDisk>;
    readonly zeroCopy: ReadonlyMap<ListedReplica, PlannedZeroCopy>;
  },
): PlannedHost {
  const at = (ensemble: EnsembleSpec): string => `${ensemble.connect}${ensemble.root || '/'}`;
  return {
    name: host.name,
    version: inspected?.version ?? '',
    restart: moves(host) ? restartWords(host) : 'none: its metadata stays where it is, a restart gains nothing',
    ...(moves(host) ? { abort: abortWords(spec, host) } : {}),
    from: at(host.zookeeper),
    to: at(host.after),
    tables: [
      ...(inspected?.replicas ?? []).filter(({ selected }) => selected).map((listed) => {
        const { replica } = listed;
        const takenOver = taken.planned(listed);
        const shared = zeroCopy.get(listed);
        const disk = remote.get(listed);
        const table = {
          db: replica.database,
          table: replica.table,
          zk_path: replica.zookeeperName === 'default' ? replica.zookeeperPath : `${replica.zookeeperName}:${replica.zookeeperPath}`,
          replica: replica.replicaName,
          rows: replica.rows,
          bytes: replica.bytes,
          parts: replica.parts,
          znodes: counted.get(listed) ?? null,
          ...(takenOver === undefined ? {} : { takenOver }),
          ...(disk === undefined ? {} : { remote_disk: disk }),
          ...(shared === undefined ? {} : { zero_copy: shared }),
        };
        const to = places.get(listed);
        return {
          ...table,
          ...(to === undefined ? {} : { zk_path_after: to.zookeeperPath, replica_after: to.replicaName }),
          statements: plannedStatements(spec, host, table),
        };
      }),
      ...(taken.absent.get(host.name) ?? []).map((table) => ({ ...table, statements: plannedStatements(spec, host, table) })),
    ],
  };
}

/** What an abort does with a host that is at its new place already. */
function abortWords({ clean }: MigrationSpec, { restart: { strategy, reconfigureBack } }: HostSpec): string {
  if (clean === 'before-restore') return 'goes forward once a host moved: the old metadata is deleted by then';
  const way = reconfigureBack?.join(' ') ?? (strategy.kind === 'manual' ? 'by hand' : undefined);
  if (way === undefined) return 'goes forward once a host moved: no restart.reconfigureBack leads back';
  return `back to the old metadata, as long as no RESTORE was begun: ${way}; then restarted`;
}

function restartWords(host: HostSpec): string {
  const { strategy, reconfigure } = host.restart;
  const first = reconfigure === undefined ? '' : `${reconfigure.join(' ')}; then `;
  switch (strategy.kind) {
    case 'command':
      return `${first}${strategy.command.join(' ')}`;
    case 'sql':
      return `${first}SYSTEM SHUTDOWN, a supervisor starts it`;
    case 'manual':
      return `${first}by hand: the run waits for it`;
    case 'none':
      return `${first}none`;
    default:
      return strategy satisfies never;
  }
}
