import {
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  continueAsNew,
} from '@temporalio/workflow';

import type { PreflightOutcome } from '../activities/types';
import { PHASES, type Phase } from '../domain/spec';
import type { MigrationSummary, Stage } from '../domain/summary';
import { type Held, registerHandlers } from './handlers';
import { inspectActivities } from './activities';
import type { MigrationInput } from './messages';
import { Mirror } from './mirror';
import { Phases } from './phases';
import { failureOf, type PassEnd, Runner } from './runner';
import { MigrationState } from './state';
import { hostTarget, moves } from './targets';

/** Planned tables in one payload: some 300 bytes each, and 2 MB are the limit. */
const PLANNED_A_PAGE = 2_000;

const STAGES: readonly Stage[] = ['preflight', ...PHASES, 'finish'];

/**
 * A migration: preflight → detach → clean → restart → restore with proof → finish. A dry run ends after the preflight. The sequence is
 * here; what is decided is in `domain/`, what is done in the activities.
 */
export async function migrate(input: MigrationInput): Promise<MigrationSummary> {
  const migration = new Migration(input);
  return CancellationScope.nonCancellable(() => migration.run());
}

function isPhase(stage: Stage): stage is Phase {
  return (PHASES as readonly Stage[]).includes(stage);
}

const now = (): string => new Date().toISOString();

class Migration {
  private readonly state: MigrationState;
  private readonly held: Held = { holding: false, request: undefined };
  private readonly mirror: Mirror;
  private runner: Runner;
  private phases: Phases;
  private hostsDone: string[] = [];
  /** The first stage to run; after a hold the phases run again from the first, and what is proved is passed by. */
  private from: Stage;

  constructor(private readonly input: MigrationInput) {
    this.state = new MigrationState(input, now());
    registerHandlers(this.state, this.held);
    this.from = input.carried?.stage ?? 'detach';
    this.mirror = new Mirror(this.state);
    this.runner = new Runner(this.state);
    this.phases = new Phases(this.state, this.runner);
  }

  async run(): Promise<MigrationSummary> {
    this.abortOnCancellation();
    this.mirror.start();
    if (!this.input.execute) return this.dryRun();
    if (this.input.carried === undefined) await this.begin();
    let after = this.input.carried?.after;
    this.hostsDone = [...(this.input.carried?.hostsDone ?? [])];
    for (;;) {
      const failed = this.state.aborting ? await this.abort(after) : await this.migrate(after);
      after = undefined;
      if (this.state.aborting && this.state.outcome !== 'aborted') continue;
      if (!failed) return this.end();
      if (!(await this.hold())) break;
      this.hostsDone = [];
    }
    return this.fail();
  }

  /** Cancelling the workflow (a button of the Web UI) means: stop, and leave no table detached. */
  private abortOnCancellation(): void {
    void CancellationScope.current().parent?.cancelRequested.catch(() => {
      this.state.aborting = true;
      this.state.paused = false;
      this.state.decide('abort, by cancelling the workflow', undefined, now());
    });
  }

  private async dryRun(): Promise<MigrationSummary> {
    this.state.enter('preflight', now());
    for (let page: { offset: number; limit: number } | undefined = { offset: 0, limit: PLANNED_A_PAGE }; page !== undefined; ) {
      const { plan } = await this.preflight(page);
      page = plan?.next === undefined ? undefined : { offset: plan.next, limit: PLANNED_A_PAGE };
    }
    this.state.leave(now());
    this.state.outcome = 'completed';
    return this.close();
  }

  /** Preflight, and freeze the inventory. */
  private async begin(): Promise<void> {
    this.state.enter('preflight', now());
    const { known } = await this.preflight();
    if (!known && this.state.refusals.length > 0) await this.refuse();
    try {
      const frozen = await inspectActivities.freezeInventory.executeWithOptions(
        { summary: 'freeze the inventory on the hosts', taskQueue: this.state.spec.taskQueue },
        [{ spec: this.state.spec }],
      );
      this.state.frozen = true;
      Object.assign(this.state, { replicas: frozen.replicas, tables: frozen.tables, perHost: { ...frozen.perHost }, counts: frozen.counts });
      if (frozen.resumed) this.state.decide("went on from what the hosts' own tables say", undefined, now());
    } catch (error) {
      const { code, message } = failureOf(error);
      this.state.fail({ host: '', database: '', table: '' }, code, message);
      await this.fail();
    }
  }

  private async preflight(page?: { offset: number; limit: number }): Promise<PreflightOutcome> {
    const { spec } = this.state;
    const outcome = await inspectActivities.preflight.executeWithOptions({ summary: `preflight of ${spec.hosts.length} hosts`, taskQueue: spec.taskQueue }, [
      { spec, ...(page === undefined ? {} : { page }) },
    ]);
    Object.assign(this.state, { replicas: outcome.replicas, tables: outcome.tables, perHost: { ...outcome.perHost } });
    this.state.refusals = [...outcome.refusals];
    this.state.warnings = [...outcome.warnings];
    this.state.touch();
    return outcome;
  }

