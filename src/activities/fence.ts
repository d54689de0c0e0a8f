/**
 * A process that stands still (stopped, its machine suspended) for longer than its heartbeats may is taken for dead: another attempt of
 * the same activity does its work, and goes on to the next phase. When the first wakes up it must not act on what it saw before.
 */

/** Heartbeats are sent every 3 s and missed after 15 s or more: what stood still for longer than this may have been replaced. */
export const STALL_LIMIT_MS = 6_000;

interface Clocks {
  /** Stands still with the machine, steps with nobody. */
  readonly monotonic: () => number;
  /** Goes on while the machine is suspended. */
  readonly wall: () => number;
}

const CLOCKS: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() };

/** Notes when a process was last seen to run, and for how long it stood still at the worst. */
export class Pulse {
  private last: { monotonic: number; wall: number };
  private longestMs = 0;

  constructor(private readonly clocks: Clocks = CLOCKS) {
    this.last = this.read();
  }

  /** Called on a short timer, and before every decision. */
  beat(): void {
    const now = this.read();
    this.longestMs = Math.max(this.longestMs, now.monotonic - this.last.monotonic, now.wall - this.last.wall);
    this.last = now;
  }

  /** For how long it stood still, when that was too long; undefined otherwise. Never forgotten: what was seen before is stale for good. */
  stalledMs(): number | undefined {
    this.beat();
    return this.longestMs > STALL_LIMIT_MS ? this.longestMs : undefined;
  }

  private read(): { monotonic: number; wall: number } {
    return { monotonic: this.clocks.monotonic(), wall: this.clocks.wall() };
  }
}
