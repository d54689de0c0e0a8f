/**
 * A small workflow under the real one's name, for tests of the command line: it keeps a summary in the memo, takes every message, and
 * calls activities with inputs and results of the real shapes, but does nothing. It stands in because these tests are about what is
 * read from Temporal; the real workflow has tests of its own. The migration's id says how it behaves: `gate-…` waits before clean,
 * `fail-…` fails in detach in its first run, `hold-…` waits for a retry then, `again-…` continues as new after detach, `refused-…` is refused
 * by its preflight, `blind-…` fails before it knows anything, `real-…` has the real message handlers, is paused, and then waits at a gate.
 */
import { ApplicationFailure, condition, continueAsNew, proxyActivities, setHandler, upsertMemo } from '@temporalio/workflow';

import type { Activities } from '../../src/activities/types';
import { NO_COUNTS } from '../../src/domain/status';
import type { MigrationSummary } from '../../src/domain/summary';
import { SUMMARY_MEMO_KEY } from '../../src/domain/summary';
import type { CarriedState, MigrationInput } from '../../src/workflows/messages';
import { registerHandlers } from '../../src/workflows/handlers';
import { abortSignal, approveSignal, pauseSignal, resumeSignal, retryUpdate, setLimitUpdate } from '../../src/workflows/messages';
import { MigrationState } from '../../src/workflows/state';

type Fakes = Pick<Activities, 'loadPage' | 'detachReplica' | 'cleanTable' | 'restoreReplica'>;

