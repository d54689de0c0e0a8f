import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';

import type { SkipRequest, SkipRule } from '../config/skips';
import type { Control } from '../domain/control';
import type { MigrationSpec, Phase } from '../domain/spec';
import type { Finding, MigrationSummary, Stage, TableFailure, PhaseTimes, Decision } from '../domain/summary';
import type { StatusCounts } from '../domain/status';
import type { ParallelSpec } from '../domain/spec';

/** The workflow's type name, also in Temporal's visibility. */
export const WORKFLOW_TYPE = 'migrate';

/** The dry run of a migration has an id of its own. */
export function planWorkflowId(migration: string): string {
  return `${migration}.plan`;
}

/** Who sends a message, and why: both optional, so that an empty payload from the Web UI works too. */
export interface Note {
  readonly by?: string;
  readonly reason?: string;
}

export interface ApproveNote extends Note {
  readonly phase: Phase;
}

export interface AbortNote extends Note {
  /** Hosts that are gone for good: their tables are left out. */
  readonly withoutHosts?: readonly string[];
}

export interface ResumeNote extends Note {
  /**
   * The gate that its sender has seen and means to open, `null` where it means to lift a pause: another gate, reached meanwhile, stays
   * closed. Where it is absent, whatever gate it waits at is opened.
   */
  readonly gate?: Phase | null;
}

export interface SetLimit extends Note {
  /** For example `parallel.restore`. */
  readonly key: string;
  readonly value: number;
}

export interface RetryRequest extends Note, SkipRequest {
  /** Globs on `database.table`: only these are tried again. */
  readonly tables?: readonly string[];
  /** Globs on `database.table`: these are left out on purpose from here on. */
  readonly skip?: readonly string[];
  /** Globs on `database.table`: what earlier retries left out of these is worked on again. */
  readonly unskip?: readonly string[];
}

/** Starts nothing new; what runs finishes. Payload: nothing, or a {@link Note}. */
export const pauseSignal = defineSignal<[Note?]>('pause');
/** Lifts a pause; where the migration is not paused but waits at a gate, lets it through. Payload: nothing, or a {@link ResumeNote}. */
export const resumeSignal = defineSignal<[ResumeNote?]>('resume');
/** Lets one gate through, now or when it is reached. Payload: the phase's name, or an {@link ApproveNote}. */
export const approveSignal = defineSignal<[Phase | ApproveNote]>('approve');
/** Stops, and leaves no table detached. Payload: nothing, or an {@link AbortNote}. */
export const abortSignal = defineSignal<[AbortNote?]>('abort');
/** Changes a limit while it runs. */
export const setLimitUpdate = defineUpdate<ParallelSpec, [SetLimit]>('set');
/** Tries again what failed, while the migration holds after a failure (`holdOnFailure`). */
export const retryUpdate = defineUpdate<{ retried: number }, [RetryRequest | undefined]>('retry');
/** One look. */
export const statusQuery = defineQuery<MigrationSummary>('status');
/** What may begin now: activities ask it right before they begin something. */
export const controlQuery = defineQuery<Control>('control');

export interface AbortPosition {
  readonly done: readonly string[];
  readonly pass: string;
  readonly after?: string;
}

/** What a run carries over into the next (continue-as-new): bounded, see design.md. */
export interface CarriedState {
  readonly stage: Stage;
  /** An abort has begun its passes. Absent in runs of before it was told, whose aborts begin anew. */
  readonly abortBegun?: true;
  /** How far the passes of an abort have come: those that are through, and the one that filled the history, up to a key of the inventory. */
  readonly abortAt?: AbortPosition;
  /** Inventory key up to which the stage is through; for the restart stage, within the host named by `host`. */
  readonly after?: string;
  /** Restart stage: hosts that are through. */
  readonly hostsDone: readonly string[];
  readonly frozen: boolean;
  readonly replicas: number;
  readonly tables: number;
  readonly perHost: Readonly<Record<string, number>>;
  readonly counts: StatusCounts;
  readonly failures: readonly TableFailure[];
  readonly failuresTotal: number;
  /** Tables, by their key in the inventory, that failed and are left out of what follows (`onFailure: continue`). */
  readonly failedKeys: readonly string[];
  readonly failedHosts: readonly string[];
  readonly phases: readonly PhaseTimes[];
  readonly decisions: readonly Decision[];
  readonly approved: readonly Phase[];
  readonly paused: boolean;
  readonly pauseReason?: string;
  readonly aborting: boolean;
  readonly withoutHosts?: readonly string[];
  readonly limits: ParallelSpec;
  readonly skip: readonly SkipRule[];
  /** Globs: only these are worked on; empty means all. */
  readonly only: readonly string[];
  readonly started: string;
  readonly progress: Readonly<Record<string, { done: number; failed: number }>>;
  readonly warnings: readonly Finding[];
  readonly warningsNotShown?: number;
}

/** The workflow's input. */
export interface MigrationInput {
  readonly spec: MigrationSpec;
  readonly execute: boolean;
  /** Set when a run goes on from the one before it in the same chain. */
  readonly carried?: CarriedState;
  /** Set by `retry` and `abort` on a closed migration: what the closed run had, and which run that was. */
  readonly resume?: {
    readonly runId: string;
    readonly mode: 'retry' | 'abort';
    readonly approved: readonly Phase[];
    readonly decisions: readonly Decision[];
    readonly limits: ParallelSpec;
    readonly started: string;
    readonly phases: readonly PhaseTimes[];
    readonly tables?: readonly string[];
    readonly skip?: readonly SkipRule[];
    readonly withoutHosts?: readonly string[];
    readonly by?: string;
    readonly reason?: string;
  };
}
