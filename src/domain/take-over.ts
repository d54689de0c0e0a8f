import type { TakeOverEntry, TakeOverSpec } from './spec';
import { hasReached, type ReplicaStatus } from './status';

/** What lies in `detached/` of a table: parts as a RESTORE leaves them, and those that no SQL can name. */
export interface LeftParts {
  /** Under a part's plain name: RESTORE puts them there, and so does a DETACH PARTITION by hand. */
  readonly plain: readonly string[];
  /** `attaching_…`, `ignored_…`, `…_try1`: what a server put aside, or left half way. */
  readonly stuck: readonly { readonly name: string; readonly path: string }[];
}

export const NOTHING_LEFT: LeftParts = { plain: [], stuck: [] };

/** What server and ZooKeeper say of an attached replica that a status file names. */
export interface SeenReplica {
  /** Where its own node is: nowhere, where its metadata is today, or where it has to be (only where it moves). */
  readonly place: 'none' | 'before' | 'after';
  /** Its host's metadata goes elsewhere in this migration. */
  readonly moves: boolean;
  /** Its path was made since the server's last start: what the reference does to a table between its restart and its end. */
  readonly remade: boolean;
  /** The hosts of the spec have no other replica of its path. */
  readonly alone: boolean;
  readonly left: LeftParts;
  /** Of a zero-copy replica: the parts that a RESTORE left in `detached/` when it met an old lock, and that can be brought back. */
  readonly zeroCopy?: { readonly strays: readonly string[] };
}

export interface Verdict {
  /** What the world shows; what a migration goes on from. */
  readonly found: Exclude<ReplicaStatus, 'SKIPPED'>;
  /** A RESTORE may have died on it: parts of it may lie in `detached/`. */
  readonly suspicious: boolean;
}

/**
 * What an attached replica is, whatever the status file says: the world wins. Where the world cannot tell (in place, a table that was
 * restored looks like one that was never touched), RESTORED needs both the file's word and metadata younger than the server's start; else it
 * goes the whole way again, which loses nothing and proves it.
 */
export function judge(said: ReplicaStatus, seen: SeenReplica): Verdict {
  const suspicious = isSuspicious(said, seen);
  if (!seen.alone || locksAreInTheWay(seen)) return { found: 'INIT', suspicious };
  switch (seen.place) {
    case 'none':
      return { found: 'ZK_CLEANED', suspicious };
    case 'after':
      return { found: 'RESTORED', suspicious };
    case 'before':
      return { found: !seen.moves && seen.remade && hasReached(said, 'ZK_CLEANED') ? 'RESTORED' : 'INIT', suspicious };
    default:
      return seen.place satisfies never;
  }
}

/** Its path is gone, and its zero-copy locks were left, or a RESTORE met them already: they are dealt with only on the whole way. */
function locksAreInTheWay({ place, zeroCopy }: SeenReplica): boolean {
  return zeroCopy !== undefined && (place === 'none' || zeroCopy.strays.length > 0);
}

function isSuspicious(said: ReplicaStatus, { place, remade, left, zeroCopy }: SeenReplica): boolean {
  const gone = place !== 'before';
  if (zeroCopy !== undefined && zeroCopy.strays.length > 0) return false;
  if (left.stuck.length > 0 && (gone || hasReached(said, 'DETACHED'))) return true;
  return left.plain.length > 0 && (gone || remade || hasReached(said, 'ZK_CLEANED'));
}

/** How the file's word differs from what was found, in words; undefined where it does not. */
export function differenceWords(said: ReplicaStatus, found: Verdict['found'], seen: SeenReplica): string | undefined {
  if (said === found || said === 'SKIPPED') return undefined;
  return `the file says ${said}, and ${foundWords(said, found, seen)}: it goes on as ${found}`;
}

function foundWords(said: ReplicaStatus, found: Verdict['found'], { alone, place, zeroCopy }: SeenReplica): string {
  if (zeroCopy !== undefined && zeroCopy.strays.length > 0) return `a RESTORE met its old zero-copy locks, and left ${zeroCopy.strays.length} parts in detached/`;
  switch (found) {
    case 'INIT':
      if (!alone && place === 'none') return 'its nodes are gone under more than one replica';
      if (place === 'none') return 'its nodes are gone, and its zero-copy locks are not dealt with';
      return said === 'RESTORED' ? 'nothing shows that its metadata was made anew' : 'it is attached, with its nodes';
    case 'DETACHED':
      return 'it is not attached, and its nodes are there';
    case 'ZK_CLEANED':
      return 'its nodes are gone';
    case 'RESTORED':
      return 'it is registered where it has to be';
    default:
      return found satisfies never;
  }
}

/** The entry of a replica, by `[host, database, table]`. */
export function entriesById(takeOver: TakeOverSpec | undefined): ReadonlyMap<string, TakeOverEntry> {
  return new Map((takeOver?.entries ?? []).map((entry) => [JSON.stringify([entry.host, entry.database, entry.table]), entry]));
}