export async function migrate(input: MigrationInput): Promise<void> {
  const { spec, carried, resume } = input;
  const has = (word: string) => spec.id.startsWith(`${word}-`);
  const { loadPage, detachReplica, cleanTable, restoreReplica } = proxyActivities<Fakes>({
    startToCloseTimeout: '1m',
    retry: { initialInterval: '100ms', maximumAttempts: has('stuck') ? 100 : 2 },
  });
  const now = () => new Date().toISOString();
  let retried = false;
  let summary: MigrationSummary = {
    id: spec.id,
    executed: input.execute,
    phase: 'detach',
    outcome: 'running',
    waitingFor: null,
    frozen: true,
    replicas: 2,
    tables: 1,
    counts: { ...NO_COUNTS, INIT: 2 },
    failures: [],
    failuresTotal: 0,
    started: resume?.started ?? now(),
    updated: now(),
    phases: [],
    hosts: [
      { host: 'ch-1', done: 0, failed: 0, total: 1 },
      { host: 'ch-2', done: 0, failed: 0, total: 1 },
    ],
    decisions: [],
    approved: resume?.approved ?? [],
    paused: false,
    aborting: resume?.mode === 'abort',
    limits: resume?.limits ?? spec.parallel,
    inFlight: 0,
    statusFile: spec.statusFile,
    refusals: [],
    warnings: [],
  };
  function show(change: Partial<MigrationSummary>): void {
    summary = { ...summary, ...change, updated: now() };
    upsertMemo({ [SUMMARY_MEMO_KEY]: summary });
  }

  if (has('real')) return realHandlers(input);
  if (has('blind')) throw ApplicationFailure.nonRetryable('CLICKHOUSE_PASSWORD is not set where the worker runs', 'MISSING_VARIABLE');
  if (has('refused')) {
    const refusals = [{ code: 'UNKNOWN_REPLICA', host: 'ch-1', message: 'a replica is on no host', fix: 'name its host' }];
    show({ phase: 'preflight', frozen: false, outcome: 'failed', refusals });
    throw ApplicationFailure.nonRetryable('preflight refuses, nothing was changed', 'PREFLIGHT_REFUSED');
  }
  setHandler(pauseSignal, (note) =>
    show({
      paused: true,
      outcome: 'waiting',
      waitingFor: { reason: `paused by ${note?.by ?? 'somebody'}: ${note?.reason ?? ''}`, gate: null },
    }),
  );
  setHandler(resumeSignal, () => show({ paused: false, outcome: 'running', waitingFor: null }));
  setHandler(approveSignal, (note) => show({ approved: [...summary.approved, typeof note === 'string' ? note : note.phase] }));
  setHandler(abortSignal, () => show({ aborting: true }));
  setHandler(
    setLimitUpdate,
    ({ key, value }) => {
      show({ limits: { ...summary.limits, [key.replace('parallel.', '')]: value } });
      return summary.limits;
    },
    {
      validator: ({ value }) => {
        if (value > 1000) throw new Error('at most 1000');
      },
    },
  );
  setHandler(
    retryUpdate,
    (_request) => {
      retried = true;
      return { retried: 1 };
    },
    {
      validator: (_request) => {
        if (summary.outcome !== 'waiting') throw new Error('it does not hold');
      },
    },
  );

  async function unpaused(): Promise<void> {
    await condition(() => !summary.paused || summary.aborting);
    if (summary.aborting) {
      show({ outcome: 'aborted' });
      throw ABORTED;
    }
  }

  const ABORTED = new Error('aborted');
  const hosts = spec.hosts.map((host) => ({ name: host.name, url: host.url, user: host.user, zookeeper: host.zookeeper }));
  const { tables } = await loadPage({ migration: spec.id, hosts, limit: 10 });
  try {
    const zookeeper = { auxiliary: {} };
    if (carried === undefined) {
      show({ phases: [{ phase: 'detach', started: now() }] });
      await unpaused();
      for (const [index, replica] of tables.flatMap((table) => table.replicas).entries()) {
        const host = hosts[index] ?? hosts[0];
        if (host === undefined) continue;
        try {
          await detachReplica({ migration: spec.id, host, replica, zookeeper, limit: 1 });
        } catch (error) {
          const { host: name, database, table } = replica;
          show({
            failuresTotal: 1,
            failures: [{ host: name, database, table, phase: 'detach', code: 'UNKNOWN_TABLE', message: 'it is <gone>' }],
          });
          if (!has('hold'))
            throw ApplicationFailure.create({
              message: '1 table failed',
              type: 'TABLES_FAILED',
              nonRetryable: true,
              cause: error as Error,
            });
          show({ outcome: 'waiting', waitingFor: { reason: 'holds after a failure', gate: null } });
          await condition(() => retried);
          show({ outcome: 'running', waitingFor: null, failuresTotal: 0, failures: [] });
        }
      }
      show({ counts: { ...NO_COUNTS, DETACHED: 2 }, phases: [{ phase: 'detach', started: summary.started, ended: now() }] });
      if (has('again')) await continueAsNew<typeof migrate>({ ...input, carried: { stage: 'clean', skip: [] } as unknown as CarriedState });
    }
    if (has('gate') && !summary.approved.includes('clean')) {
      show({ outcome: 'waiting', waitingFor: { reason: 'waits before clean', gate: 'clean' } });
      await condition(() => summary.approved.includes('clean') || summary.aborting);
      show({ outcome: 'running', waitingFor: null });
    }
    await unpaused();
    for (const table of tables)
      await cleanTable({ migration: spec.id, hosts, table, zookeeper, allowMissingReplicas: [], limit: 1, keep: 'delete' });
    show({ phase: 'restore', counts: { ...NO_COUNTS, ZK_CLEANED: 2 } });
    for (const [index, replica] of tables.flatMap((table) => table.replicas).entries()) {
      const host = hosts[index] ?? hosts[0];
      if (host !== undefined)
        await restoreReplica({ migration: spec.id, host, replica, zookeeper, writable: 'report', blobs: 'read', limit: 1, alone: false });
    }
    show({ phase: 'finish', outcome: 'completed', counts: { ...NO_COUNTS, RESTORED: 2 }, waitingFor: null });
  } catch (error) {
    if (error !== ABORTED) throw error;
  }
}

async function realHandlers(input: MigrationInput): Promise<void> {
  const now = () => new Date().toISOString();
  const state = new MigrationState(input, now());
  registerHandlers(state, { holding: false, request: undefined });
  state.enter('detach', now());
  state.paused = true;
  while (!state.approved.includes('clean')) {
    if (!state.paused) state.waiting = { reason: 'at the gate before clean', gate: 'clean' };
    upsertMemo({ [SUMMARY_MEMO_KEY]: state.summary(now()) });
    const seen = state.changes;
    await condition(() => state.changes !== seen);
  }
  Object.assign(state, { waiting: null, outcome: 'completed' });
  upsertMemo({ [SUMMARY_MEMO_KEY]: state.summary(now()) });
}
