/**
 * Lets a bounded number of statements of a kind run per key at once within this worker. More activities are in flight than statements,
 * so that the next one is here when a place becomes free and Temporal's dispatch is hidden (docs/performance.md).
 */
export class Slots {
  private readonly keys = new Map<string, { running: number; limit: number; waiting: (() => void)[] }>();

  /** Runs `work` when fewer than `limit` run under `key`; the limit given last is in force for all. */
  async run<T>(key: string, limit: number, work: () => Promise<T>): Promise<T> {
    const slot = this.keys.get(key) ?? { running: 0, limit, waiting: [] };
    this.keys.set(key, slot);
    slot.limit = limit;
    while (slot.running >= slot.limit) {
      await new Promise<void>((resolve) => slot.waiting.push(resolve));
    }
    slot.running += 1;
    try {
      return await work();
    } finally {
      slot.running -= 1;
      const next = slot.waiting.shift();
      // Whoever was woken goes on with this slot: it stays until nobody runs and nobody is on the way.
      if (next !== undefined) next();
      else if (slot.running === 0) this.keys.delete(key);
    }
  }
}
