/** What the report tells, gathered from the history: plain data, also `report --json`. Pure. */
import { replicaId } from '../domain/inventory';
import type { Finding, MigrationSummary, TableFailure } from '../domain/summary';
import type { ActivityRecord, MessageRecord, RunRecord } from '../history/audit';
import type { HistoryView } from '../history/read';
import type { StatusFileEntry } from './status-file';
import { statusEntry } from './status-file';

export const TIMED_PHASES = ['detach', 'clean', 'restart', 'restore', 'abort'] as const;
export type TimedPhase = (typeof TIMED_PHASES)[number];

export interface ReportData {
  readonly id: string;
  readonly runId: string;
  readonly ui: string;
  readonly generated: string;
  readonly executed: boolean;
  readonly phase: MigrationSummary['phase'];
  readonly outcome: MigrationSummary['outcome'];
  readonly closedBecause?: string;
  readonly waitingFor: MigrationSummary['waitingFor'];
  readonly started: string;
  readonly ended?: string;
  readonly counts: MigrationSummary['counts'];
  readonly totals: { readonly replicas: number; readonly tables: number; readonly rows: number; readonly parts: number };
  readonly phases: MigrationSummary['phases'];
  readonly statistics: readonly PhaseStatistics[];
  readonly tables: readonly ReportTable[];
  readonly failures: readonly ReportFailure[];
  /** What the migration itself keeps as failed (bounded there). */
  readonly failed: readonly TableFailure[];
  readonly failuresTotal: number;
  readonly restarts: readonly ActivityRecord[];
  /** Who did what: runs begun, messages received. */
  readonly decisions: readonly ReportDecision[];
  readonly runs: readonly RunRecord[];
  readonly activities: readonly ActivityRecord[];
  readonly refusals: readonly Finding[];
  readonly warnings: readonly Finding[];
  readonly skipped: readonly string[];
  readonly gone?: string;
}

export interface ReportTable extends StatusFileEntry {
  readonly note?: string;
  /** Milliseconds that statements of a phase took, all attempts that succeeded together. */
  readonly durationsMs: Partial<Record<TimedPhase, number>>;
  readonly attempts: number;
}

export interface PhaseStatistics {
  readonly phase: TimedPhase;
  readonly activities: number;
  readonly medianMs: number;
  readonly p95Ms: number;
  readonly longestMs: number;
  readonly longest: string;
}

export interface ReportFailure {
  readonly at: string;
  readonly activity: string;
  readonly where: string;
  readonly code: string;
  readonly message: string;
  readonly attempts: number;
  /** Whether it was the end of the activity, or another attempt followed. */
  readonly final: boolean;
}

export interface ReportDecision {
  readonly at: string;
  readonly what: string;
  readonly by?: string;
  readonly reason?: string;
}

export function reportData(view: HistoryView, options: { readonly ui: string; readonly now: Date }): ReportData {
  const { summary, replicas, audit = { runs: [], activities: [], messages: [] } } = view;
  const { activities, runs, messages } = audit;
  const over = summary.outcome !== 'running' && summary.outcome !== 'waiting';
  return {
    id: view.id,
    runId: view.runId,
    ui: options.ui,
    generated: options.now.toISOString(),
    executed: summary.executed,
    phase: summary.phase,
    outcome: summary.outcome,
    waitingFor: summary.waitingFor,
    ...(view.closedBecause === undefined ? {} : { closedBecause: view.closedBecause }),
    started: runs[0]?.started ?? summary.started,
    ...(over ? { ended: runs.at(-1)?.ended ?? summary.updated } : {}),
    counts: summary.counts,
    totals: {
      replicas: summary.replicas,
      tables: summary.tables,
      rows: sum(replicas.map(({ rows }) => rows)),
      parts: sum(replicas.map(({ parts }) => parts)),
    },
    phases: summary.phases,
    statistics: TIMED_PHASES.flatMap((phase) => statistics(phase, activities)),
    tables: tables(view, activities),
    failures: activities.flatMap(failuresOf),
    failed: summary.failures,
    failuresTotal: summary.failuresTotal,
    restarts: activities.filter(({ activity }) => activity === 'restartHost'),
    decisions: decisions(runs, messages, summary),
    runs,
    activities,
    refusals: summary.refusals,
    warnings: summary.warnings,
    skipped: view.skipped,
    ...(view.gone === undefined ? {} : { gone: view.gone }),
  };
}

/** Milliseconds from the last attempt's start to the end. */
export function activityMs({ started, scheduled, ended }: ActivityRecord): number {
  return Math.max(0, Date.parse(ended) - Date.parse(started ?? scheduled));
}

