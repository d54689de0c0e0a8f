/** How often work that waits for its turn asks again whether it is still wanted, and how many may run. */
const ASK_EVERY_MS = 2_000;

interface Slot {
  running: number;
  limit: number;
  /** Those who run, wait, or are on their way. */
  users: number;
  readonly waiting: Set<() => void>;
}

/**
 * Lets a bounded number of statements of a kind run per key at once within this worker. More activities are in flight than statements,
 * so that the next one is here when a place becomes free and Temporal's dispatch is hidden (docs/performance.md).
 */
export class Slots {
  private readonly keys = new Map<string, Slot>();

  /**
   * Runs `work` when fewer than `limit` run under `key`; the limit given last is in force for all.
   *
   * @param permit asked right before `work` begins, and now and then while it waits: answers the limit that is in force now, or throws to
   *   have it not begun
   */
  async run<T>(key: string, limit: number, work: () => Promise<T>, permit?: () => Promise<number | undefined>): Promise<T> {
    const slot = this.keys.get(key) ?? { running: 0, limit, users: 0, waiting: new Set() };
    this.keys.set(key, slot);
    slot.users += 1;
    change(slot, limit);
    try {
      for (;;) {
        if (slot.running >= slot.limit) {
          if (await woken(slot, permit === undefined ? undefined : ASK_EVERY_MS)) continue;
          change(slot, await permit?.());
          continue;
        }
        slot.running += 1;
        try {
          change(slot, await permit?.());
          if (slot.running <= slot.limit) return await work();
        } finally {
          slot.running -= 1;
          wake(slot);
        }
      }
    } finally {
      slot.users -= 1;
      if (slot.users === 0) this.keys.delete(key);
    }
  }
}

function change(slot: Slot, limit: number | undefined): void {
  if (limit === undefined || limit === slot.limit) return;
  slot.limit = limit;
  wake(slot);
}

/** As many as there are free places, in the order they came. */
function wake(slot: Slot): void {
  for (const next of [...slot.waiting].slice(0, Math.max(0, slot.limit - slot.running))) {
    slot.waiting.delete(next);
    next();
  }
}

/** True when it was woken, false after `withinMs`. */
async function woken(slot: Slot, withinMs: number | undefined): Promise<boolean> {
  return new Promise<boolean>((resolve) => {
    const timer = withinMs === undefined ? undefined : setTimeout(() => {
      slot.waiting.delete(next);
      resolve(false);
    }, withinMs);
    const next = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    slot.waiting.add(next);
  });
}