  private async refuse(): Promise<never> {
    const list = this.state.refusals.map(({ code, host, db, table, message, fix }) => {
      const what = [host, db === undefined ? '' : `${db}.${table ?? ''}`].filter((word) => word !== '').join(' ');
      return `- ${code} ${what}: ${message}\n  ${fix}`;
    });
    this.state.outcome = 'failed';
    this.state.leave(now());
    await this.close();
    throw ApplicationFailure.nonRetryable(`preflight refuses, nothing was changed:\n${list.join('\n')}`, 'PREFLIGHT_REFUSED', this.state.refusals);
  }

  /** The phases, from the one the run is at. True when something failed. */
  private async migrate(after: string | undefined): Promise<boolean> {
    let cursor = after;
    for (const stage of STAGES.slice(STAGES.indexOf(this.from))) {
      if (this.state.aborting) return false;
      if (isPhase(stage)) await this.gate(stage);
      if (this.state.aborting) return false;
      this.state.enter(stage, now());
      const end = await this.stage(stage, cursor);
      cursor = undefined;
      if (this.state.aborting) return false;
      if (end.end === 'stopped' || this.stopsAfter(stage)) return true;
      this.state.leave(now());
    }
    return this.state.failuresTotal > 0;
  }

  /** With failures, a migration that moves hosts ends before the restart: a table that stayed behind would be stranded. */
  private stopsAfter(stage: Stage): boolean {
    if (this.state.failuresTotal === 0) return false;
    if (this.state.halted) return true;
    // The last phase that a table can fail in: what comes after is for a migration without failures, and its words would be of `finish`.
    if (stage === 'restore') return true;
    return (stage === 'detach' || stage === 'clean') && this.state.spec.hosts.some(moves);
  }

  private async stage(stage: Stage, after: string | undefined): Promise<PassEnd> {
    switch (stage) {
      case 'preflight':
        return { end: 'done' };
      case 'detach':
        return this.pass(() => this.runner.run(this.phases.detach(), after));
      case 'clean':
        return this.pass(() => this.runner.run(this.phases.clean(), after));
      case 'restart':
        return this.restart(after);
      case 'restore':
        return this.pass(() => this.runner.run(this.phases.restore('after'), after));
      case 'finish':
        return this.state.spec.clean === 'after-verify' && this.state.failuresTotal === 0
          ? this.pass(() => this.runner.run(this.phases.deleteOld(), after))
          : { end: 'done' };
      default:
        return stage satisfies never;
    }
  }

  /** Restarts the hosts in waves; each is attached to when it is back. */
  private async restart(after: string | undefined): Promise<PassEnd> {
    const { spec } = this.state;
    const hosts = spec.hosts.filter(({ name }) => !this.hostsDone.includes(name));
    let cursor = after;
    while (hosts.length > 0) {
      const wave = hosts.splice(0, cursor === undefined ? spec.wave : 1);
      await condition(() => !this.state.paused || this.state.aborting);
      if (this.state.aborting || this.state.halted) return { end: 'stopped' };
      const back = await Promise.all(wave.map((host) => this.phases.restartHost(host)));
      for (const [index, host] of wave.entries()) {
        if (back[index] !== true) continue;
        const end = await this.pass(() => this.runner.run(this.phases.attach(host.name), cursor));
        cursor = undefined;
        if (end.end === 'stopped') return end;
        this.hostsDone.push(host.name);
      }
      if (this.state.halted) return { end: 'stopped' };
    }
    return { end: 'done' };
  }

  /** A pass that fills the history goes on as new, with nothing in flight. */
  private async pass(run: () => Promise<PassEnd>): Promise<PassEnd> {
    const end = await run();
    if (end.end !== 'full') return end;
    await this.mirror.stop();
    await condition(allHandlersFinished);
    return continueAsNew<typeof migrate>({
      spec: this.input.spec,
      execute: true,
      carried: this.state.carry(end.after, this.hostsDone),
    });
  }

  /** Waits before a phase: while paused, and at its gate until somebody lets it through. */
  private async gate(phase: Phase): Promise<void> {
    const closed = (): boolean => this.state.spec.pauseBefore.includes(phase) && !this.state.approved.includes(phase);
    if (closed()) {
      this.state.waiting = { reason: `at the gate before ${phase}: ch-zk-migrate approve ${this.state.spec.id} ${phase}`, gate: phase };
      this.state.touch();
      await condition(() => !closed() || this.state.aborting);
      this.state.waiting = null;
      this.state.touch();
    }
    if (this.state.paused) await condition(() => !this.state.paused || this.state.aborting);
  }

