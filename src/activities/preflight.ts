import semver from 'semver';

import { serverWords } from '../clickhouse/errors';
import { plannedStatements } from '../clickhouse/planned-statements';
import type { ClickHouseHost } from '../clickhouse/host';
import { MigrationError } from '../domain/failure';
import { isAncestor } from '../domain/guards';
import { tableOrderKey } from '../domain/inventory';
import { estimate, type Plan, type PlannedHost, type PlannedTable, type PlannedZeroCopy } from '../domain/plan';
import type { EnsembleSpec, HostSpec, MigrationSpec } from '../domain/spec';
import { type Finding, MAX_FINDINGS_SHOWN } from '../domain/summary';
import { type Connections, ensembleOf, report } from './deps';
import { checkHost } from './host-checks';
import { heldByOthers, knowsMigration } from './inventory';
import { hostTarget } from '../workflows/targets';
import { listReplicas, type ListedReplica } from './inspect';
import { refuseTree } from './path-guard';
import { checkZeroCopy } from './zero-copy-checks';
import type { PreflightInput, PreflightOutcome } from './types';

/** `SYSTEM RESTORE REPLICA` came with 21.7. Source: https://clickhouse.com/docs/whats-new/changelog/2021 */
const LEAST_VERSION = '21.7.0';
const TABLES_AT_A_TIME = 32;

/** What a preflight knows of one host. */
export interface InspectedHost {
  readonly spec: HostSpec;
  readonly server: ClickHouseHost;
  readonly version: string;
  readonly replicas: readonly ListedReplica[];
  readonly known: boolean;
}

/** A replicated table over all hosts of the spec. */
interface InspectedTable {
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

/** Looks at everything, changes nothing: only SELECTs and ZooKeeper reads. All that stands against the migration, at once. */
export async function inspect(connections: Connections, spec: MigrationSpec): Promise<Plan> {
  const found = new Findings();
  const hosts = (await Promise.all(spec.hosts.map((host) => inspectHost(connections, spec, host, found)))).filter(
    (host) => host !== undefined,
  );
  const known = hosts.some((host) => host.known);
  const zookeeperAnswers = await checkEnsembles(connections, spec, found);
  if (known) {
    found.warn('ALREADY_BEGUN', { host: '' }, `the hosts know the migration "${spec.id}" already`, 'a start goes on with it, from what is proved');
  } else if (hosts.length === spec.hosts.length && hosts.every(({ replicas }) => !replicas.some(({ selected }) => selected))) {
    found.refuse('NO_TABLES', { host: '' }, 'no table is selected', 'widen tables.include, or look at tables.exclude, disk and zkPath');
  }
  const counted = new Map<ListedReplica, number | null>();
  if (zookeeperAnswers && !known) await checkTables(connections, spec, hosts, found, counted);
  for (const host of hosts) {
    report({ doing: `looking at ${host.spec.name}` });
    await checkHost(host, found);
    if (!host.known) await checkHeld(spec, host, found);
  }
  const zeroCopy = zookeeperAnswers && !known ? await checkZeroCopy(connections, spec, hosts, found) : new Map<ListedReplica, PlannedZeroCopy>();
  const planned = spec.hosts.map((host) => planHost(spec, host, hosts.find(({ spec: { name } }) => name === host.name), counted, zeroCopy));
  return {
    id: spec.id,
    hosts: planned,
    refusals: found.refusals,
    warnings: found.warnings,
    estimate: estimate(
      planned.map((host, index) => ({ tables: host.tables, restarts: moves(spec.hosts[index]) })),
      spec.wave,
    ),
    known,
  };
}

/** The preflight of a run: the same as the plan, in numbers. */
export async function preflight(connections: Connections, { spec, page }: PreflightInput): Promise<PreflightOutcome> {
  const plan = await inspect(connections, spec);
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
    ...(page === undefined ? {} : { plan: pieceOf(plan, page) }),
  };
}

/** So many tables of a plan, host after host, without their statements. */
function pieceOf(plan: Plan, { offset, limit }: NonNullable<PreflightInput['page']>): NonNullable<PreflightOutcome['plan']> {
  let from = offset;
  let room = limit;
  const hosts = plan.hosts.map((host) => {
    const tables = host.tables.slice(from, from + room);
    from = Math.max(0, from - host.tables.length);
    room -= tables.length;
    return { ...host, tables: tables.map((table) => ({ ...table, statements: [] })) };
  });
  const total = plan.hosts.reduce((sum, { tables }) => sum + tables.length, 0);
  return { hosts, estimate: plan.estimate, ...(offset + limit < total ? { next: offset + limit } : {}) };
}

