import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  patched,
} from '@temporalio/workflow';

import type { FinishInput, FinishOutcome, PreflightOutcome } from '../activities/types';
import { withRequest } from '../config/skips';
import type { ReplicatedTable } from '../domain/inventory';
import { type HostSpec, PHASES, type Phase, secretVariables } from '../domain/spec';
import type { StatusCounts } from '../domain/status';
import type { Finding, MigrationSummary, Stage } from '../domain/summary';
import { type Held, registerHandlers } from './handlers';
import { inspectActivities, tableActivities } from './activities';
import { HostScopes, inScopes } from './host-scopes';
import type { MigrationInput } from './messages';
import { Mirror } from './mirror';
import { Phases } from './phases';
import { failureOf, type Pass, type PassEnd, Runner } from './runner';
import { MigrationState } from './state';
import { hostTarget, moves, zookeeperTarget } from './targets';

/** Planned tables in one payload: some 300 bytes each, and 2 MB are the limit. */
const PLANNED_A_PAGE = 2_000;

/** Aborts that began before left out what a retry had left out. */
const ABORT_TAKES_ALL = 'an abort takes along what a retry left out';
/** Until then a pause did not hold up the inventory, a take-over and the finish. */
const PAUSE_HOLDS_ALL = 'a pause holds up what begins beside the tables';
/** Merges were not stopped right after the ATTACH of a take-over. */
const LET_GO = 'take-over-lets-go';
/** Migrations that began before the inventory was listed at the beginning go on without. */
const LISTED_FIRST = 'the whole inventory is listed before detach';

const STAGES: readonly Stage[] = ['preflight', ...PHASES, 'finish'];

/**
 * A migration: preflight → detach → clean → restart → restore with proof → finish. A dry run ends after the preflight. The sequence is
 * here; what is decided is in `domain/`, what is done in the activities.
 */
export async function migrate(input: MigrationInput): Promise<MigrationSummary> {
  const migration = new Migration(input);
  return CancellationScope.nonCancellable(() => migration.run());
}

/** A pass over the tables that are on none but these hosts. */
function onHosts(pass: Pass, hosts: readonly HostSpec[]): Pass {
  const names = new Set(hosts.map(({ name }) => name));
  return { ...pass, pick: (table) => (table.replicas.every(({ host }) => names.has(host)) ? pass.pick(table) : []) };
}

function looseEnd({ host, db, table, what }: FinishOutcome['loose'][number]): Finding {
  switch (what) {
    case 'not attached':
      return { code: 'NOT_ATTACHED', host, db, table, message: 'it is not attached now', fix: 'ATTACH it, unless somebody dropped or detached it on purpose' };
    case 'not replicated':
      return { code: 'NOT_REPLICATED', host, db, table, message: 'it is a plain table, as it was for a moment when it was left out: what is written to it reaches no other replica', fix: 'DETACH it, delete its replica from ZooKeeper where it is registered (zookeeper_path in _ch_zk_migrate.inventory), ATTACH TABLE … AS REPLICATED while default_replica_path of its server gives that path, then SYSTEM RESTORE REPLICA' };
    case 'without metadata':
      return { code: 'LEFT_READONLY', host, db, table, message: 'it was left out after its metadata had gone, and is readonly', fix: 'SYSTEM RESTORE REPLICA, replica by replica, when it is as it should be; or a migration in place' };
    case 'readonly':
      return { code: 'LEFT_READONLY', host, db, table, message: 'it is attached again with its rows, and readonly: nothing can be written to it', fix: 'see zookeeper_exception in system.replicas; where its metadata had gone before: a migration in place' };
    case 'restored and readonly':
      return { code: 'LEFT_READONLY', host, db, table, message: 'it was restored and proved, and is readonly since: nothing can be written to it', fix: 'see zookeeper_exception in system.replicas, and whether its server is at the place where it was restored; where its metadata is gone: a migration in place' };
    case 'without merges':
      return { code: 'LEFT_WITHOUT_MERGES', host, db, table, message: 'it was left out before every part of its table was proved to have its zero-copy lock: merges, moves and the removal of old parts are stopped until its server starts again', fix: 'SYSTEM START MERGES, START MOVES and START CLEANUP, when every active part of every replica has its lock; see docs/zero-copy.md' };
    default:
      return what satisfies never;
  }
}