  /** Stops, and leaves no table detached. True when something failed on the way. */
  private async abort(_after: string | undefined): Promise<boolean> {
    this.state.paused = false;
    this.state.waiting = null;
    this.state.clearFailures();
    this.rebuildRunner();
    this.state.outcome = 'running';
    this.state.touch();
    const forward = (await this.phases.located()).some((on) => on === 'after');
    if (forward) {
      await this.restartForward();
      await this.pass(() => this.runner.run({ ...this.phases.restore('after'), regardless: true }));
    } else {
      await this.pass(() => this.runner.run(this.phases.finishCleaning()));
      await this.pass(() => this.runner.run(this.phases.giveBack()));
      await this.pass(() => this.runner.run(this.phases.rebuild()));
    }
    this.state.outcome = 'aborted';
    return this.state.failuresTotal > 0;
  }

  /** Some hosts are on their new root already: from there on abort goes forward, it never pretends to go back. */
  private async restartForward(): Promise<void> {
    this.state.enter('restart', now());
    for (const host of this.state.spec.hosts) {
      if (await this.phases.restartHost(host)) {
        await this.pass(() => this.runner.run({ ...this.phases.attach(host.name), regardless: true }));
      }
    }
    this.state.enter('restore', now());
  }

  private rebuildRunner(): void {
    this.runner = new Runner(this.state);
    this.phases = new Phases(this.state, this.runner);
  }

  /** Waits for somebody after a failure, where the spec says so. True when it is to be tried again. */
  private async hold(): Promise<boolean> {
    const { holdOnFailureMs, id } = this.state.spec;
    if (holdOnFailureMs === 0 || this.state.outcome === 'aborted') return false;
    this.held.holding = true;
    this.state.waiting = { reason: `${this.failedWords()}: retry, skip or abort (ch-zk-migrate retry ${id})`, gate: null };
    this.state.touch();
    const decided = await condition(() => !this.held.holding || this.state.aborting, holdOnFailureMs);
    this.held.holding = false;
    this.state.waiting = null;
    this.state.touch();
    if (!decided) return false;
    this.state.only = [...(this.held.request?.tables ?? [])];
    this.state.skip = [...this.state.skip, ...(this.held.request?.skip ?? [])];
    this.held.request = undefined;
    this.state.clearFailures();
    this.from = 'detach';
    this.rebuildRunner();
    return true;
  }

  private failedWords(): string {
    return `${this.state.failuresTotal} ${this.state.failuresTotal === 1 ? 'table' : 'tables'} failed in ${this.state.stage}`;
  }

  private async end(): Promise<MigrationSummary> {
    const aborted = this.state.outcome === 'aborted';
    this.state.enter('finish', now());
    try {
      const finished = await inspectActivities.finishMigration.executeWithOptions(
        { summary: 'count what was proved, let go of the replicas', taskQueue: this.state.spec.taskQueue },
        [
          {
            migration: this.state.spec.id,
            hosts: this.state.spec.hosts.map((host) => hostTarget(host, 'after')),
            release: aborted ? 'aborted' : 'completed',
            skip: this.state.skip,
          },
        ],
      );
      this.state.counts = finished.counts;
      this.state.warnings = [
        ...this.state.warnings,
        ...finished.leftovers.map(({ host, db, table, parts, names, onBlobs }) => ({
          code: 'LEFT_IN_DETACHED',
          host,
          db,
          table,
          message: `${parts} part(s) lie in detached/: ${names.join(', ')}${parts > names.length ? ', …' : ''}`,
          fix: onBlobs ? 'left alone; a part dropped from here may take along blobs of active parts: see docs/zero-copy.md' : 'left alone: look at them by hand',
        })),
      ];
    } catch (error) {
      const { code, message } = failureOf(error);
      this.state.fail({ host: '', database: '', table: '' }, code, message);
      return this.fail();
    }
    this.state.leave(now());
    this.state.outcome = aborted ? 'aborted' : 'completed';
    return this.close();
  }

  private async close(): Promise<MigrationSummary> {
    await this.mirror.stop();
    await condition(allHandlersFinished);
    this.mirror.memo();
    await this.mirror.file();
    this.mirror.memo();
    return this.state.summary(now());
  }

  private async fail(): Promise<never> {
    const words = this.failedWords();
    const { id } = this.state.spec;
    const list = this.state.failures.map(({ host, database, table, phase, code, message }) => {
      const what = [host, table === '' ? '' : `${database}.${table}`].filter((word) => word !== '').join(' ');
      return `- ${what} (${phase}) ${code}: ${message}`;
    });
    const more = this.state.failuresTotal > list.length ? `\n… and ${this.state.failuresTotal - list.length} more` : '';
    this.state.outcome = 'failed';
    this.state.leave(now());
    await this.close();
    throw ApplicationFailure.nonRetryable(
      `${words}:\n${list.join('\n')}${more}\nWhen the cause is mended: ch-zk-migrate retry ${id}`,
      'MIGRATION_FAILED',
      this.state.failures,
    );
  }
}
