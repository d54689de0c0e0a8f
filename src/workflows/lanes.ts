import { condition } from '@temporalio/workflow';

/**
 * How many activities are in flight at once, per lane (a host, or the clean phase). More than the statements that a host runs: the rest
 * wait for their turn in the worker, so that Temporal's dispatch costs no host a pause (docs/performance.md).
 */
export class Lanes {
  private readonly busy = new Map<string, number>();
  private running = 0;

  get inFlight(): number {
    return this.running;
  }

  /** Resolves when every lane has a free place, and takes one in each. */
  async acquire(lanes: readonly string[], limit: () => number): Promise<void> {
    await condition(() => this.running < MOST_IN_FLIGHT && lanes.every((lane) => (this.busy.get(lane) ?? 0) < limit()));
    for (const lane of lanes) this.busy.set(lane, (this.busy.get(lane) ?? 0) + 1);
    this.running += 1;
  }

  release(lanes: readonly string[]): void {
    for (const lane of lanes) this.busy.set(lane, (this.busy.get(lane) ?? 1) - 1);
    this.running -= 1;
  }

  async drained(): Promise<void> {
    await condition(() => this.running === 0);
  }
}

/** Tables at once, each with one activity a replica at the most: far below Temporal's 2,000 pending activities. */
const MOST_IN_FLIGHT = 400;

/** Activities in flight for `statements` at a time. */
export function inFlightFor(statements: number): number {
  return statements * 4;
}
