import type { SkipRule } from '../config/skips';
import { replicaId, type ReplicaRef, type ReplicatedTable } from '../domain/inventory';
import type { FailureType } from '../domain/failure';
import type { ParallelSpec, Phase } from '../domain/spec';
import { moveCount, NO_COUNTS, type ReplicaStatus, type StatusCounts } from '../domain/status';
import {
  type Decision,
  type Finding,
  MAX_DECISIONS_SHOWN,
  MAX_FAILURES_SHOWN,
  MAX_FINDINGS_SHOWN,
  type MigrationSummary,
  type Outcome,
  type PhaseTimes,
  type Stage,
  type TableFailure,
  type Waiting,
} from '../domain/summary';
import type { AbortPosition, CarriedState, MigrationInput, Note } from './messages';

/** More failures than this are not kept one by one: the migration stops, whatever `onFailure` says. */
export const MAX_FAILED_TABLES = 2_000;

/** All that a migration knows of itself: bounded, JSON-safe, and rebuilt by every replay. */
export class MigrationState {
  stage: Stage = 'preflight';
  outcome: Outcome = 'running';
  waiting: Waiting | null = null;
  /** What is to be restarted by hand, in words, by its host. */
  readonly byHand = new Map<string, string>();
  frozen = false;
  replicas = 0;
  tables = 0;
  perHost: Record<string, number> = {};
  counts: StatusCounts = NO_COUNTS;
  failures: TableFailure[] = [];
  failuresTotal = 0;
  readonly failedKeys = new Set<string>();
  readonly failedHosts = new Set<string>();
  phases: PhaseTimes[] = [];
  decisions: Decision[] = [];
  approved: Phase[] = [];
  paused = false;
  pauseReason: string | undefined;
  aborting = false;
  withoutHosts: string[] = [];
  /** An abort goes on in a new run: what failed before is not tried again, and is still a failure in the end. */
  givenUp = false;
  /** An abort has begun its passes. */
  abortBegun = false;
  /** Where the passes of an abort are, when the history is full. */
  abortAt: AbortPosition | undefined;
  limits: ParallelSpec;
  skip: SkipRule[] = [];
  only: string[] = [];
  started: string;
  progress: Record<string, { done: number; failed: number }> = {};
  inFlight = 0;
  statusFileError: string | undefined;
  refusals: Finding[] = [];
  warnings: Finding[] = [];
  /** What the preflight found beyond those. */
  refusalsNotShown = 0;
  warningsNotShown = 0;
  /** Counts the changes, for those who mirror them. */
  changes = 0;

  constructor(
    readonly input: MigrationInput,
    now: string,
  ) {
    this.limits = input.spec.parallel;
    this.started = now;
    if (input.carried !== undefined) this.restoreFrom(input.carried);
    else if (input.resume !== undefined) this.resumeFrom(input.resume, now);
    else this.decisions = input.spec.allowMissingReplicas.map((name) => ({ at: now, what: `the replica "${name}" may be missing (--allow-missing-replica)` }));
  }

  get spec(): MigrationInput['spec'] {
    return this.input.spec;
  }

  /** The spec without the hosts that an abort leaves out. */
  get reachable(): MigrationInput['spec'] {
    if (this.withoutHosts.length === 0) return this.spec;
    return { ...this.spec, hosts: this.spec.hosts.filter(({ name }) => !this.withoutHosts.includes(name)) };
  }

  /** Whether a failure keeps what has not started from starting. */
  get halted(): boolean {
    if (this.failuresTotal === 0 || this.aborting) return false;
    return this.spec.onFailure === 'stop' || this.failedKeys.size > MAX_FAILED_TABLES;
  }

  touch(): void {
    this.changes += 1;
  }

  enter(stage: Stage, now: string): void {
    const last = this.phases.at(-1);
    if (this.stage === stage && last?.phase === stage) {
      this.phases[this.phases.length - 1] = { phase: stage, started: last.started };
      return;
    }
    this.leave(now);
    this.stage = stage;
    this.progress = {};
    this.phases.push({ phase: stage, started: now });
    this.touch();
  }

  leave(now: string): void {
    const last = this.phases.at(-1);
    if (last !== undefined && last.ended === undefined) this.phases[this.phases.length - 1] = { ...last, ended: now };
    this.touch();
  }

  moved(from: ReplicaStatus, to: ReplicaStatus): void {
    this.counts = moveCount(this.counts, from, to);
    this.touch();
  }

  progressed(host: string, how: 'done' | 'failed'): void {
    const entry = this.progress[host] ?? { done: 0, failed: 0 };
    this.progress[host] = { ...entry, [how]: entry[how] + 1 };
    this.touch();
  }

  fail(ref: ReplicaRef, code: FailureType, message: string, table?: ReplicatedTable): void {
    this.failuresTotal += 1;
    if (table !== undefined) this.failedKeys.add(table.key);
    const failure: TableFailure = { ...ref, phase: this.stage, code, message };
    const id = replicaId(ref);
    const others = this.failures.filter((one) => replicaId(one) !== id || one.phase !== this.stage);
    this.failures = [...others, failure].slice(-MAX_FAILURES_SHOWN);
    this.touch();
  }

  clearFailures(): void {
    this.failures = [];
    this.failuresTotal = 0;
    this.failedKeys.clear();
    this.failedHosts.clear();
    this.touch();
  }

  decide(what: string, note: Note | undefined, now: string): void {
    const decision: Decision = {
      at: now,
      what,
      ...(note?.by === undefined ? {} : { by: note.by }),
      ...(note?.reason === undefined ? {} : { reason: note.reason }),
    };
    this.decisions = [...this.decisions, decision].slice(-MAX_DECISIONS_SHOWN);
    this.touch();
  }

