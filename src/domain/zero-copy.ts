import { damagesSharedBlobs } from './versions';

/**
 * Zero-copy replication: replicas share the blobs of a part on an object storage, and each holds a lock node in ZooKeeper for as long as
 * it has the part, `<lock root>/zero_copy_<disk kind>/<table_shared_id>/<part>/<blob of checksums.txt>/<replica>`. What is decided about
 * such locks is here; docs/zero-copy.md has the sources.
 */

/** What a migration keeps of a zero-copy replica in its note: read before DETACH, completed before anything is deleted. */
export interface ZeroCopyFacts {
  /** The setting `remote_fs_zero_copy_zookeeper_path` in force, below the server's root. */
  readonly lockRoot: string;
  /** The value of `<table path>/table_shared_id`; where that node is gone, the id that the replica's locks lie under, else the table's uuid, which it is made from. */
  readonly sharedId: string;
  /** The locks as they were saved, by the id of their taking; empty before that. */
  readonly locksTake: string;
  /** Locks of this replica among them that the run deletes. */
  readonly locks: number;
  /** Parts that a failed RESTORE left in `detached/`, saved by the id of their taking; empty where the table is whole. */
  readonly strayTake: string;
  readonly strays: number;
}

/** One lock: a replica has a part with this blob. */
export interface ZeroCopyLock {
  /** The node that holds the table's parts. */
  readonly top: string;
  readonly part: string;
  /** The path of the blob of `checksums.txt`, its slashes replaced. */
  readonly blob: string;
  readonly replica: string;
  /** A copy below the table's own path, from before locks had a root of their own. */
  readonly legacy: boolean;
}

export function lockPath(lock: ZeroCopyLock): string {
  return `${lock.top}/${lock.part}/${lock.blob}/${lock.replica}`;
}

/** A blob's path as a lock names it (`unlockSharedDataByID` in ClickHouse's StorageReplicatedMergeTree.cpp). */
export function blobOfPath(remotePath: string): string {
  return remotePath.replaceAll('/', '_');
}

/** The folders of a table's parts on one host, by the blob that their locks are named after; one in `detached/` has that before its name. */
export type PartBlobs = ReadonlyMap<string, ReadonlySet<string>>;

/** Whether the host has this part on this blob; in `detached/` a reason may stand before the part's name. */
export function hasPart(blobs: PartBlobs, { part, blob }: Pick<ZeroCopyLock, 'part' | 'blob'>): boolean {
  const folders = blobs.get(blob);
  if (folders === undefined) return false;
  return [...folders].some((folder) => folder === part || folder === `detached/${part}` || (folder.startsWith('detached/') && folder.endsWith(`_${part}`)));
}

/**
 * The locks by which one replica holds these parts, on the blobs that its host has them on. All others (of other replicas, of tables that
 * share the id and have parts and replicas of the same names, of parts that nobody has any more) are not among them, and so are never touched.
 *
 * @param blobs undefined where the host cannot tell; then names alone decide
 */
export function locksOf(
  locks: readonly ZeroCopyLock[],
  replica: string,
  parts: ReadonlySet<string>,
  blobs: PartBlobs | undefined,
): ZeroCopyLock[] {
  return locks.filter((lock) => lock.replica === replica && parts.has(lock.part) && (blobs === undefined || hasPart(blobs, lock)));
}

/** The nodes of the kinds of disk that these locks lie in, copies below a table's path left out: `zero_copy_s3`. */
export function kindsOf(locks: readonly ZeroCopyLock[]): string[] {
  return [...new Set(locks.filter(({ legacy }) => !legacy).map(({ top }) => top.split('/').at(-2) ?? ''))].sort();
}

/**
 * How many replicas lock a replica's parts, and how many of its parts have as many; the most first.
 *
 * @param blobs those of the replica's host; undefined where it cannot tell, then names alone decide
 */
export function countLocks(locks: readonly ZeroCopyLock[], parts: readonly string[], blobs: PartBlobs | undefined): { replicas: number; parts: number }[] {
  const holders = new Map(parts.map((part) => [part, new Set<string>()]));
  for (const lock of locks) if (blobs === undefined || hasPart(blobs, lock)) holders.get(lock.part)?.add(lock.replica);
  const counts = new Map<number, number>();
  for (const { size } of holders.values()) counts.set(size, (counts.get(size) ?? 0) + 1);
  return [...counts].sort(([one], [other]) => other - one).map(([replicas, of]) => ({ replicas, parts: of }));
}

/** Whether one part is locked by one replica with several blobs: only the blobs on its host tell which lock is in use. */
export function isAmbiguous(own: readonly ZeroCopyLock[]): boolean {
  const blobOf = new Map<string, string>();
  return own.some(({ part, blob }) => {
    const known = blobOf.get(part);
    blobOf.set(part, blob);
    return known !== undefined && known !== blob;
  });
}

