import type { EnsembleSpec, HostSpec, MigrationSpec } from '../domain/spec';
import type { ListedReplica } from './inspect';
import type { Findings } from './preflight';

/** A replicated table over all hosts, as far as a move is concerned. */
interface MovingTable {
  readonly path: string;
  readonly members: readonly { readonly host: { readonly spec: HostSpec }; readonly listed: ListedReplica }[];
}

/**
 * What stands against a table's move as the spec has it: replicas of one path that would end at different places, and an auxiliary
 * ensemble, which stays where it is, so that nothing of it can be kept beside the new metadata.
 */
export function checkMove(spec: MigrationSpec, { path, members }: MovingTable, found: Findings): void {
  const auxiliary = members.filter(({ listed }) => listed.replica.zookeeperName !== 'default');
  if (spec.clean !== 'before-restore' && spec.newPath === undefined) {
    for (const { listed } of auxiliary) {
      found.refuse('AUXILIARY_STAYS', listed.replica, `its path ${path} is in the auxiliary ensemble "${listed.replica.zookeeperName}", which does not move: with clean: ${spec.clean} its old metadata would be in the way`, 'leave it out with tables.exclude (it stays as it is), or use clean: before-restore');
    }
  }
  for (const { host, listed } of auxiliary.filter(({ host: { spec: one } }) => placeOf(one.zookeeper) !== placeOf(one.after))) {
    found.warn('AUXILIARY_IN_PLACE', listed.replica, `${host.spec.name} moves, but not its auxiliary ensemble "${listed.replica.zookeeperName}": the metadata of ${path} is made anew in place`, 'leave it out with tables.exclude where that is not wanted: it is not stranded');
  }
  if (auxiliary.length > 0) return;
  const places = new Set(members.map(({ host }) => placeOf(host.spec.after)));
  if (places.size < 2) return;
  for (const { host, listed } of members) {
    found.refuse('SHARD_SPLIT', listed.replica, `the replicas of ${path} would be at different places: ${host.spec.name} at ${placeOf(host.spec.after)}, others at ${[...places].filter((place) => place !== placeOf(host.spec.after)).join(', ')}`, "give all hosts of a shard the same zookeeper.after: a path's replicas move together");
  }
}

function placeOf({ connect, root }: EnsembleSpec): string {
  return `${connect}${root === '' ? '/' : root}`;
}
