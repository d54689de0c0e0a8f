import type { PlannedRemoteDisk } from '../domain/plan';
import type { ListedReplica } from './inspect';
import type { InspectedHost } from './preflight';
import { settingOf, storageOf } from './zero-copy-storage';

/** The selected replicas with a storage policy that has a disk which is not local, and how zero-copy replication is set for each. */
export async function onRemoteDisks(hosts: readonly InspectedHost[]): Promise<ReadonlyMap<ListedReplica, PlannedRemoteDisk>> {
  const planned = new Map<ListedReplica, PlannedRemoteDisk>();
  for (const host of hosts) {
    const storage = await storageOf(host.server);
    for (const listed of host.replicas) {
      const { remote, on, own } = settingOf(storage, listed);
      if (!remote || !listed.selected) continue;
      planned.set(listed, { disks: listed.disks, server_setting: storage.on, table_setting: own ?? null, zero_copy: on });
    }
  }
  return planned;
}