/** One replica of a table whose locks lie under an id, and what its host has of it. */
export interface LockHolder {
  readonly replica: string;
  /** The names of all its parts, active, old, or in `detached/`. */
  readonly parts: ReadonlySet<string>;
  /** Undefined where the host cannot tell. */
  readonly blobs: PartBlobs | undefined;
}

export interface SortedLocks {
  /** Of a replica that is none of these. */
  readonly foreign: readonly ZeroCopyLock[];
  /** Of a replica's name and a part that it has, on a blob that it has not: another table's replica of that name holds it, or nobody. */
  readonly doubtful: readonly ZeroCopyLock[];
  /** Of a part that its replica has not. */
  readonly leaked: readonly ZeroCopyLock[];
}

/** Sorts the locks under one id that none of these replicas needs. */
export function sortLocks(locks: readonly ZeroCopyLock[], holders: readonly LockHolder[]): SortedLocks {
  const sorted = { foreign: [] as ZeroCopyLock[], doubtful: [] as ZeroCopyLock[], leaked: [] as ZeroCopyLock[] };
  for (const lock of locks) {
    const named = holders.filter(({ replica }) => replica === lock.replica);
    if (named.length === 0) {
      sorted.foreign.push(lock);
      continue;
    }
    if (named.some(({ parts, blobs }) => (blobs === undefined ? parts.has(lock.part) : hasPart(blobs, lock)))) continue;
    const known = holders.some(({ blobs }) => blobs?.has(lock.blob) === true);
    if (!known && named.some(({ parts }) => parts.has(lock.part))) sorted.doubtful.push(lock);
    else sorted.leaked.push(lock);
  }
  return sorted;
}

interface PartName {
  readonly partition: string;
  readonly min: number;
  readonly max: number;
  readonly level: number;
  readonly mutation: number;
}

function parsePart(name: string): PartName | undefined {
  const [, partition, min, max, level, mutation] = /^([^_]+)_(\d+)_(\d+)_(\d+)(?:_(\d+))?$/u.exec(name) ?? [];
  if (partition === undefined) return undefined;
  return { partition, min: Number(min), max: Number(max), level: Number(level), mutation: Number(mutation ?? 0) };
}

function contains(outer: PartName, inner: PartName): boolean {
  return (
    outer.partition === inner.partition &&
    outer.min <= inner.min &&
    outer.max >= inner.max &&
    outer.level >= inner.level &&
    outer.mutation >= inner.mutation
  );
}

/**
 * The parts among these that no other one contains: of a part and what it was merged or mutated from, attaching both would double rows.
 * A name that is no part's is left out.
 */
export function outermostParts(names: readonly string[]): string[] {
  const parts = names.flatMap((name) => {
    const parsed = parsePart(name);
    return parsed === undefined ? [] : [{ name, parsed }];
  });
  return parts.filter((one) => !parts.some((other) => other !== one && contains(other.parsed, one.parsed))).map(({ name }) => name);
}

const TOKEN = /'(?:[^'\\]|\\[^]|'')*'|`(?:[^`\\]|\\[^])*`|"(?:[^"\\]|\\[^])*"|[\p{L}_][\p{L}\p{N}_]*|\d[\w.]*|[^\s]/gu;

/** The value of a setting in a CREATE query, as it is written, or undefined. Text in quotes is not searched. */
export function tableSetting(createQuery: string, name: string): string | undefined {
  const tokens = createQuery.match(TOKEN) ?? [];
  const settings = tokens.findLastIndex((token) => token.toUpperCase() === 'SETTINGS');
  if (settings < 0) return undefined;
  const at = tokens.findIndex((token, index) => index > settings && token === name && tokens[index + 1] === '=');
  const value = at < 0 ? undefined : tokens[at + 2];
  return value?.startsWith("'") === true ? value.slice(1, -1) : value;
}

/**
 * What a version of ClickHouse does wrong with shared blobs: one fault has a release of its own ({@link damagesSharedBlobs}); before 25.1 a part whose lock is lost takes its blobs along (pull request 72933).
 */
export function versionFault(version: string): 'deletes-shared-blobs' | 'deletes-unlocked-blobs' | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (damagesSharedBlobs(version)) return 'deletes-shared-blobs';
  return major < 25 || (major === 25 && minor < 1) ? 'deletes-unlocked-blobs' : undefined;
}

/** `1`, `true` and `'1'` mean on. */
export function isOn(value: string | undefined): boolean {
  return value === '1' || value?.toLowerCase() === 'true';
}