function moves(host: HostSpec | undefined): boolean {
  return host !== undefined && (host.zookeeper.connect !== host.after.connect || host.zookeeper.root !== host.after.root);
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
    if (semver.coerce(version) === null || semver.lt(semver.coerce(version) ?? '0.0.0', LEAST_VERSION)) {
      found.refuse('TOO_OLD', where, `${host.name} runs ClickHouse ${version}, and SYSTEM RESTORE REPLICA came with 21.7`, 'upgrade the server first');
      return undefined;
    }
    const known = await knowsMigration(server, spec.id);
    return { spec: host, server, version, known, replicas: await listReplicas(server, spec) };
  } catch (error) {
    refuseHost(error, host, found);
    return undefined;
  }
}

function refuseHost(error: unknown, host: HostSpec, found: Findings): void {
  if (!(error instanceof MigrationError)) throw error;
  const fixes: Readonly<Record<string, string>> = {
    HOST_UNREACHABLE: `see that ClickHouse answers over HTTP at ${host.url}`,
    AUTHENTICATION_FAILED: `look at clickhouse.user and the variable ${host.passwordEnv ?? '(clickhouse.passwordEnv names none)'}`,
    MISSING_VARIABLE: `set the variable ${host.passwordEnv ?? ''} where the worker runs`,
    ACCESS_DENIED: 'grant the user what the message names',
  };
  found.refuse(error.type, { host: host.name }, error.message, fixes[error.type] ?? 'see what the server said');
}

/** Every ensemble of the spec answers, today's roots exist; roots to come are named when they do not exist yet. */
async function checkEnsembles(connections: Connections, spec: MigrationSpec, found: Findings): Promise<boolean> {
  let answers = true;
  const seen = new Set<string>();
  for (const host of spec.hosts) {
    for (const [when, ensemble] of [['before', host.zookeeper], ['after', host.after]] as const) {
      const key = JSON.stringify([when, ensemble]);
      if (seen.has(key)) continue;
      seen.add(key);
      try {
        const top = await connections.zookeeper({ connect: ensemble.connect, root: '' }, spec.digestEnv);
        if (ensemble.root === '' || (await top.exists(ensemble.root)) !== undefined) continue;
        if (when === 'before') {
          answers = false;
          found.refuse('ROOT_MISSING', { host: host.name }, `the ZooKeeper root of today, ${ensemble.root}, does not exist on ${ensemble.connect}`, 'write the <zookeeper><root> of the servers into zookeeper.root');
        } else if (moves(host)) {
          found.warn('ROOT_TO_COME', { host: host.name }, `the root ${ensemble.root} does not exist yet on ${ensemble.connect}`, 'it is created before the first restart');
        }
      } catch (error) {
        answers = false;
        const words = error instanceof MigrationError ? error.message : serverWords(error);
        found.refuse('ZOOKEEPER_UNAVAILABLE', { host: host.name }, words, `see that ${ensemble.connect} can be reached from here`);
      }
    }
  }
  return answers;
}

async function checkHeld(spec: MigrationSpec, host: InspectedHost, found: Findings): Promise<void> {
  const selected = new Set(host.replicas.filter((one) => one.selected).map(({ replica }) => JSON.stringify([replica.database, replica.table])));
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
  found: Findings,
  counted: Map<ListedReplica, number | null>,
): Promise<void> {
  const tables = groupTables(hosts, spec, found);
  const paths = new Map<string, string[]>();
  for (const { ensemble, path } of tables) {
    const key = JSON.stringify(ensemble);
    paths.set(key, [...(paths.get(key) ?? []), path]);
  }
  let done = 0;
  const queue = [...tables];
  const worker = async (): Promise<void> => {
    for (let table = queue.shift(); table !== undefined; table = queue.shift()) {
      await checkTable(connections, spec, table, found, counted);
      done += 1;
      if (done % 100 === 0) report({ doing: 'looking at the tables in ZooKeeper', done, total: tables.length });
    }
  };
  await Promise.all(Array.from({ length: TABLES_AT_A_TIME }, worker));
  for (const table of tables) {
    const others = (paths.get(JSON.stringify(table.ensemble)) ?? []).filter((other) => isAncestor(table.path, other));
    if (others.length > 0) {
      for (const { listed } of table.members) {
        found.refuse('PATH_CONTAINS_OTHER', listed.replica, `its path ${table.path} contains another table's: ${others[0] ?? ''}`, 'leave it out with tables.exclude');
      }
    }
  }
}

