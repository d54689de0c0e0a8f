import type { MigrationDescription } from '../client/describe';
import type { MigrationSummary, Stage, TableFailure } from '../domain/summary';
import type { ReplicaRecord } from '../history/fold';
import type { StatusFileEntry } from './status-file';
import { statusEntry } from './status-file';

/** What `status --json` prints: the first block is what scripts rely on. */
export interface StatusDocument {
  readonly id: string;
  readonly runId: string;
  readonly phase: Stage;
  readonly outcome: MigrationSummary['outcome'];
  readonly waitingFor: MigrationSummary['waitingFor'];
  readonly counts: MigrationSummary['counts'];
  readonly failures: readonly StatusFailure[];
  readonly started: string;
  readonly updated: string;
  readonly phases: readonly { readonly phase: Stage; readonly started: string; readonly ended: string | null }[];
  /** With `--tables`. */
  readonly replicas?: readonly StatusFileEntry[];

  readonly executed: boolean;
  readonly totals: { readonly replicas: number; readonly tables: number };
  readonly failuresTotal: number;
  /** Why it does not get on: retries, activities that wait, no worker. */
  readonly reasons: readonly string[];
  /** Why the run closed, when it did not complete. */
  readonly closedBecause: string | null;
  readonly hosts: MigrationSummary['hosts'];
  readonly limits: MigrationSummary['limits'];
  readonly paused: boolean;
  readonly aborting: boolean;
  readonly approved: MigrationSummary['approved'];
  readonly decisions: MigrationSummary['decisions'];
  readonly inFlight: number;
  readonly refusals: MigrationSummary['refusals'];
  readonly warnings: MigrationSummary['warnings'];
  /** Where the preflight found more than are listed. */
  readonly refusalsNotShown?: number;
  readonly warningsNotShown?: number;
  readonly statusFile: string;
  readonly statusFileError: string | null;
  readonly ui: string;
}

export interface StatusFailure {
  readonly host: string;
  readonly db: string;
  readonly table: string;
  readonly phase: Stage;
  readonly code: string;
  readonly message: string;
}

export function statusDocument(description: MigrationDescription, ui: string, replicas?: readonly ReplicaRecord[]): StatusDocument {
  const { summary } = description;
  return {
    id: description.id,
    runId: description.runId,
    phase: summary.phase,
    outcome: summary.outcome,
    waitingFor: summary.waitingFor,
    counts: summary.counts,
    failures: summary.failures.map(statusFailure),
    started: summary.started,
    updated: summary.updated,
    phases: summary.phases.map(({ phase, started, ended }) => ({ phase, started, ended: ended ?? null })),
    ...(replicas === undefined ? {} : { replicas: replicas.map(statusEntry) }),
    executed: summary.executed,
    totals: { replicas: summary.replicas, tables: summary.tables },
    failuresTotal: summary.failuresTotal,
    reasons: description.reasons,
    closedBecause: description.closedBecause ?? null,
    hosts: summary.hosts,
    limits: summary.limits,
    paused: summary.paused,
    aborting: summary.aborting,
    approved: summary.approved,
    decisions: summary.decisions,
    inFlight: summary.inFlight,
    refusals: summary.refusals,
    warnings: summary.warnings,
    ...(summary.refusalsNotShown === undefined ? {} : { refusalsNotShown: summary.refusalsNotShown }),
    ...(summary.warningsNotShown === undefined ? {} : { warningsNotShown: summary.warningsNotShown }),
    statusFile: summary.statusFile,
    statusFileError: summary.statusFileError ?? null,
    ui,
  };
}

function statusFailure({ host, database, table, phase, code, message }: TableFailure): StatusFailure {
  return { host, db: database, table, phase, code, message };
}
