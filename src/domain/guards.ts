/** Guards on what may be deleted. Each answers `undefined` when nothing stands against it, else the reason in words. */

/** Every child that ClickHouse makes below a replicated table's path (StorageReplicatedMergeTree::createTableIfNotExists, to 26.7). */
export const TABLE_CHILDREN: ReadonlySet<string> = new Set([
  'alter_partition_version',
  'async_blocks',
  'block_numbers',
  'blocks',
  'columns',
  'creator_info',
  'deduplication_hashes',
  'dropped',
  'last_part',
  'leader_election',
  'lightweight_updates',
  'log',
  'lost_part_count',
  'metadata',
  'mutations',
  'nonincrement_block_numbers',
  'part_moves_shard',
  'pinned_part_uuids',
  'quorum',
  'replicas',
  'table_shared_id',
  'temp',
]);

/** Copies of zero-copy locks, one such child for each kind of disk: `zero_copy_s3`, `zero_copy_azure_blob_storage`, … */
const LOCKS_OF_DISKS = 'zero_copy_';

/** What every replicated table's path has; a path without them is none. */
export const REQUIRED_CHILDREN = ['columns', 'log', 'metadata', 'replicas'] as const;

/** The least number of components of a path that may be deleted: a shallower one belongs to more than one table. */
export const LEAST_PATH_DEPTH = 2;

export function pathComponents(path: string): readonly string[] {
  return path.split('/').filter((component) => component !== '');
}

/** Refuses a path that is relative, shallow, not in its plain form, or one that ClickHouse or ZooKeeper keep for themselves. */
export function refusePath(path: string): string | undefined {
  if (!path.startsWith('/')) return 'it does not begin with a slash';
  const components = pathComponents(path);
  if (`/${components.join('/')}` !== path) return 'it is not in its plain form (a slash doubled or at the end)';
  if (components.some((component) => component === '.' || component === '..')) return 'it has a . or .. component';
  if (components[0] === 'zookeeper') return "it is below ZooKeeper's own /zookeeper";
  if (components.length < LEAST_PATH_DEPTH) {
    return `it is shallow: ${components.length} component(s), and at least ${LEAST_PATH_DEPTH} are asked for`;
  }
  return undefined;
}

/** Whether `ancestor` is a proper ancestor of `path`. */
export function isAncestor(ancestor: string, path: string): boolean {
  return path.length > ancestor.length && path.startsWith(ancestor.endsWith('/') ? ancestor : `${ancestor}/`);
}

/** Refuses a tree whose top does not look like a replicated table's. `deleting` is true once its deletion has begun. */
export function refuseShape(children: readonly string[], deleting: boolean): string | undefined {
  if (deleting) return undefined;
  const lacking = REQUIRED_CHILDREN.filter((child) => !children.includes(child));
  return lacking.length > 0 ? `it lacks what every replicated table has: ${lacking.join(', ')}` : undefined;
}

/**
 * Whether what is left below a table's own path can only be the rest of one: nothing lies there that a table does not have. The nodes
 * that every table has may be gone, by another's hand.
 */
export function areRemains(children: readonly string[]): boolean {
  return strangeChildren(children).length === 0;
}

/** Children that no known version makes: a newer one may, or another table lies below; what they hold has to be looked at. */
export function strangeChildren(children: readonly string[]): readonly string[] {
  return children.filter((child) => !TABLE_CHILDREN.has(child) && !child.startsWith(LOCKS_OF_DISKS));
}

/** Whether a node with these children is a replicated table's, or a Replicated database's, top. */
export function looksLikeTop(children: readonly string[]): boolean {
  return children.includes('replicas') && (children.includes('metadata') || children.includes('log'));
}
