import { formatPath, type KeyPath } from './key-path';

/** Stands for a value that already has a fault, so that nothing further is concluded from it. */
export const BROKEN = Symbol('broken');

export const HOSTS: KeyPath = ['clickhouse', 'hosts'];

/**
 * A spec as it was read, perhaps with faults in it, for checks over several keys: they go on with what is sound, so that every fault is
 * found at once and none is reported that only follows from another.
 */
export class SpecView {
  private readonly faulty: ReadonlySet<string>;

  constructor(
    private readonly value: unknown,
    faulty: readonly KeyPath[],
  ) {
    this.faulty = new Set(faulty.map((path) => JSON.stringify(path)));
  }

  /** Whether the value at a path, or what it is in, has a fault. */
  isBroken(path: KeyPath): boolean {
    return [path, ...path.map((_, depth) => path.slice(0, depth))].some((each) => this.faulty.has(JSON.stringify(each)));
  }

  /** The text at a path; `undefined` where nothing is written. */
  text(path: KeyPath): string | undefined | typeof BROKEN {
    const value = this.at(path);
    return value === undefined || typeof value === 'string' ? value : BROKEN;
  }

  /** The keys of a mapping, and none where there is no sound mapping. */
  keys(path: KeyPath): string[] {
    const value = this.at(path);
    return isContainer(value) && !Array.isArray(value) ? Object.keys(value) : [];
  }

  /** The items of a list, each sound or not, and none where there is no sound list. */
  items(path: KeyPath): unknown[] {
    const value = this.at(path);
    return Array.isArray(value) ? value : [];
  }

  /** The path of each host. */
  hosts(): KeyPath[] {
    return this.items(HOSTS).map((_, index) => [...HOSTS, index]);
  }

  /** What a host is called in a message: its name, or else its path. */
  hostWords(host: KeyPath): string {
    const name = this.text([...host, 'name']);
    return typeof name === 'string' ? name : formatPath(host);
  }

  private at(path: KeyPath): unknown {
    if (this.isBroken(path)) return BROKEN;
    return path.reduce<unknown>((value, step) => (isContainer(value) && Object.hasOwn(value, step) ? value[step] : undefined), this.value);
  }
}

function isContainer(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null;
}