/** A host that never left its place, and may be configured for another one. */
function begunToMove({ host, from, to }: NonNullable<FinishOutcome['begun']>[number]): Finding {
  return {
    code: 'HOST_RECONFIGURED',
    host,
    message: `it runs on ${from} as before, and its restart on ${to} was begun: its configuration may name that, and after its next start every replicated table would be readonly`,
    fix: `see that its configuration names ${from} before anything restarts it`,
  };
}

/** What the preflight said of locks that it leaves alone is looked at once more at the end. */
const SAID_AGAIN: readonly string[] = ['ZERO_COPY_LEAKED', 'ZERO_COPY_FOREIGN'];
/** The same of blobs. */
const BLOBS_SAID_AGAIN: readonly string[] = ['ZERO_COPY_BLOBS_LEAKED', 'ZERO_COPY_BLOBS_UNKNOWN'];

function locksLeft({ host, db, table, nobody, outside, names }: NonNullable<FinishOutcome['locks']>[number]): Finding {
  const counts = [...(nobody === 0 ? [] : [`${nobody} zero-copy locks of nobody`]), ...(outside === 0 ? [] : [`${outside} zero-copy locks of replicas outside the migration`])];
  return {
    code: 'ZERO_COPY_LEFT',
    host,
    db,
    table,
    message: `${counts.join(' and ')} are where they were: ${names.join(', ')}${nobody + outside > names.length ? ', …' : ''}`,
    fix: 'left alone: the servers never delete the blobs of locks of nobody; remove one by hand once you know that no server has its blob, see docs/zero-copy.md',
  };
}

/** Nothing where there were none, and are none. */
function blobsLeft(left: NonNullable<FinishOutcome['blobs']>): Finding[] {
  if ('fault' in left) {
    const message = `whether there are blobs that no host names is not known: ${left.fault}${left.before === undefined ? '' : ` (before the migration there were ${left.before})`}`;
    return [{ code: 'ZERO_COPY_BLOBS_UNKNOWN', host: '', message, fix: 'nothing else depends on it; to try the command, run it where the worker runs, as the user that it has' }];
  }
  const { blobs, listed, before, names } = left;
  if (blobs === 0 && (before ?? 0) === 0) return [];
  const some = names.length === 0 ? '' : `: ${names.join(', ')}${blobs > names.length ? ', …' : ''}`;
  return [
    {
      code: 'ZERO_COPY_BLOBS_LEFT',
      host: '',
      message: `${blobs} of ${listed} listed blobs are named by no file of any host (${before === undefined ? 'how many there were before is not known' : `before the migration there were ${before}`})${some}`,
      fix: 'left alone: they are nobody\'s, or of a server outside the spec, or of a part that is being written; see docs/zero-copy.md before you remove any',
    },
  ];
}

function namesOf(hosts: readonly HostSpec[]): string {
  return hosts.map(({ name }) => name).join(', ');
}

function isPhase(stage: Stage): stage is Phase {
  return (PHASES as readonly Stage[]).includes(stage);
}

const now = (): string => new Date().toISOString();

class Migration {
  private readonly state: MigrationState;
  private readonly held: Held = { holding: false, request: undefined };
  private readonly mirror: Mirror;
  private readonly scopes = new HostScopes();
  private readonly inspect = inScopes(inspectActivities, this.scopes);
  private runner: Runner;
  private phases: Phases;
  private hostsDone: string[] = [];
  /** The first stage to run; after a hold the phases run again from the first, and what is proved is passed by. */
  private from: Stage;
  /** An abort broke off with something that is no table's. */
  private broken = false;
  /** The run before this one was full in the middle of an abort: it is not begun anew. */
  private abortGoesOn: boolean;
  /** Passes of an abort that are through. */
  private abortDone: string[] = [];
  /** Blobs that no host named at the preflight. */
  private unnamedBlobs: number | undefined;

