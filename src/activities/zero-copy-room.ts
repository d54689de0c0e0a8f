import type { ReplicaNote } from '../clickhouse/store';
import { type Connections, ensembleOf } from './deps';
import type { RestoreInput } from './types';
import { storageOf } from './zero-copy-storage';

/**
 * Runs what makes locks of a zero-copy replica, its RESTORE or an ATTACH PART, so that no other one makes the same nodes for its locks. Newer servers look which nodes above a
 * lock are missing and make them in the transaction that commits the part: of two that miss the same one, the second fails with code 49
 * ("Creating shared lock … Node exists"), and the part stays in `detached/` (seen: two shards with one shared id, one RESTORE of six; the
 * same holds for all tables of a root that has no locks yet). The nodes that all tables have in common are made before; tables that keep
 * their locks under one id go one after the other, within this worker.
 */
export async function withRoomForLocks<T>(connections: Connections, input: RestoreInput, note: ReplicaNote, work: () => Promise<T>): Promise<T> {
  if (note.zeroCopy === null) return work();
  const { host, replica, zookeeper: target } = input;
  const { lockRoot, sharedId } = note.zeroCopy;
  const zookeeper = await connections.zookeeper(ensembleOf(host, target, replica.zookeeperName), target.digestEnv);
  const { lockKinds } = await storageOf(connections.host(host));
  for (const kind of lockKinds) await zookeeper.ensurePath(`${lockRoot}/zero_copy_${kind}`);
  return input.sharing === true ? connections.slots.run(`locks ${lockRoot}/${sharedId}`, 1, work) : work();
}
