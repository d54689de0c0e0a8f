import type { PartIndex } from './part-name';

/** What stands before the kind of an entry: `format version: 4`, `create_time: …`, `source replica: …`, `block_id: …`, `log_entry_id: …`. */
const HEAD = /^(?:format version|create_time|source replica|block_id|log_entry_id):/u;

/**
 * The kind of an entry of a replication log or queue that a replica still has to do, and without which its table is not what was asked
 * for; undefined for one that may go with the path. That is one for a part that is there (its own INSERT, not ticked off yet), and a merge,
 * which changes no rows and is chosen again. Whatever is not understood is still to be done.
 *
 * Source: `ReplicatedMergeTreeLogEntryData::writeText` in ClickHouse
 *
 * @param text the node's value
 * @param parts the replica's parts, by ZooKeeper's record
 */
export function stillOwed(text: string, parts: PartIndex): string | undefined {
  const lines = text.split('\n');
  const [kind = '', name = ''] = lines.slice(lines.findIndex((line) => !HEAD.test(line)));
  switch (kind) {
    case 'get':
    case 'attach':
      return parts.covers(name) ? undefined : kind;
    case 'merge':
      return lines.includes('deduplicate: 0') ? undefined : kind;
    default:
      return /^\w+$/u.test(kind) ? kind : 'unknown';
  }
}

/**
 * Whether no server can read this value of an entry of a log, a queue or the mutations: each version begins it with its format. What it asked
 * for is not known to anybody, and will be done by nobody.
 *
 * Source: `ReplicatedMergeTreeLogEntryData::readText`, `ReplicatedMergeTreeMutationEntry::readText` in ClickHouse
 */
export function isBrokenEntry(text: string): boolean {
  return !/^format version: \d+\n/u.test(text);
}
