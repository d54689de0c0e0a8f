import { MigrationError } from '../domain/failure';
import type { EnsembleSpec, MigrationSpec } from '../domain/spec';
import { hostTarget } from '../workflows/targets';
import { ensembleOf } from './deps';
import type { ListedReplica } from './inspect';
import type { Findings, InspectedHost } from './preflight';

interface Occupant {
  readonly host: string;
  readonly listed: ListedReplica;
}

/** Every replica that the hosts list, selected or not, by ensemble and path. */
export type Occupants = ReadonlyMap<string, readonly Occupant[]>;

function pathKey({ connect, root }: EnsembleSpec, path: string): string {
  return JSON.stringify([connect, root, path]);
}

/** Who lives where, over all hosts; what is in an ensemble that the spec does not name is left out. */
export function occupants(spec: MigrationSpec, hosts: readonly InspectedHost[]): Occupants {
  const all = new Map<string, Occupant[]>();
  for (const host of hosts) {
    for (const listed of host.replicas) {
      const ensemble = knownEnsemble(spec, host, listed);
      if (ensemble === undefined) continue;
      const key = pathKey(ensemble, listed.replica.zookeeperPath);
      all.set(key, [...(all.get(key) ?? []), { host: host.spec.name, listed }]);
    }
  }
  return all;
}

/** Where a replica has its metadata today; an auxiliary ensemble that the spec does not name is refused elsewhere. */
export function knownEnsemble(spec: MigrationSpec, host: InspectedHost, listed: ListedReplica): EnsembleSpec | undefined {
  try {
    return ensembleOf(hostTarget(host.spec, 'before'), spec, listed.replica.zookeeperName);
  } catch (error) {
    if (error instanceof MigrationError) return undefined;
    throw error;
  }
}

/** The replicas of a path that the hosts list. */
export function occupantsAt(all: Occupants, ensemble: EnsembleSpec, path: string): readonly Occupant[] {
  return all.get(pathKey(ensemble, path)) ?? [];
}

/** The table that a replica of a path is, when a host of the spec lists it and the selection leaves it out. */
export function leftOut(all: Occupants, ensemble: EnsembleSpec, path: string, replicaName: string): Occupant | undefined {
  return occupantsAt(all, ensemble, path).find(({ listed }) => !listed.selected && listed.replica.replicaName === replicaName);
}

/**
 * Refuses a selected table that shares its path with another table of the same host or its replica name with another host's, whose path
 * has another table's below it, or whose name reads like another's (ClickHouse issue 62905).
 */
export function checkConflicts(spec: MigrationSpec, hosts: readonly InspectedHost[], found: Findings): void {
  const all = occupants(spec, hosts);
  for (const here of all.values()) {
    for (const one of here) {
      const other = here.find((candidate) => candidate !== one && shares(one, candidate));
      if (other === undefined || !one.listed.selected) continue;
      const { replica } = other.listed;
      found.refuse('PATH_SHARED', one.listed.replica, `${replica.database}.${replica.table} on ${other.host} has the same path ${replica.zookeeperPath}${other.host === one.host ? '' : ` and replica name "${replica.replicaName}"`}`, 'leave both out with tables.exclude, and mend one of them');
    }
  }
  checkAncestors(all, found);
  for (const host of hosts) checkNames(host, found);
}

/** A replica name belongs to one replica, and a path to one table of a host. */
function shares(one: Occupant, other: Occupant): boolean {
  return one.host === other.host || one.listed.replica.replicaName === other.listed.replica.replicaName;
}

function checkAncestors(all: Occupants, found: Findings): void {
  for (const [key, here] of all) {
    const [connect, root, path] = JSON.parse(key) as [string, string, string];
    for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1)) {
      for (const { listed } of occupantsAt(all, { connect, root }, path.slice(0, cut))) {
        if (!listed.selected) continue;
        const below = here[0]?.listed.replica;
        found.refuse('PATH_CONTAINS_OTHER', listed.replica, `its path ${listed.replica.zookeeperPath} contains that of ${below?.database ?? ''}.${below?.table ?? ''}: ${path}`, 'leave it out with tables.exclude');
      }
    }
  }
}

/** `a.b`.`c` and `a`.`b.c` both read a.b.c, in globs, messages and reports. */
function checkNames(host: InspectedHost, found: Findings): void {
  const seen = new Map<string, ListedReplica>();
  for (const listed of host.replicas) {
    const { database, table } = listed.replica;
    const other = seen.get(`${database}.${table}`);
    seen.set(`${database}.${table}`, listed);
    if (other === undefined || !(listed.selected || other.selected)) continue;
    found.refuse('NAME_SHARED', listed.replica, `two tables read ${database}.${table}: table "${table}" in database "${database}", and table "${other.replica.table}" in database "${other.replica.database}"`, 'rename one of them: what is said of one could be meant of the other');
  }
}