  constructor(private readonly input: MigrationInput) {
    this.state = new MigrationState(input, now());
    registerHandlers(this.state, this.held);
    this.from = input.carried?.stage ?? 'preflight';
    this.abortGoesOn = input.carried?.abortBegun === true;
    this.mirror = new Mirror(this.state);
    this.runner = new Runner(this.state, this.scopes);
    this.phases = new Phases(this.state, this.runner, this.scopes);
  }

  async run(): Promise<MigrationSummary> {
    this.abortOnCancellation();
    void this.giveUpHosts();
    this.mirror.start();
    if (!this.input.execute) return this.dryRun();
    if (this.input.carried === undefined) await this.begin();
    let after = this.input.carried?.after;
    this.hostsDone = [...(this.input.carried?.hostsDone ?? [])];
    for (;;) {
      const without = this.state.withoutHosts.length;
      const failed = await this.attempt(after);
      after = undefined;
      const fewer = this.state.withoutHosts.length > without;
      if (fewer || (this.state.aborting && this.state.outcome !== 'aborted' && !this.broken)) continue;
      if (!failed) return this.end();
      if (!(await this.hold())) break;
      this.hostsDone = [];
    }
    return this.fail();
  }

  /** True when something failed. What a host that is left out was needed for breaks off, and is begun again without it. */
  private async attempt(after: string | undefined): Promise<boolean> {
    const without = this.state.withoutHosts.length;
    const { aborting } = this.state;
    this.broken = false;
    try {
      return aborting ? await this.abort() : await this.migrate(after);
    } catch (error) {
      if (isCancellation(error) && this.state.withoutHosts.length > without) return false;
      if (!(error instanceof ActivityFailure)) throw error;
      // No table's work, such as reading a page of the inventory: it fails the migration as a table does, with all that belongs to it.
      const { code, message } = failureOf(error);
      this.state.fail({ host: '', database: '', table: '' }, code, message);
      this.broken = aborting;
      return true;
    } finally {
      await this.runner.lanes.drained();
    }
  }

  /** Whatever is under way on a host is given up when an abort leaves the host out. */
  private async giveUpHosts(): Promise<void> {
    for (let done = 0; ; done = this.state.withoutHosts.length) {
      await condition(() => this.state.withoutHosts.length > done);
      for (const host of this.state.withoutHosts.slice(done)) this.scopes.giveUp(host);
    }
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
    const { known } = await this.orFail(() => this.without(() => this.preflight()));
    // Of a migration that has begun nothing stands against going on, but that a host is missing.
    if (known) {
      this.state.refusals = this.state.refusals.filter(({ code }) => code === 'HOST_MISSING');
      this.state.refusalsNotShown = 0;
    }
    if (this.state.refusals.length > 0) await this.refuse();
    await this.whilePaused();
    if (this.state.spec.takeOver !== undefined) await this.attachTakenOver(known);
    await this.whilePaused();
    const takesOver = this.state.spec.takeOver !== undefined && !known && patched(LET_GO);
    const frozen = await this.orLetGo(takesOver, () =>
      this.without(() =>
        this.inspect.freezeInventory.executeWithOptions(
          { summary: 'freeze the inventory on the hosts', taskQueue: this.state.spec.taskQueue },
          [{ spec: this.state.reachable, ...this.leftOutHosts(), ...(this.unnamedBlobs === undefined ? {} : { unnamedBlobs: this.unnamedBlobs }) }],
        ),
      ),
    );
    this.state.frozen = true;
    Object.assign(this.state, { replicas: frozen.replicas, tables: frozen.tables, perHost: { ...frozen.perHost }, counts: frozen.counts });
    if (frozen.resumed) this.state.decide("went on from what the hosts' own tables say", undefined, now());
    await this.whilePaused();
    if (this.state.spec.takeOver !== undefined) await this.judgeTakenOver();
  }

