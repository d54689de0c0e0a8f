import type { ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, replicaLabel } from '../domain/inventory';
import type { ZeroCopyFacts } from '../domain/zero-copy';
import { type Connections, ensembleOf } from './deps';
import { tellSharedId } from './zero-copy-id';
import { readSharedId } from './zero-copy-locks';
import { currentSetting, type ZeroCopySetting } from './zero-copy-storage';
import { saveStrays } from './zero-copy-strays';
import type { AttachInput, HostTarget } from './types';

function isZeroCopy(setting: ZeroCopySetting | undefined): setting is ZeroCopySetting {
  return setting?.remote === true && setting.on;
}

/**
 * What has to be known of an attached zero-copy replica before it is detached: where its locks are, and which parts a failed RESTORE left
 * in `detached/`. Null where it is no zero-copy replica. What an earlier try saved of strays stays saved.
 */
export async function readFacts(connections: Connections, input: Pick<AttachInput, 'migration' | 'host' | 'replica' | 'zookeeper'>, before: ReplicaNote): Promise<ZeroCopyFacts | null> {
  const { replica } = input;
  const host = connections.host(input.host);
  const setting = await currentSetting(host, replica);
  if (!isZeroCopy(setting)) return null;
  const zookeeper = await connections.zookeeper(ensembleOf(input.host, input.zookeeper, replica.zookeeperName), input.zookeeper.digestEnv);
  const sharedId = (await readSharedId(zookeeper, replica.zookeeperPath)) ?? before.zeroCopy?.sharedId ?? (await tellSharedId(zookeeper, host, replica, setting.lockRoot));
  const { take, parts } = await saveStrays(host, zookeeper, input, { lockRoot: setting.lockRoot, sharedId });
  return { lockRoot: setting.lockRoot, sharedId, locksTake: '', locks: 0, strayTake: take, strays: parts };
}

/**
 * Stops when zero-copy replication is not set for the attached replica as it was before DETACH: with the setting off, a part that is
 * removed takes along blobs that others use.
 */
export async function sameSetting(connections: Connections, target: HostTarget, replica: InventoryReplica, note: ReplicaNote): Promise<void> {
  const setting = await currentSetting(connections.host(target), replica);
  const now = isZeroCopy(setting) ? setting.lockRoot : undefined;
  const then = note.zeroCopy?.lockRoot;
  if (now === then) return;
  const words = (lockRoot: string | undefined): string => (lockRoot === undefined ? 'off' : `on, with its locks under ${lockRoot}`);
  throw new MigrationError('ZERO_COPY_CHANGED', `${replicaLabel(replica)}: zero-copy replication is ${words(now)}, and was ${words(then)} before DETACH`);
}

/** Stops when the replicas of a table did not have the same setting before DETACH. */
export function alike(members: readonly { readonly replica: InventoryReplica; readonly note: ReplicaNote }[]): void {
  const [first, ...others] = members;
  const other = others.find(({ note }) => note.zeroCopy?.lockRoot !== first?.note.zeroCopy?.lockRoot);
  if (first === undefined || other === undefined) return;
  throw new MigrationError(
    'ZERO_COPY_CHANGED',
    `zero-copy replication is not set alike on ${replicaLabel(first.replica)} and ${replicaLabel(other.replica)}: nothing of the table may be deleted`,
  );
}
