import { outsideOf } from '../domain/part-name';
import type { ZooKeeperSession } from '../zookeeper/session';

/**
 * The parts that a replica's server has and ZooKeeper's record of it neither lists nor covers by another: at the next ATTACH or start the server
 * puts them into `detached/`. None where there is no record.
 *
 * Source: `StorageReplicatedMergeTree::checkParts` in ClickHouse
 *
 * @param replica the replica's node
 * @param held what the server has, or had when its manifest was saved
 */
export async function unlistedParts(zookeeper: ZooKeeperSession, replica: string, held: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const names = await held();
  if (names.length === 0) return [];
  // Afterwards: a part is registered before its server has it.
  const listed = await zookeeper.children(`${replica}/parts`);
  return listed === undefined ? [] : outsideOf(listed, names);
}

const NAMES_SHOWN = 5;

export function unlistedWords(parts: readonly string[]): string {
  return `${parts.length} of the parts that it has (${parts.slice(0, NAMES_SHOWN).join(', ')}${parts.length > NAMES_SHOWN ? ', …' : ''})`;
}
