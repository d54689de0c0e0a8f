import type { Client } from '@temporalio/client';

import type { PreflightOutcome } from '../activities/types';
import { plannedStatements } from '../clickhouse/planned-statements';
import type { Plan, PlannedHost } from '../domain/plan';
import type { MigrationSpec } from '../domain/spec';
import { decodeEvent } from '../history/decode';
import { pagesForward } from '../history/runs';
import { planWorkflowId } from '../workflows/messages';
import { describeMigration } from './describe';
import { ClientError } from './errors';
import { isRunning } from './summary-of';

export interface DryRunOptions {
  /** Told why it does not get on, once it has not for a few seconds: every reason once. */
  readonly onStuck?: (reason: string) => void;
  /** The command that says what is wrong with the hosts. @default `ch-zk-migrate doctor SPEC` */
  readonly next?: string;
}

const LOOK_EVERY_MS = 500;
/** A worker that has just been started is no news. */
const STUCK_AFTER_MS = 3000;

export interface DryRun {
  readonly plan: Plan;
  readonly runId: string;
  /** Refusals and warnings beyond those of the plan: a history holds so many of them, `plan` prints all. */
  readonly notShown: number;
}

/**
 * Waits for a dry run to end, and puts its plan together from the pieces in its history.
 *
 * @throws {ClientError} DRY_RUN_FAILED with its reason; gRPC errors pass
 */
export async function readDryRun(client: Client, spec: MigrationSpec, options: DryRunOptions = {}): Promise<DryRun> {
  const id = planWorkflowId(spec.id);
  const runId = await completed(client, id, options);
  const outcomes: PreflightOutcome[] = [];
  for await (const events of pagesForward(client, id, runId)) {
    for (const event of events) {
      const fact = await decodeEvent(client.options.loadedDataConverter, runId, event);
      if (fact?.kind === 'activity completed' && isPreflight(fact.result)) outcomes.push(fact.result);
    }
  }
  const [first] = outcomes;
  if (first === undefined) throw new Error(`the history of ${id} has no plan`);
  const pieces = outcomes.flatMap(({ plan }) => plan ?? []);
  return {
    runId,
    notShown: first.refusalsTotal - first.refusals.length + first.warningsTotal - first.warnings.length,
    plan: {
      id: spec.id,
      hosts: spec.hosts.map((host, index) => {
        const parts = pieces.flatMap(({ hosts }) => hosts[index] ?? []);
        const tables = parts.flatMap((part) => part.tables.map((table) => ({ ...table, statements: plannedStatements(spec, host, table) })));
        return { ...(parts[0] as PlannedHost), tables };
      }),
      refusals: first.refusals,
      warnings: first.warnings,
      estimate: pieces[0]?.estimate ?? { seconds: 0, how: '' },
      known: first.known,
    },
  };
}

/** The run, once it has completed. */
async function completed(client: Client, id: string, { onStuck, next = 'ch-zk-migrate doctor SPEC' }: DryRunOptions): Promise<string> {
  const told = new Set<string>();
  const began = Date.now();
  let runId: string | undefined;
  for (;;) {
    const seen = await describeMigration(client, id, runId === undefined ? {} : { runId });
    runId = seen.runId;
    if (seen.status === 'COMPLETED') return runId;
    if (!isRunning(seen.status)) {
      throw new ClientError('DRY_RUN_FAILED', `the dry run ${id} failed: ${seen.closedBecause ?? seen.status.toLowerCase()}`, { next });
    }
    const reasons = Date.now() - began < STUCK_AFTER_MS ? [] : seen.reasons;
    for (const reason of reasons.filter((each) => !told.has(withoutTimes(each)))) {
      told.add(withoutTimes(reason));
      onStuck?.(reason);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** The same reason, whatever its count and its time. */
function withoutTimes(reason: string): string {
  return reason.replace(/ \([^()]*\)$/, '').replace(/\d+ s\b/g, '');
}

function isPreflight(result: unknown): result is PreflightOutcome {
  return typeof result === 'object' && result !== null && 'refusalsTotal' in result;
}
