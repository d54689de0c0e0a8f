import { MigrationError } from '../domain/failure';
import { replicaLabel } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import { type Connections, ensembleOf, fenced, report, sleep } from './deps';
import { STALL_LIMIT_MS } from './fence';
import { readHold, stillHeld } from './hold';
import { refuseTree } from './path-guard';
import type { CleanInput, RestoreInput } from './types';

/** Whether these are replicas of hosts that the abort leaves out, by what the inventory noted of them. */
export async function areOfGoneHosts(
  connections: Connections,
  { migration, hosts, hostsGone, goneHosts }: Pick<CleanInput, 'migration' | 'hosts' | 'hostsGone' | 'goneHosts'>,
  names: readonly string[],
): Promise<boolean> {
  const [target] = hosts;
  if (hostsGone !== true || target === undefined) return false;
  const sealed = (await readHold(connections.host(target), migration)).hosts.filter(({ name }) => goneHosts?.includes(name) !== false);
  // An inventory of before they were noted, or with too many to note, does not tell.
  if (sealed.length === 0 || sealed.some(({ replicas }) => replicas.length === 0)) return true;
  const theirs = new Set(sealed.flatMap(({ replicas }) => replicas));
  return names.every((name) => theirs.has(name));
}

/** Its session in ZooKeeper outlives a server that was killed: no default is longer. */
const SESSION_ENDS_WITHIN_MS = 90_000;
const EVERY_MS = 1_000;

/**
 * Deletes the path that this migration had made anew for a replica which was restored first, and whose host is gone for good since: none of the
 * others can be the first one there. Contract: `input.replica` is attached, not registered, and to be the first.
 *
 * @returns what has to be said of it; undefined where the path has no replica, or one that is not gone
 * @throws MigrationError `REPLICA_LIVE` where it is active, `UNSAFE_PATH`
 */
export async function deleteOfGone(connections: Connections, input: RestoreInput): Promise<string | undefined> {
  const { migration, replica, goneHosts, allowMissingReplicas = [] } = input;
  if (goneHosts === undefined && allowMissingReplicas.length === 0) return undefined;
  const ensemble = ensembleOf(input.host, input.zookeeper, replica.zookeeperName);
  const zookeeper = await connections.zookeeper(ensemble, input.zookeeper.digestEnv);
  const path = replica.zookeeperPath;
  await zookeeper.sync(path);
  const names = (await zookeeper.children(`${path}/replicas`)) ?? [];
  const others = names.filter((name) => !allowMissingReplicas.includes(name));
  if (names.length === 0) return undefined;
  const gone = { migration, hosts: [input.host], ...(goneHosts === undefined ? {} : { hostsGone: true, goneHosts }) };
  if (others.length > 0 && !(await areOfGoneHosts(connections, gone, others))) return undefined;
  await untilInactive(zookeeper, path, names);
  const refusal = await refuseTree(zookeeper, path, (await zookeeper.children(path)) ?? [], true);
  if (refusal !== undefined) throw new MigrationError('UNSAFE_PATH', `${path} is not deleted: ${refusal}`);
  await stillHeld(connections.host(input.host), migration, replica);
  report({ doing: `deleting what ${names.join(', ')} had made of ${path}, before ${replicaLabel(replica)} is the first` });
  await zookeeper.deleteTree(path, { patienceMs: STALL_LIMIT_MS, oneSession: true, mayGoOn: fenced() });
  return `what the replica ${names.map((name) => `"${name}"`).join(', ')}, gone for good, had made of ${path} was deleted, and made anew`;
}

async function untilInactive(zookeeper: ZooKeeperSession, path: string, names: readonly string[]): Promise<void> {
  for (const end = Date.now() + SESSION_ENDS_WITHIN_MS; ; await sleep(EVERY_MS)) {
    const marks = await Promise.all(names.map((name) => zookeeper.exists(`${path}/replicas/${name}/is_active`)));
    const active = names.find((_, index) => marks[index] !== undefined);
    if (active === undefined) return;
    if (Date.now() > end) throw new MigrationError('REPLICA_LIVE', `${path}: the replica "${active}" is active in ZooKeeper, and was to be gone for good`);
    report({ doing: `waiting for the ZooKeeper session of "${active}" to end` });
  }
}