/** The replicas of an activity, or its host, in words. */
export function activityLabel({ replicas, host, activity }: ActivityRecord): string {
  const [first] = replicas;
  if (first === undefined) return host ?? activity;
  const name = `${first.database}.${first.table}`;
  return replicas.length === 1 ? `${first.host} ${name}` : `${name} on ${replicas.map((replica) => replica.host).join(', ')}`;
}

function tables({ replicas }: HistoryView, activities: readonly ActivityRecord[]): ReportTable[] {
  const spent = new Map<string, { durationsMs: Partial<Record<TimedPhase, number>>; attempts: number }>();
  for (const activity of activities) {
    for (const ref of activity.replicas) {
      const id = replicaId(ref);
      const entry = spent.get(id) ?? { durationsMs: {}, attempts: 0 };
      spent.set(id, entry);
      entry.attempts = Math.max(entry.attempts, activity.attempts);
      if (activity.outcome !== 'completed' || !isTimed(activity.phase)) continue;
      entry.durationsMs[activity.phase] = (entry.durationsMs[activity.phase] ?? 0) + activityMs(activity);
    }
  }
  return replicas.map((record) => ({
    ...statusEntry(record),
    ...(record.note === undefined ? {} : { note: record.note }),
    ...(spent.get(replicaId(record)) ?? { durationsMs: {}, attempts: 0 }),
  }));
}

function statistics(phase: TimedPhase, activities: readonly ActivityRecord[]): PhaseStatistics[] {
  const timed = activities
    .filter((activity) => activity.phase === phase && activity.outcome === 'completed')
    .map((activity) => ({ activity, ms: activityMs(activity) }))
    .sort((left, right) => left.ms - right.ms);
  const at = (share: number) => timed[Math.min(timed.length - 1, Math.floor(timed.length * share))]?.ms ?? 0;
  const longest = timed.at(-1);
  if (longest === undefined) return [];
  return [
    {
      phase,
      activities: timed.length,
      medianMs: at(0.5),
      p95Ms: at(0.95),
      longestMs: longest.ms,
      longest: activityLabel(longest.activity),
    },
  ];
}

function failuresOf(activity: ActivityRecord): ReportFailure[] {
  const common = { at: activity.ended, activity: activity.activity, where: activityLabel(activity), attempts: activity.attempts };
  return [
    ...(activity.retriedAfter === undefined ? [] : [{ ...common, ...activity.retriedAfter, final: false }]),
    ...(activity.failure === undefined ? [] : [{ ...common, ...activity.failure, final: true }]),
  ];
}

/** From the history's messages and runs; from the memo, where it knows of something older than the history that is kept. */
function decisions(runs: readonly RunRecord[], messages: readonly MessageRecord[], summary: MigrationSummary): ReportDecision[] {
  const begun = runs.filter((run) => run.as !== 'continued').map(runDecision);
  const seen = [...begun, ...messages.map(messageDecision)];
  const since = runs[0] === undefined ? Infinity : Date.parse(runs[0].started);
  const older = summary.decisions.filter((decision) => Date.parse(decision.at) < since);
  return [...older, ...seen].sort((left, right) => Date.parse(left.at) - Date.parse(right.at));
}

function runDecision({ started, as, by, reason, runId }: RunRecord): ReportDecision {
  return {
    at: started,
    what: `${as === 'start' ? 'started' : as} (run ${runId})`,
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { reason }),
  };
}

function messageDecision({ time, name, payload, identity }: MessageRecord): ReportDecision {
  const said = typeof payload === 'object' && payload !== null ? (payload as Record<string, unknown>) : {};
  const by = typeof said['by'] === 'string' ? said['by'] : identity;
  const reason = typeof said['reason'] === 'string' ? said['reason'] : undefined;
  return {
    at: time,
    what: [name, messageWords(payload, said)].filter((part) => part !== '').join(' '),
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { reason }),
  };
}

function messageWords(payload: unknown, said: Readonly<Record<string, unknown>>): string {
  if (typeof payload === 'string') return payload;
  const rest = Object.entries(said).filter(([key, value]) => key !== 'by' && key !== 'reason' && value !== undefined);
  return rest
    .map(([key, value]) => (key === 'phase' ? String(value) : `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`))
    .join(' ');
}

function isTimed(phase: ActivityRecord['phase']): phase is TimedPhase {
  return (TIMED_PHASES as readonly unknown[]).includes(phase);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
