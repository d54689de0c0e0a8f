/** What is known of one replica's baseline when the first replica is elected. */
export interface Candidate {
  readonly host: string;
  readonly replicaName: string;
  readonly parts: number;
  readonly rows: number;
  /** An order-free digest of the multiset of `(partition_id, rows, hash_of_uncompressed_files)`. */
  readonly digest: string;
  /** Whether the replica's own nodes are in ZooKeeper already, at the expected path. */
  readonly registered: boolean;
}

/**
 * Elects the replica that is restored first, alone. Whoever has its nodes in ZooKeeper already was first before (a run that was
 * killed) and stays it; else the most complete baseline wins: most rows, then most parts, then the replica's name, so that every
 * run elects the same one. The first replica to restore decides what the table holds (ClickHouse issues 13652, 38998).
 *
 * @throws RangeError when there is no candidate
 */
export function electFirst<T extends Candidate>(candidates: readonly T[]): T {
  const ranked = [...candidates].sort(
    (a, b) =>
      Number(b.registered) - Number(a.registered) ||
      b.rows - a.rows ||
      b.parts - a.parts ||
      (a.replicaName < b.replicaName ? -1 : 1),
  );
  const first = ranked[0];
  if (first === undefined) throw new RangeError('no replica to elect');
  return first;
}