  /** What begins beside the phases' tables does not begin while the migration is paused. */
  private async whilePaused(): Promise<void> {
    if (this.state.paused && patched(PAUSE_HOLDS_ALL)) await this.resumed();
  }

  /** The migration is not paused, or aborted, which is not held up. */
  private async resumed(): Promise<void> {
    await condition(() => !this.state.paused || this.state.aborting);
  }

  private leftOutHosts(): { readonly withoutHosts?: readonly string[] } {
    return this.state.withoutHosts.length === 0 ? {} : { withoutHosts: this.state.withoutHosts };
  }

  /** What a host that an abort leaves out was needed for is begun again without it. */
  private async without<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      const { length } = this.state.withoutHosts;
      try {
        return await work();
      } catch (error) {
        if (!isCancellation(error) || this.state.withoutHosts.length === length) throw error;
      }
    }
  }

  /** An activity without which nothing can begin: when it fails, the migration has failed. */
  private async orFail<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const { code, message } = failureOf(error);
      this.state.fail({ host: '', database: '', table: '' }, code, message);
      return this.fail();
    }
  }

  /** What the status file names is attached to be read, and looked at once more before anything is held. */
  private async attachTakenOver(known: boolean): Promise<void> {
    const { spec } = this.state;
    const letsGo = patched(LET_GO);
    const taken = await this.orLetGo(letsGo && !known, async () => {
      const attached = await tableActivities.attachTakenOver.executeWithOptions({ summary: `attach what ${spec.takeOver?.file ?? ''} names`, taskQueue: spec.taskQueue }, [
        { spec },
      ]);
      // An attempt before may have attached some, and this one found them attached.
      if (attached.attached > 0 || letsGo) await this.preflight();
      return attached;
    });
    this.state.refusals = [...taken.refusals, ...(known ? [] : this.state.refusals)];
    if (this.state.refusals.length === 0) return;
    if (letsGo) await this.orFail(() => this.letGo());
    await this.refuse(taken.attached);
  }

  /** As {@link orFail}; what was stopped to be read goes on again first. */
  private async orLetGo<T>(lets: boolean, work: () => Promise<T>): Promise<T> {
    return this.orFail(async () => {
      try {
        return await work();
      } catch (error) {
        if (lets) await this.letGo().catch(() => undefined);
        throw error;
      }
    });
  }

  private async letGo(): Promise<void> {
    const { spec } = this.state;
    await tableActivities.attachTakenOver.executeWithOptions({ summary: 'start the merges of what was attached', taskQueue: spec.taskQueue }, [{ spec, letGo: true }]);
  }

  /** Saves the manifests of what the status file names, and goes on from what it was found to be. */
  private async judgeTakenOver(): Promise<void> {
    const { spec } = this.state;
    const judged = await this.orFail(() =>
      tableActivities.judgeTakenOver.executeWithOptions(
        { summary: `save the manifests of what ${spec.takeOver?.file ?? ''} names, and judge it`, taskQueue: spec.taskQueue },
        [{ spec }],
      ),
    );
    this.state.counts = judged.counts;
    for (const words of judged.words) this.state.decide(words, undefined, now());
  }

  private async preflight(page?: { offset: number; limit: number }): Promise<PreflightOutcome> {
    const { reachable: spec } = this.state;
    const outcome = await this.inspect.preflight.executeWithOptions({ summary: `preflight of ${spec.hosts.length} hosts`, taskQueue: spec.taskQueue }, [
      { spec, ...(page === undefined ? {} : { page }), ...(this.input.resume === undefined ? {} : { goesOn: true }), ...this.leftOutHosts() },
    ]);
    Object.assign(this.state, { replicas: outcome.replicas, tables: outcome.tables, perHost: { ...outcome.perHost } });
    this.unnamedBlobs = outcome.unnamedBlobs;
    this.state.refusals = [...outcome.refusals];
    this.state.warnings = [...outcome.warnings];
    this.state.refusalsNotShown = outcome.refusalsTotal - outcome.refusals.length;
    this.state.warningsNotShown = outcome.warningsTotal - outcome.warnings.length;
    this.state.touch();
    return outcome;
  }

  private async refuse(attached = 0): Promise<never> {
    const list = this.state.refusals.map(({ code, host, db, table, message, fix }) => {
      const what = [host, db === undefined ? '' : `${db}.${table ?? ''}`].filter((word) => word !== '').join(' ');
      return `- ${code} ${what}: ${message}\n  ${fix}`;
    });
    this.state.outcome = 'failed';
    this.state.leave(now());
    await this.close();
    if (this.state.refusalsNotShown > 0) list.push(`- and ${this.state.refusalsNotShown} more: ch-zk-migrate plan lists all`);
    const nothing = this.input.resume === undefined ? 'nothing was changed' : 'this run changed nothing, and what the one before it had begun stands as it was';
    const changed = attached === 0 ? nothing : `${attached} tables were attached to be read, and nothing else was changed`;
    throw ApplicationFailure.nonRetryable(`preflight refuses, ${changed}:\n${list.join('\n')}`, 'PREFLIGHT_REFUSED', this.state.refusals);
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
        // What is not listed here would be missing in the status file until its turn comes, and for ever where the migration stops before.
        return patched(LISTED_FIRST) ? this.pass(() => this.runner.run(this.phases.list(), after)) : { end: 'done' };
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
      await this.resumed();
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

  /**
   * A pass of an abort, by a name of its own. Where the history is full in the middle of it, the next run passes by those that are through,
   * and goes on with this one where it was: reading a large inventory fills a history too.
   */
  private async abortPass(name: string, pass: () => Pass): Promise<void> {
    if (this.abortDone.includes(name)) return;
    const after = this.state.abortAt?.pass === name ? this.state.abortAt.after : undefined;
    await this.pass(async () => {
      const end = await this.runner.run(pass(), after);
      if (end.end === 'full') this.state.abortAt = { done: this.abortDone, pass: name, ...(end.after === undefined ? {} : { after: end.after }) };
      return end;
    });
    this.abortDone.push(name);
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
    await this.resumed();
  }

  /** Stops, and leaves no table detached. True when something failed on the way. */
  private async abort(): Promise<boolean> {
    this.state.paused = false;
    this.state.waiting = null;
    // What failed in the run before has failed, and is not tried again in each run that follows.
    this.state.givenUp = this.abortGoesOn;
    this.state.abortAt = this.abortGoesOn ? this.input.carried?.abortAt : undefined;
    this.abortDone = [...(this.state.abortAt?.done ?? [])];
    this.abortGoesOn = false;
    this.state.abortBegun = true;
    if (!this.state.givenUp) this.state.clearFailures();
    this.state.progress = {};
    // What a retry left out, or did not take, is no less detached.
    if ((this.state.skip.length > 0 || this.state.only.length > 0) && patched(ABORT_TAKES_ALL)) {
      this.state.only = [];
      this.state.skip = [];
    }
    this.rebuildRunner();
    this.state.outcome = 'running';
    this.state.touch();
    if (this.state.spec.newPath !== undefined) {
      await this.abortPaths();
    } else if (this.state.spec.clean !== 'before-restore') {
      await this.abortKept();
    } else if ((await this.phases.located()).some((on) => on === 'after')) {
      await this.carryAlong();
      await this.restartForward(this.state.reachable.hosts);
      await this.abortPass('restore', () => ({ ...this.phases.restore('after'), regardless: true }));
    } else {
      await this.abortPass('finish cleaning', () => this.phases.finishCleaning());
      await this.abortPass('give back', () => this.phases.giveBack());
      await this.abortPass('rebuild', () => this.phases.rebuild());
    }
    this.state.outcome = 'aborted';
    return this.state.failuresTotal > 0;
  }

  /**
   * The old metadata was kept: hosts go back to it, unless a table of theirs had its RESTORE begun (its parts have new names, which the
   * old metadata does not know). Those are brought to their end at the new place.
   */
  private async abortKept(): Promise<void> {
    const { hosts, clean, wave } = this.state.reachable;
    const back = await this.phases.returning();
    const ahead = hosts.filter((host) => !back.includes(host));
    this.state.decide(
      [
        ...(back.length === 0 ? [] : [`abort returns ${namesOf(back)} to the old place`]),
        ...(ahead.length === 0 ? [] : [`abort goes forward on ${namesOf(ahead)}: a RESTORE was begun there, or no way leads back`]),
      ].join('; '),
      undefined,
      now(),
    );
    if (back.length > 0) {
      this.state.enter('restart', now());
      for (let at = 0; at < back.length; at += wave) {
        await Promise.all(back.slice(at, at + wave).map((host) => this.phases.returnHost(host)));
      }
      const there = back.filter(({ name }) => !this.state.failedHosts.has(name));
      await this.abortPass('give back', () => onHosts(this.phases.giveBack(), there));
      await this.abortPass('rebuild', () => onHosts(this.phases.rebuild(), there));
    }
    if (ahead.length === 0) return;
    await this.carryAlong(ahead);
    await this.restartForward(ahead);
    await this.abortPass('restore', () => onHosts({ ...this.phases.restore('after'), regardless: true }, ahead));
    if (clean === 'after-verify' && this.state.failuresTotal === 0) {
      await this.abortPass('delete old', () => onHosts({ ...this.phases.deleteOld(), regardless: true }, ahead));
    }
  }

  /**
   * Tables were on their way to other paths: one whose conversion was begun goes on (only `default_replica_path` gives a path, and it names
   * the new one), the others are as they were.
   */
  private async abortPaths(): Promise<void> {
    const { hosts, clean } = this.state.spec;
    const begun = (table: ReplicatedTable): boolean => table.replicas.some(({ moved }) => moved === true);
    const ahead = (pass: Pass): Pass => ({ ...pass, regardless: true, pick: (table) => (begun(table) ? pass.pick(table) : []) });
    const back = (pass: Pass): Pass => ({ ...pass, pick: (table) => (begun(table) ? [] : pass.pick(table)) });
    await this.abortPass('finish cleaning', () => back(this.phases.finishCleaning()));
    await this.abortPass('give back', () => back(this.phases.giveBack()));
    await this.abortPass('rebuild', () => back(this.phases.rebuild()));
    for (const { name } of hosts) {
      // A page of all hosts: a replica that was not begun goes on too where another of its path was.
      const { host: _all, ...attach } = this.phases.attach(name);
      await this.abortPass(`attach ${name}`, () => ahead({ ...attach, pick: (table) => attach.pick(table).filter(({ host }) => host === name) }));
    }
    await this.abortPass('restore', () => ahead(this.phases.restore('after')));
    if (clean === 'after-verify' && this.state.failuresTotal === 0) await this.abortPass('delete old', () => ahead(this.phases.deleteOld()));
  }

  /** What has not come as far as its host, or was left out until now: a host that moves takes everything along. */
  private async carryAlong(hosts?: readonly HostSpec[]): Promise<void> {
    this.state.only = [];
    this.state.skip = [];
    this.rebuildRunner();
    const along = (pass: Pass): Pass => ({ ...(hosts === undefined ? pass : onHosts(pass, hosts)), regardless: true });
    for (const phase of ['detach', 'clean'] as const) {
      this.state.enter(phase, now());
      await this.abortPass(phase, () => along(this.phases[phase]()));
    }
  }

  /** From the new place abort goes forward, it never pretends to go back. */
  private async restartForward(hosts: readonly HostSpec[]): Promise<void> {
    this.state.enter('restart', now());
    for (const host of hosts) {
      if (await this.phases.restartHost(host)) {
        await this.abortPass(`attach ${host.name}`, () => ({ ...this.phases.attach(host.name), regardless: true }));
      }
    }
    this.state.enter('restore', now());
  }

  private rebuildRunner(): void {
    this.runner = new Runner(this.state, this.scopes);
    this.phases = new Phases(this.state, this.runner, this.scopes);
  }

  /** Waits for somebody after a failure, where the spec says so. True when it is to be tried again. */
  private async hold(): Promise<boolean> {
    const { holdOnFailureMs, id } = this.state.spec;
    // An abort that broke off is not tried again by itself: what broke it off would do so at once.
    if (holdOnFailureMs === 0 || this.state.outcome === 'aborted' || this.state.aborting) return false;
    this.held.holding = true;
    this.state.waiting = { reason: `${this.failedWords()}: retry, skip or abort (ch-zk-migrate retry ${id})`, gate: null };
    this.state.touch();
    const decided = await condition(() => !this.held.holding || this.state.aborting, holdOnFailureMs);
    this.held.holding = false;
    this.state.waiting = null;
    this.state.touch();
    if (!decided) return false;
    this.state.only = [...(this.held.request?.tables ?? [])];
    this.state.skip = withRequest(this.state.skip, this.held.request ?? {});
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
    const without = this.state.withoutHosts.length;
    this.state.enter('finish', now());
    await this.whilePaused();
    try {
      const finished = await this.inspect.finishMigration.executeWithOptions(
        { summary: 'count what was proved, let go of the replicas', taskQueue: this.state.spec.taskQueue },
        [
          {
            migration: this.state.spec.id,
            hosts: this.state.reachable.hosts.map((host) => hostTarget(host, 'after')),
            before: this.state.reachable.hosts.map((host) => hostTarget(host, 'before')),
            zookeeper: zookeeperTarget(this.state.spec),
            ...this.listing(),
            release: aborted ? 'aborted' : 'completed',
            skip: this.state.skip,
            writable: this.state.spec.verify.writable,
            replicas: this.state.reachable.hosts.reduce((sum, { name }) => sum + (this.state.perHost[name] ?? 0), 0),
          },
        ],
      );
      this.state.counts = this.withHostsLeftOut(finished.counts);
      this.state.warnings = [
        ...this.state.withoutHosts.map((host) => this.leftOutWarning(host)),
        ...this.state.warnings.filter(({ code }) => (finished.locks === undefined || !SAID_AGAIN.includes(code)) && (finished.blobs === undefined || !BLOBS_SAID_AGAIN.includes(code))),
        ...(finished.locks ?? []).map(locksLeft),
        ...(finished.blobs === undefined ? [] : blobsLeft(finished.blobs)),
        ...(finished.begun ?? []).map(begunToMove),
        ...(finished.loose as typeof finished.loose | undefined ?? []).map(looseEnd),
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
      if (isCancellation(error) && this.state.withoutHosts.length > without) return this.end();
      const { code, message } = failureOf(error);
      this.state.fail({ host: '', database: '', table: '' }, code, message);
      return this.fail();
    }
    this.state.leave(now());
    this.state.outcome = aborted ? 'aborted' : 'completed';
    return this.close();
  }

  /** What a host that is left out names is not known, and would count as nobody's. */
  private listing(): Pick<FinishInput, 'listing' | 'secretEnvs'> {
    const { spec, withoutHosts } = this.state;
    return spec.zeroCopy === undefined || withoutHosts.length > 0 ? {} : { listing: spec.zeroCopy.blobs, secretEnvs: secretVariables(spec) };
  }

  /** What is on a host that an abort leaves out is left out with it. */
  private withHostsLeftOut(counts: StatusCounts): StatusCounts {
    const left = this.state.withoutHosts.reduce((sum, host) => sum + (this.state.perHost[host] ?? 0), 0);
    return { ...counts, SKIPPED: counts.SKIPPED + left };
  }

  private leftOutWarning(host: string): Finding {
    return {
      code: 'HOST_LEFT_OUT',
      host,
      message: 'the abort left it out: its tables may be detached, and it holds them for this migration still',
      fix: `should it come back: ch-zk-migrate start SPEC --execute, with this id, takes its tables along again, or says where the others have lived on without it`,
    };
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
      `${words}:\n${list.join('\n')}${more}\nWhen the cause is mended: ch-zk-migrate ${this.state.aborting ? 'abort' : 'retry'} ${id}`,
      'MIGRATION_FAILED',
      this.state.failures,
    );
  }
}
