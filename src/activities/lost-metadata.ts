import type { MigrationSpec } from '../domain/spec';
import { hostTarget } from '../workflows/targets';
import { type Connections, ensembleOf } from './deps';
import type { ListedReplica } from './inspect';
import type { InspectedHost } from './preflight';

/** How many of a host's other replicas are looked for before nothing is said. */
const MOST_LOOKED_AT = 50;

/**
 * Whether a host is known to keep its metadata where the spec says, by another of its replicas that works there: its `is_active` node
 * stands, which only its own server makes. Then a replica whose nodes are not there has lost them, and is not somewhere else.
 */
export async function worksHere(connections: Connections, spec: MigrationSpec, host: InspectedHost, lost: ListedReplica): Promise<boolean> {
  const name = lost.replica.zookeeperName;
  const others = host.replicas.filter((one) => one !== lost && one.replica.zookeeperName === name && !one.readonly).slice(0, MOST_LOOKED_AT);
  const zookeeper = await connections.zookeeper(ensembleOf(hostTarget(host.spec, 'before'), spec, name), spec.digestEnv);
  for (const { replica } of others) {
    if ((await zookeeper.exists(`${replica.zookeeperPath}/replicas/${replica.replicaName}/is_active`)) !== undefined) return true;
  }
  return false;
}
