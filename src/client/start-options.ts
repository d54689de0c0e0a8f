import type { WorkflowOptions } from '@temporalio/client';

import type { MigrationSpec } from '../domain/spec';
import { escapeMarkdown } from '../domain/markdown';
import { emptySummary, type MigrationSummary, SUMMARY_MEMO_KEY } from '../domain/summary';
import type { MigrationInput } from '../workflows/messages';
import { planWorkflowId } from '../workflows/messages';

/** Temporal refuses a longer summary (400 bytes) or longer details (20,000 bytes); well below, so that the encoding fits too. */
const MAX_SUMMARY_BYTES = 200;
const MAX_DETAILS_BYTES = 8000;

/** What `client.workflow.start(WORKFLOW_TYPE, …)` takes. */
export type MigrationStartOptions = WorkflowOptions & { readonly args: [MigrationInput] };

export interface StartChoices {
  /** The closed run's last summary, when a new run goes on from it. */
  readonly previous?: MigrationSummary;
  /** @default now */
  readonly at?: Date;
}

/**
 * Options of a migration's start, the same for `start`, `retry` and `abort`: the id is the spec's (`.plan` behind it for a dry run), a
 * closed run may be followed by another, a running one is never touched. No execution timeout (a reset run would inherit it), no
 * retry policy (it would begin from scratch), no search attributes (they must be registered on the server).
 */
export function migrationStartOptions(input: MigrationInput, choices: StartChoices = {}): MigrationStartOptions {
  const { spec } = input;
  const at = choices.at ?? new Date();
  return {
    workflowId: input.execute ? spec.id : planWorkflowId(spec.id),
    taskQueue: spec.taskQueue,
    args: [input],
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    workflowIdConflictPolicy: 'FAIL',
    memo: { [SUMMARY_MEMO_KEY]: initialSummary(input, choices.previous, at) },
    staticSummary: clip(summaryLine(input), MAX_SUMMARY_BYTES),
    staticDetails: clip(detailsText(input), MAX_DETAILS_BYTES),
  };
}

/** What is known of a migration before its first task ran, or, for a run that goes on, what the closed one knew. */
export function initialSummary(input: MigrationInput, previous: MigrationSummary | undefined, at: Date): MigrationSummary {
  const { spec, resume } = input;
  const now = at.toISOString();
  const fresh: MigrationSummary = {
    ...emptySummary({ id: spec.id, executed: input.execute, started: resume?.started ?? now }),
    updated: now,
    phases: resume?.phases ?? [],
    decisions: resume?.decisions ?? [],
    approved: resume?.approved ?? [],
    aborting: resume?.mode === 'abort',
    ...(resume?.withoutHosts === undefined ? {} : { withoutHosts: resume.withoutHosts }),
    limits: resume?.limits ?? spec.parallel,
    statusFile: spec.statusFile,
  };
  if (previous === undefined) return fresh;
  const { frozen, replicas, tables, counts, phase } = previous;
  return { ...fresh, frozen, replicas, tables, counts, phase };
}

function summaryLine({ spec, execute, resume }: MigrationInput): string {
  const what = execute ? (resume?.mode === 'abort' ? 'abort of a migration' : 'migration') : 'dry run';
  return `${what}: ${String(spec.hosts.length)} ${spec.hosts.length === 1 ? 'host' : 'hosts'}, ${movement(spec)}`;
}

function movement(spec: MigrationSpec): string {
  const moves = new Set(spec.hosts.map(({ zookeeper, after }) => move(zookeeper, after)));
  const [only] = moves;
  return moves.size === 1 && only !== undefined ? escapeMarkdown(only) : 'each to its own root';
}

function move(from: MigrationSpec['hosts'][number]['zookeeper'], to: MigrationSpec['hosts'][number]['after']): string {
  const name = (ensemble: typeof from, other: typeof from) =>
    ensemble.connect === other.connect ? ensemble.root || '/' : `${ensemble.connect}${ensemble.root}`;
  const [before, after] = [name(from, to), name(to, from)];
  return before === after ? `in place on ${before}` : `${before} → ${after}`;
}

function detailsText(input: MigrationInput): string {
  const { spec, resume } = input;
  const lines = [
    `**Tables** ${selection(spec)}`,
    `**Gates** ${spec.pauseBefore.length === 0 ? 'none' : spec.pauseBefore.join(', ')}`,
    `**On failure** ${spec.onFailure}`,
    ...(resume === undefined ? [] : [`**Goes on** (${resume.mode}) from run ${escapeMarkdown(resume.runId)}`]),
    '',
    ...spec.hosts.map((host) => `- ${escapeMarkdown(host.name)}: ${escapeMarkdown(move(host.zookeeper, host.after))}`),
  ];
  return lines.join('\n');
}

function selection({ tables }: MigrationSpec): string {
  const named = tables.list === undefined ? tables.include : tables.list.map((entry) => `${entry.database}.${entry.table}`);
  const shown = named.slice(0, 20).map(escapeMarkdown).join(', ');
  if (shown === '') return 'every replicated table';
  return named.length > 20 ? `${shown} and ${String(named.length - 20)} more` : shown;
}

/** Cut at a whole character, below `bytes` of UTF-8. */
function clip(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  let room = bytes - Buffer.byteLength('…');
  let kept = '';
  for (const character of text) {
    room -= Buffer.byteLength(character);
    if (room < 0) break;
    kept += character;
  }
  return `${kept}…`;
}
