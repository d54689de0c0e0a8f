/** The status of a replica, in the order in which a migration proves it. */
export const STATUSES = ['INIT', 'DETACHED', 'ZK_CLEANED', 'RESTORED'] as const;
export type ReplicaStatus = (typeof STATUSES)[number] | 'SKIPPED';

export type OldMetadata = 'kept' | 'deleted';

export type StatusCounts = Readonly<Record<ReplicaStatus, number>>;

export const NO_COUNTS: StatusCounts = { INIT: 0, DETACHED: 0, ZK_CLEANED: 0, RESTORED: 0, SKIPPED: 0 };

/** Whether `status` is at least `wanted`; a skipped replica has reached nothing. */
export function hasReached(status: ReplicaStatus, wanted: Exclude<ReplicaStatus, 'SKIPPED'>): boolean {
  return status !== 'SKIPPED' && STATUSES.indexOf(status) >= STATUSES.indexOf(wanted);
}

export function isReplicaStatus(value: unknown): value is ReplicaStatus {
  return value === 'SKIPPED' || (STATUSES as readonly unknown[]).includes(value);
}

/** `counts` after one replica went from `from` to `to`. */
export function moveCount(counts: StatusCounts, from: ReplicaStatus, to: ReplicaStatus): StatusCounts {
  if (from === to) return counts;
  return { ...counts, [from]: counts[from] - 1, [to]: counts[to] + 1 };
}
