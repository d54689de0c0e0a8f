import type { FailureType } from './failure';
import type { ReplicaRef } from './inventory';
import type { Phase, ParallelSpec } from './spec';
import { NO_COUNTS, type StatusCounts } from './status';

/** Where a migration is. `preflight` comes before the phases that have gates, `finish` after them. */
export type Stage = 'preflight' | Phase | 'finish';

export type Outcome = 'running' | 'waiting' | 'completed' | 'failed' | 'aborted';

/** Why nothing goes on; `gate` is the phase that waits to be approved, or null. */
export interface Waiting {
  readonly reason: string;
  readonly gate: Phase | null;
}

export interface TableFailure extends ReplicaRef {
  readonly phase: Stage;
  readonly code: FailureType;
  readonly message: string;
}

export interface PhaseTimes {
  readonly phase: Stage;
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly ended?: string;
}

/** What somebody decided while the migration ran: the audit of gates, pauses, limits, retries. */
export interface Decision {
  readonly at: string;
  readonly what: string;
  readonly by?: string;
  readonly reason?: string;
}

/** How far one host is in the phase that runs. */
export interface HostProgress {
  readonly host: string;
  readonly done: number;
  readonly failed: number;
  /** Replicas (clean: counted with their table) that the phase has to see through on this host. */
  readonly total: number;
}

/** A preflight reason or warning, see cli.md (`plan --json`). */
export interface Finding {
  readonly code: string;
  readonly host: string;
  readonly db?: string;
  readonly table?: string;
  readonly message: string;
  /** What to do about it. */
  readonly fix: string;
}

/**
 * One look at a migration. The workflow keeps it in its memo (brought up to date every few seconds and at every change of phase), so
 * that it can be read without a worker, and after the end. Bounded: lists are cut at the numbers below, totals stay right.
 */
export interface MigrationSummary {
  readonly id: string;
  readonly executed: boolean;
  readonly phase: Stage;
  readonly outcome: Outcome;
  readonly waitingFor: Waiting | null;
  /** Whether the inventory is frozen on the hosts: from here on a new run continues instead of listing again. */
  readonly frozen: boolean;
  readonly replicas: number;
  readonly tables: number;
  readonly counts: StatusCounts;
  readonly failures: readonly TableFailure[];
  readonly failuresTotal: number;
  readonly started: string;
  readonly updated: string;
  readonly phases: readonly PhaseTimes[];
  readonly hosts: readonly HostProgress[];
  readonly decisions: readonly Decision[];
  readonly approved: readonly Phase[];
  readonly paused: boolean;
  readonly aborting: boolean;
  /** Hosts that an abort leaves out, by somebody's word that they are gone for good. */
  readonly withoutHosts?: readonly string[];
  readonly limits: ParallelSpec;
  /** Activities that run or wait for their turn on a worker. */
  readonly inFlight: number;
  readonly statusFile: string;
  /** Why the status file could not be written, when it could not. */
  readonly statusFileError?: string;
  readonly refusals: readonly Finding[];
  readonly warnings: readonly Finding[];
  /** How many the preflight found beyond those listed; absent where all are. */
  readonly refusalsNotShown?: number;
  readonly warningsNotShown?: number;
}

/** The hosts, while a phase counts what is done on them; before and after the phases there is nothing to count. */
export function countedHosts({ hosts, phase }: Pick<MigrationSummary, 'hosts' | 'phase'>): readonly HostProgress[] {
  return phase === 'preflight' || phase === 'finish' ? [] : hosts;
}

/** What is known of a migration before its first task has run. */
export function emptySummary({ id, executed, started }: Pick<MigrationSummary, 'id' | 'executed' | 'started'>): MigrationSummary {
  return {
    id,
    executed,
    phase: 'preflight',
    outcome: 'running',
    waitingFor: null,
    frozen: false,
    replicas: 0,
    tables: 0,
    counts: NO_COUNTS,
    failures: [],
    failuresTotal: 0,
    started,
    updated: started,
    phases: [],
    hosts: [],
    decisions: [],
    approved: [],
    paused: false,
    aborting: false,
    limits: { detach: 0, clean: 0, restore: 0 },
    inFlight: 0,
    statusFile: '',
    refusals: [],
    warnings: [],
  };
}

export const SUMMARY_MEMO_KEY = 'chZkMigrate';
export const MAX_FAILURES_SHOWN = 50;
export const MAX_FINDINGS_SHOWN = 100;
export const MAX_DECISIONS_SHOWN = 100;
