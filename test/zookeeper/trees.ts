import type { ZooKeeperSession } from '../../src/zookeeper/session';

const inFlight = 500;

/** Creates the nodes with many in flight; parents must come long before their children, or be there. */
export async function createAll(session: ZooKeeperSession, paths: Iterable<string>): Promise<number> {
  const rest = paths[Symbol.iterator]();
  let created = 0;
  const worker = async (): Promise<void> => {
    for (let item = rest.next(); item.done !== true; item = rest.next()) {
      await session.create(item.value);
      created += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return created;
}

/** The nodes of a table with one replica as ClickHouse makes them, the top first, level by level. */
export function tablePaths(top: string, parts: number): string[] {
  const replica = `${top}/replicas/r1`;
  const levels = [
    [top],
    [
      ...['alter_partition_version', 'block_numbers', 'blocks', 'columns', 'leader_election', 'log', 'metadata', 'mutations'],
      ...['nonincrement_block_numbers', 'part_moves_shard', 'pinned_part_uuids', 'quorum', 'replicas', 'table_shared_id', 'temp'],
    ].map((name) => `${top}/${name}`),
    [`${top}/block_numbers/202401`, `${top}/log/log-0000000000`, `${top}/quorum/last_part`, `${top}/quorum/failed_parts`, replica],
    [
      ...['columns', 'flags', 'host', 'is_lost', 'log_pointer', 'metadata', 'metadata_version', 'min_unprocessed_insert_time'],
      ...['max_processed_insert_time', 'mutation_pointer', 'parts', 'queue'],
    ].map((name) => `${replica}/${name}`),
    Array.from({ length: parts }, (_, index) => `${top}/blocks/202401_${index}`),
    Array.from({ length: parts }, (_, index) => `${replica}/parts/202401_${index}_${index}_0`),
  ];
  return levels.flat();
}
