import type { MigrationDescription } from '../../src/client';
import { NO_COUNTS } from '../../src/domain/status';
import type { MigrationSummary } from '../../src/domain/summary';

export function summary(change: Partial<MigrationSummary>): MigrationSummary {
  const started = '2026-01-01T00:00:00.000Z';
  return {
    id: 'm',
    executed: true,
    phase: 'detach',
    outcome: 'running',
    waitingFor: null,
    frozen: true,
    replicas: 4,
    tables: 2,
    counts: { ...NO_COUNTS, INIT: 4 },
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
    limits: { detach: 8, clean: 8, restore: 8 },
    inFlight: 0,
    statusFile: 'status.yaml',
    refusals: [],
    warnings: [],
    ...change,
  };
}

export function description(change: Partial<MigrationSummary>, more: Partial<MigrationDescription> = {}): MigrationDescription {
  return {
    id: 'm',
    runId: 'r',
    status: 'RUNNING',
    summary: summary(change),
    pendingActivities: [],
    reasons: [],
    taskQueue: 'q',
    memo: {},
    runStarted: '2026-01-01T00:00:00.000Z',
    ...more,
  };
}
