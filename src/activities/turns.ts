import type { Control } from '../domain/control';
import { MigrationError } from '../domain/failure';
import type { ParallelSpec } from '../domain/spec';
import { type Slots } from './slots';

/** Asks a migration what may begin now; undefined where it does not answer. */
export type AskControl = (migration: string) => Promise<Control | undefined>;

/** An answer is taken for this long. */
const FRESH_MS = 1_000;
/** After no answer, it is asked again only after this: each try may take seconds. */
const SILENT_MS = 10_000;

/** What wants to begin. */
export interface Turn {
  readonly migration: string;
  readonly what: 'detach' | 'clean' | 'attach' | 'restore';
  /** Where the limit counts: a host's name, or nothing where it is one for all. */
  readonly host?: string;
  /** The limit of when the activity was scheduled; the one of now counts where the migration tells it. */
  readonly limit: number;
  /** Scheduled by an abort. */
  readonly aborting?: true;
}

/**
 * Turns for the statements that a migration begins. An activity may wait for its turn long after it was scheduled, and somebody pauses the
 * migration, lowers a limit or aborts it meanwhile: so it is asked once more, right before it begins.
 */
export class Turns {
  private draining = false;
  private readonly answers = new Map<string, { until: number; answer: Promise<Control | undefined> }>();

  constructor(
    private readonly slots: Slots,
    private readonly ask: AskControl,
  ) {}

  /** @throws MigrationError `RECALLED`: nothing was begun, and the workflow begins it again when it may be */
  async take<T>({ migration, what, host, limit, aborting }: Turn, work: () => Promise<T>): Promise<T> {
    return this.slots.run(keyOf(what, host), limit, work, async () => {
      if (this.draining) throw new MigrationError('RECALLED', 'the worker was told to stop: this was not begun, and is by another');
      const now = await this.control(migration);
      if (now === undefined) return undefined;
      if (now.aborting && aborting !== true) throw new MigrationError('RECALLED', 'the migration is aborted: this was not begun');
      if (now.paused && !now.aborting) throw new MigrationError('RECALLED', 'the migration is paused: this was not begun, and is when it goes on');
      return now.limits[limitOf(what)];
    });
  }

  /** From now on nothing begins here any more; what has begun ends. */
  drain(): void {
    this.draining = true;
  }

  /** The same for what belongs to something that was begun, which is finished whatever was said since. */
  async finish<T>({ what, host, limit }: Turn, work: () => Promise<T>): Promise<T> {
    return this.slots.run(keyOf(what, host), limit, work);
  }

  private async control(migration: string): Promise<Control | undefined> {
    const known = this.answers.get(migration);
    if (known !== undefined && Date.now() < known.until) return known.answer;
    const entry = { until: Infinity, answer: this.ask(migration).catch(() => undefined) };
    this.answers.set(migration, entry);
    const answer = await entry.answer;
    entry.until = Date.now() + (answer === undefined ? SILENT_MS : FRESH_MS);
    return answer;
  }
}

function keyOf(what: Turn['what'], host: string | undefined): string {
  return host === undefined ? what : `${what} ${host}`;
}

/** Tables are attached as many at a time as they are restored. */
function limitOf(what: Turn['what']): keyof ParallelSpec {
  return what === 'attach' ? 'restore' : what;
}