async function checkTable(
  connections: Connections,
  spec: MigrationSpec,
  table: InspectedTable,
  found: Findings,
  counted: Map<ListedReplica, number | null>,
): Promise<void> {
  const zookeeper = await connections.zookeeper(table.ensemble, spec.digestEnv);
  const [first] = table.members;
  if (first === undefined) return;
  const where = first.listed.replica;
  const children = await zookeeper.children(table.path);
  if (children === undefined) {
    for (const { listed } of table.members) counted.set(listed, 0);
    missingMetadata(table, found);
    return;
  }
  const refusal = await refuseTree(zookeeper, table.path, children, table.members.every(({ listed }) => listed.readonly));
  if (refusal !== undefined) found.refuse('UNSAFE_PATH', where, `its path ${table.path} may not be deleted: ${refusal}`, 'look at it by hand, or leave it out with tables.exclude');
  const nodes = await zookeeper.countTree(table.path);
  for (const { listed } of table.members) counted.set(listed, nodes);
  await checkClosure(zookeeper, spec, table, found);
  await checkTarget(connections, spec, table, found);
}

function missingMetadata(table: InspectedTable, found: Findings): void {
  for (const { listed } of table.members) {
    if (listed.readonly) {
      found.warn('METADATA_LOST', listed.replica, `its path ${table.path} is not in ZooKeeper, and it is readonly`, 'its metadata is made anew');
    } else {
      found.refuse('OTHER_ZOOKEEPER', listed.replica, `its path ${table.path} is not below ${table.ensemble.root || '/'} on ${table.ensemble.connect}, yet the server works with it`, 'write the servers\' own ensemble and <root> into zookeeper.connect and zookeeper.root');
    }
  }
}

/** Every replica that ZooKeeper lists below the path is in the inventory (invariant 2). */
async function checkClosure(
  zookeeper: { children(path: string): Promise<string[] | undefined>; exists(path: string): Promise<unknown> },
  spec: MigrationSpec,
  table: InspectedTable,
  found: Findings,
): Promise<void> {
  const registered = (await zookeeper.children(`${table.path}/replicas`)) ?? [];
  const names = table.members.map(({ listed }) => listed.replica.replicaName);
  const where = table.members[0]?.listed.replica ?? { host: '' };
  for (const name of registered) {
    if (names.includes(name)) continue;
    const active = (await zookeeper.exists(`${table.path}/replicas/${name}/is_active`)) !== undefined;
    if (!active && spec.allowMissingReplicas.includes(name)) {
      found.warn('REPLICA_MISSING', where, `the replica "${name}" of ${table.path} is on no host of the spec`, 'allowed by --allow-missing-replica');
      continue;
    }
    found.refuse(
      active ? 'REPLICA_ACTIVE_ELSEWHERE' : 'REPLICA_MISSING',
      where,
      `${table.path} has a replica "${name}" that is on no host of the spec${active ? ', and it is active' : ''}`,
      active ? 'add its host to clickhouse.hosts' : `add its host to clickhouse.hosts, or pass --allow-missing-replica ${name} when it is gone for good`,
    );
  }
  for (const { listed, host } of table.members) {
    if (names.filter((name) => name === listed.replica.replicaName).length > 1) {
      found.refuse('PATH_SHARED', listed.replica, `another table of the inventory has the same path ${table.path} and replica name`, 'leave both out with tables.exclude, and mend one of them');
    } else if (!registered.includes(listed.replica.replicaName) && !listed.readonly) {
      found.refuse('OTHER_ZOOKEEPER', listed.replica, `${host.spec.name} works with its replica "${listed.replica.replicaName}", which ZooKeeper does not have at ${table.ensemble.root}${table.path}`, "write the servers' own ensemble and <root> into zookeeper.connect and zookeeper.root");
    }
  }
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
  counted: ReadonlyMap<ListedReplica, number | null>,
  zeroCopy: ReadonlyMap<ListedReplica, PlannedZeroCopy>,
): PlannedHost {
  const at = (ensemble: EnsembleSpec): string => `${ensemble.connect}${ensemble.root || '/'}`;
  return {
    name: host.name,
    version: inspected?.version ?? '',
    restart: moves(host) ? restartWords(host) : 'none: its metadata stays where it is, a restart gains nothing',
    from: at(host.zookeeper),
    to: at(host.after),
    tables: (inspected?.replicas ?? [])
      .filter(({ selected }) => selected)
      .map((listed) => {
        const { replica } = listed;
        const shared = zeroCopy.get(listed);
        const table = {
          db: replica.database,
          table: replica.table,
          zk_path: replica.zookeeperName === 'default' ? replica.zookeeperPath : `${replica.zookeeperName}:${replica.zookeeperPath}`,
          replica: replica.replicaName,
          rows: replica.rows,
          bytes: replica.bytes,
          parts: replica.parts,
          znodes: counted.get(listed) ?? null,
          ...(shared === undefined ? {} : { zero_copy: shared }),
        };
        return { ...table, statements: plannedStatements(spec, host, table) };
      }),
  };
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
