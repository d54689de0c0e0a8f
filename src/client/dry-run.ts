import type { Client } from '@temporalio/client';

import type { PreflightOutcome } from '../activities/types';
import { plannedStatements } from '../clickhouse/planned-statements';
import type { Plan, PlannedHost } from '../domain/plan';
import type { MigrationSpec } from '../domain/spec';
import { decodeEvent } from '../history/decode';
import { pagesForward } from '../history/runs';
import { planWorkflowId } from '../workflows/messages';

/**
 * Waits for a dry run to end, and puts its plan together from the pieces in its history.
 *
 * @throws WorkflowFailedError when the dry run failed; gRPC errors pass
 */
export async function readDryRun(client: Client, spec: MigrationSpec): Promise<{ plan: Plan; runId: string }> {
  const id = planWorkflowId(spec.id);
  const handle = client.workflow.getHandle(id);
  const { runId } = await handle.describe();
  await client.workflow.getHandle(id, runId).result();
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

function isPreflight(result: unknown): result is PreflightOutcome {
  return typeof result === 'object' && result !== null && 'refusalsTotal' in result;
}