  summary(now: string): MigrationSummary {
    const hosts = this.spec.hosts.map(({ name }) => ({
      host: name,
      done: this.progress[name]?.done ?? 0,
      failed: this.progress[name]?.failed ?? 0,
      total: this.perHost[name] ?? 0,
    }));
    const waiting = this.waitingFor();
    return {
      id: this.spec.id,
      executed: this.input.execute,
      phase: this.stage,
      outcome: waiting !== null && this.outcome === 'running' ? 'waiting' : this.outcome,
      waitingFor: waiting,
      frozen: this.frozen,
      replicas: this.replicas,
      tables: this.tables,
      counts: this.counts,
      failures: this.failures,
      failuresTotal: this.failuresTotal,
      started: this.started,
      updated: now,
      phases: this.phases,
      hosts,
      decisions: this.decisions,
      approved: this.approved,
      paused: this.paused,
      aborting: this.aborting,
      ...(this.withoutHosts.length === 0 ? {} : { withoutHosts: this.withoutHosts }),
      limits: this.limits,
      inFlight: this.inFlight,
      statusFile: this.spec.statusFile,
      ...(this.statusFileError === undefined ? {} : { statusFileError: this.statusFileError }),
      refusals: this.refusals.slice(0, MAX_FINDINGS_SHOWN),
      warnings: this.warnings.slice(0, MAX_FINDINGS_SHOWN),
      ...(this.refusalsNotShown === 0 ? {} : { refusalsNotShown: this.refusalsNotShown }),
      ...(this.warningsNotShown === 0 ? {} : { warningsNotShown: this.warningsNotShown }),
    };
  }

  private waitingFor(): Waiting | null {
    if (this.waiting !== null || this.outcome !== 'running') return this.waiting;
    if (this.paused) return { reason: this.pausedWords(), gate: null };
    return this.byHand.size === 0 ? null : { reason: [...this.byHand.values()].join('; '), gate: null };
  }

  private pausedWords(): string {
    const why = this.pauseReason === undefined ? '' : `: ${this.pauseReason}`;
    return this.inFlight > 0 ? `pausing, ${this.inFlight} still run${why}` : `paused${why}`;
  }

  carry(after: string | undefined, hostsDone: readonly string[]): CarriedState {
    return {
      stage: this.stage,
      ...(after === undefined ? {} : { after }),
      hostsDone,
      frozen: this.frozen,
      replicas: this.replicas,
      tables: this.tables,
      perHost: this.perHost,
      counts: this.counts,
      failures: this.failures,
      failuresTotal: this.failuresTotal,
      failedKeys: [...this.failedKeys],
      failedHosts: [...this.failedHosts],
      phases: this.phases,
      decisions: this.decisions,
      approved: this.approved,
      paused: this.paused,
      ...(this.pauseReason === undefined ? {} : { pauseReason: this.pauseReason }),
      aborting: this.aborting,
      ...(this.abortBegun ? { abortBegun: true as const } : {}),
      ...(this.abortAt === undefined ? {} : { abortAt: this.abortAt }),
      ...(this.withoutHosts.length === 0 ? {} : { withoutHosts: this.withoutHosts }),
      limits: this.limits,
      skip: this.skip,
      only: this.only,
      started: this.started,
      progress: this.progress,
      warnings: this.warnings.slice(0, MAX_FINDINGS_SHOWN),
      ...(this.warningsNotShown === 0 ? {} : { warningsNotShown: this.warningsNotShown }),
    };
  }

  private restoreFrom(carried: CarriedState): void {
    this.stage = carried.stage;
    this.frozen = carried.frozen;
    this.replicas = carried.replicas;
    this.tables = carried.tables;
    this.perHost = { ...carried.perHost };
    this.counts = carried.counts;
    this.failures = [...carried.failures];
    this.failuresTotal = carried.failuresTotal;
    for (const key of carried.failedKeys) this.failedKeys.add(key);
    for (const host of carried.failedHosts) this.failedHosts.add(host);
    this.phases = [...carried.phases];
    this.decisions = [...carried.decisions];
    this.approved = [...carried.approved];
    this.paused = carried.paused;
    this.pauseReason = carried.pauseReason;
    this.aborting = carried.aborting;
    this.abortBegun = carried.abortBegun === true;
    this.withoutHosts = [...(carried.withoutHosts ?? [])];
    this.limits = carried.limits;
    this.skip = [...carried.skip];
    this.only = [...carried.only];
    this.started = carried.started;
    this.progress = { ...carried.progress };
    this.warnings = [...carried.warnings];
    this.warningsNotShown = carried.warningsNotShown ?? 0;
  }

  private resumeFrom(resume: NonNullable<MigrationInput['resume']>, now: string): void {
    this.phases = resume.phases.map((phase) => ({ ...phase, ended: phase.ended ?? now }));
    this.decisions = [...resume.decisions];
    this.approved = [...resume.approved];
    this.limits = resume.limits;
    this.started = resume.started;
    this.skip = [...(resume.skip ?? [])];
    this.only = [...(resume.tables ?? [])];
    this.aborting = resume.mode === 'abort';
    this.withoutHosts = [...(resume.withoutHosts ?? [])];
    this.decide(resume.mode === 'abort' ? abortWords(this.withoutHosts) : 'retry', resume, now);
  }
}

/** What is recorded of an abort. */
export function abortWords(withoutHosts: readonly string[]): string {
  return withoutHosts.length === 0 ? 'abort' : `abort, without ${withoutHosts.join(', ')}`;
}
