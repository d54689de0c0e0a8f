/** What a part's name says of it; of the oldest servers' form nothing is known. */
export interface PartName {
  readonly partition: string;
  readonly first: number;
  readonly last: number;
  readonly level: number;
  /** The number of the last mutation that it has; 0 before the first. */
  readonly mutation: number;
}

const NAME = /^([^_]+)_(\d+)_(\d+)_(\d+)(?:_(\d+))?$/u;

/** Source: `MergeTreePartInfo::tryParsePartName` in ClickHouse. Undefined for a name of another form. */
export function parsePartName(name: string): PartName | undefined {
  const [, partition, first, last, level, mutation] = NAME.exec(name) ?? [];
  // The oldest form has two dates in front: the second one is no block.
  if (partition === undefined || Number(first) > Number(last)) return undefined;
  return { partition, first: Number(first), last: Number(last), level: Number(level), mutation: Number(mutation ?? 0) };
}

/** Whether all blocks of a part are in another of the same partition. */
export function coversBlocks(one: PartName, other: PartName): boolean {
  return one.partition === other.partition && one.first <= other.first && one.last >= other.last;
}

/** Parts of a list, to be asked which of them has the blocks of another. The parts of a partition are looked through from its widest on. */
export class PartIndex {
  private readonly names: ReadonlySet<string>;
  private partitions: Map<string, PartName[]> | undefined;

  constructor(names: readonly string[]) {
    this.names = new Set(names);
  }

  covers(name: string): boolean {
    if (this.names.has(name)) return true;
    const part = parsePartName(name);
    return part !== undefined && (this.byPartition().get(part.partition) ?? []).some((one) => coversBlocks(one, part));
  }

  /** Has it, or one that was made of it since: with all of its blocks and mutations, of a higher level or mutated again. */
  hasMadeOf(name: string): boolean {
    if (this.names.has(name)) return true;
    const part = parsePartName(name);
    return part !== undefined && (this.byPartition().get(part.partition) ?? []).some((one) => coversBlocks(one, part) && one.level >= part.level && one.mutation >= part.mutation);
  }

  private byPartition(): Map<string, PartName[]> {
    if (this.partitions !== undefined) return this.partitions;
    const all = new Map<string, PartName[]>();
    for (const name of this.names) {
      const part = parsePartName(name);
      if (part === undefined) continue;
      const those = all.get(part.partition) ?? [];
      those.push(part);
      all.set(part.partition, those);
    }
    this.partitions = all;
    return all;
  }
}

/** Those that a list of parts neither has nor covers. */
export function outsideOf(list: readonly string[], names: readonly string[]): readonly string[] {
  const index = new PartIndex(list);
  return names.filter((name) => !index.covers(name));
}

/**
 * Whether the parts that came are what a merge made of those that went: each that went is in exactly one that came, of a higher level and with
 * all of its mutations, and each that came has exactly the rows of those. A part whose mutation was undone, say, has the same blocks and rows as
 * the mutated one, and is no merge of it.
 */
export function areMerged(went: readonly CountedPart[], came: readonly CountedPart[]): boolean {
  const owners = came.map((part) => ({ name: parsePartName(part.name), rows: part.rows, taken: 0, parts: 0 }));
  for (const { name, rows } of went) {
    const part = parsePartName(name);
    const over = owners.filter((owner) => part !== undefined && owner.name !== undefined && coversBlocks(owner.name, part) && owner.name.level > part.level && owner.name.mutation >= part.mutation);
    const [owner] = over;
    if (owner === undefined || over.length > 1) return false;
    owner.taken += rows;
    owner.parts += 1;
  }
  return owners.every(({ rows, taken, parts }) => parts > 0 && rows === taken);
}

export interface CountedPart {
  readonly name: string;
  readonly rows: number;
}
