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

  /**
   * Resolves when every lane has a free place, and takes one in each.
   *
   * @param activities how many a table may have in flight at a time: one a replica
   */
  async acquire(lanes: readonly string[], activities: number, limit: () => number): Promise<void> {
    const fits = (): boolean => this.running === 0 || this.running + activities <= MOST_IN_FLIGHT;
    await condition(() => fits() && lanes.every((lane) => (this.busy.get(lane) ?? 0) < limit()));
    for (const lane of lanes) this.busy.set(lane, (this.busy.get(lane) ?? 0) + 1);
    this.running += activities;
  }

  release(lanes: readonly string[], activities: number): void {
    for (const lane of lanes) this.busy.set(lane, (this.busy.get(lane) ?? 1) - 1);
    this.running -= activities;
  }

  async drained(): Promise<void> {
    await condition(() => this.running === 0);
  }
}

/** Activities at once: far below Temporal's 2,000 pending ones, and fewer than a worker takes, so that there is always room for the mirror. */
const MOST_IN_FLIGHT = 400;
