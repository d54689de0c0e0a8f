import { MigrationError } from '../domain/failure';
import { type InventoryReplica } from '../domain/inventory';
import type { EnsembleSpec, MigrationSpec } from '../domain/spec';
import type { LeftParts } from '../domain/take-over';
import type { Connections } from './deps';
import type { TakeOverHost } from './take-over-look';
import { partBlobsOf } from './zero-copy-blobs';
import { tellSharedId } from './zero-copy-id';
import { readLocks } from './zero-copy-locks';
import { currentSetting } from './zero-copy-storage';
import { lyingParts, straysAmong } from './zero-copy-strays';

/**
 * Of a zero-copy replica that a status file names: the parts that a RESTORE left in `detached/` when it met an old lock. Undefined for any
 * other replica. Where its id cannot be told no part is named, and the preflight refuses.
 */
export async function lookAtLocks(
  connections: Connections,
  spec: MigrationSpec,
  { server }: TakeOverHost,
  replica: InventoryReplica,
  ensemble: EnsembleSpec,
  left: LeftParts,
): Promise<{ readonly strays: readonly string[] } | undefined> {
  const setting = await currentSetting(server, replica);
  if (setting?.remote !== true || !setting.on) return undefined;
  if (left.plain.length === 0) return { strays: [] };
  const lying = await lyingParts(server, replica);
  if (lying.length === 0) return { strays: [] };
  const zookeeper = await connections.zookeeper(ensemble, spec.digestEnv);
  try {
    const sharedId = await tellSharedId(zookeeper, server, replica, setting.lockRoot);
    const { locks } = await readLocks(zookeeper, { lockRoot: setting.lockRoot, sharedId }, replica.zookeeperPath);
    return { strays: straysAmong(replica, lying, locks, await partBlobsOf(server, replica)) };
  } catch (error) {
    if (!(error instanceof MigrationError) || error.type !== 'UNSUPPORTED') throw error;
    return { strays: [] };
  }
}
