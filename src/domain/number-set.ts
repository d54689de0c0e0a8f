const TABLES = 1_024;
const FIRST_ROOM = 16;
/** A table with less room than this is made twice as large. */
const FULL = 0.75;

/**
 * A set of very many whole numbers from 0 to 2^53 - 2, such as hashes: some eleven to twenty-two bytes for each. It is many small tables, so that
 * none takes long to grow: whoever fills it with millions stops nothing else in the process.
 */
export class NumberSet {
  /** Open addressing: 0 is room, and a number stands there as itself and one. */
  private readonly tables: Float64Array[] = Array.from({ length: TABLES }, () => new Float64Array(FIRST_ROOM));
  private readonly sizes = new Uint32Array(TABLES);
  private total = 0;

  get size(): number {
    return this.total;
  }

  add(value: number): void {
    const at = value % TABLES;
    let table = this.tables[at] ?? new Float64Array(FIRST_ROOM);
    if ((this.sizes[at] ?? 0) >= table.length * FULL) {
      table = grown(table);
      this.tables[at] = table;
    }
    const slot = slotOf(table, value + 1);
    if (table[slot] !== 0) return;
    table[slot] = value + 1;
    this.sizes[at] = (this.sizes[at] ?? 0) + 1;
    this.total += 1;
  }

  has(value: number): boolean {
    const table = this.tables[value % TABLES];
    return table !== undefined && table[slotOf(table, value + 1)] !== 0;
  }

  /** How many of these are not in another set: in pieces, whose sum it is, so that other work may go on in between. */
  *missingIn(other: NumberSet): Generator<number> {
    for (const table of this.tables) {
      yield table.reduce((sum, held) => (held === 0 || other.has(held - 1) ? sum : sum + 1), 0);
    }
  }
}

/** Where it stands, or the room where it would. */
function slotOf(table: Float64Array, held: number): number {
  let slot = Math.floor((held - 1) / TABLES) % table.length;
  while (table[slot] !== 0 && table[slot] !== held) slot = (slot + 1) % table.length;
  return slot;
}

function grown(table: Float64Array): Float64Array {
  const larger = new Float64Array(2 * table.length);
  for (const held of table) if (held !== 0) larger[slotOf(larger, held)] = held;
  return larger;
}
