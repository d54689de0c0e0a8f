import type { Plan } from '../domain/plan';

/** A dry run asks for its next page at once; one whose worker has stood still for longer is looked at anew. */
const KEEP_MS = 5 * 60_000;
/** Plans kept at a time, and tables in them: some 500 bytes each. */
const MAX_PLANS = 2;
const MAX_TABLES = 200_000;

interface Kept {
  readonly plan: Plan;
  readonly tables: number;
  readonly expiry: NodeJS.Timeout;
}

/**
 * What a dry run found, between its pages, so that one inspection serves all of them. Bounded in number, size and time; what is not here is
 * inspected again: another worker may take the next page.
 */
export class PlanCache {
  private readonly kept = new Map<string, Kept>();

  constructor(private readonly keepMs = KEEP_MS) {}

  /** @param run the run of the dry run's workflow */
  get(run: string): Plan | undefined {
    return this.kept.get(run)?.plan;
  }

  put(run: string, plan: Plan): void {
    this.drop(run);
    const tables = plan.hosts.reduce((sum, host) => sum + host.tables.length, 0);
    if (tables > MAX_TABLES) return;
    for (const oldest of this.kept.keys()) {
      const total = [...this.kept.values()].reduce((sum, one) => sum + one.tables, tables);
      if (this.kept.size < MAX_PLANS && total <= MAX_TABLES) break;
      this.drop(oldest);
    }
    const expiry = setTimeout(() => this.kept.delete(run), this.keepMs).unref();
    this.kept.set(run, { plan, tables, expiry });
  }

  drop(run: string): void {
    clearTimeout(this.kept.get(run)?.expiry);
    this.kept.delete(run);
  }

  clear(): void {
    for (const run of [...this.kept.keys()]) this.drop(run);
  }
}
