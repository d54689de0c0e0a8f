import type { Client, WorkflowExecutionStatusName } from '@temporalio/client';

import { describeMigration, type MigrationDescription } from '../client/describe';
import { type MigrationSummary, SUMMARY_MEMO_KEY } from '../domain/summary';
import type { Audit } from './audit';
import { decodeEvent, eventIdOf, type HistoryEvent } from './decode';
import type { ReplicaRecord } from './fold';
import { HistoryFold } from './fold';
import type { ChainRun } from './runs';
import { eventsAfter, pagesForward, walkChain } from './runs';

/** A migration as its history tells it, with the summary of its memo. */
export interface HistoryView {
  readonly id: string;
  /** The latest run. */
  readonly runId: string;
  readonly status: WorkflowExecutionStatusName;
  readonly summary: MigrationSummary;
  /** Why the latest run closed, when it did not complete. */
  readonly closedBecause?: string;
  /** In the order host, database, table. A record that did not change since the last reading is the same object. */
  readonly replicas: readonly ReplicaRecord[];
  /** Globs on `database.table` that were left out on purpose. */
  readonly skipped: readonly string[];
  /** Where asked for. */
  readonly audit?: Audit;
  /** A run of the chain whose history the server no longer keeps: what only it told is missing here. */
  readonly gone?: string;
}

export interface HistoryReader {
  /**
   * Reads what is new since the last call, and answers with the whole. Calls for one migration wait for each other.
   *
   * @throws {ClientError} NOT_FOUND, NOT_A_MIGRATION; gRPC errors pass, and the next call goes on where this one stopped
   */
  read(id: string): Promise<HistoryView>;
  /** Lets go of what was kept of a migration. */
  forget(id: string): void;
}

/** What is kept of one migration between two readings. */
interface Known {
  fold: HistoryFold;
  runId: string;
  lastEventId: number;
  copiedUpTo: number;
  gone?: string;
}

/** Migrations kept at a time; the one longest unread goes first. */
const MAX_KNOWN = 8;

/**
 * A reader of migrations' histories that keeps its place in each: a call costs a description, and the pages of what is new.
 * With `audit` it also collects runs, messages and every activity (memory grows with the history).
 */
export function createHistoryReader(client: Client, options: { readonly audit?: boolean } = {}): HistoryReader {
  const known = new Map<string, Known>();
  const turns = new Map<string, Promise<unknown>>();

  async function readNow(id: string): Promise<HistoryView> {
    const description = await describeMigration(client, id, { checkWorkers: false });
    const state = await catchUp(client, id, description.runId, known.get(id), options, (fresh) => {
      known.delete(id);
      known.set(id, fresh);
      for (const oldest of [...known.keys()].slice(0, -MAX_KNOWN)) known.delete(oldest);
    });
    const audit = state.fold.audit();
    return {
      id,
      runId: description.runId,
      status: description.status,
      summary: said(description),
      ...(description.closedBecause === undefined ? {} : { closedBecause: description.closedBecause }),
      replicas: state.fold.replicas(),
      skipped: state.fold.skipped(),
      ...(audit === undefined ? {} : { audit }),
      ...(state.gone === undefined ? {} : { gone: state.gone }),
    };
  }

  return {
    read(id) {
      const turn = (turns.get(id) ?? Promise.resolve()).then(() => readNow(id));
      const settled = turn
        .catch(() => undefined)
        .finally(() => {
          if (turns.get(id) === settled) turns.delete(id);
        });
      turns.set(id, settled);
      return turn;
    },
    forget: (id) => void known.delete(id),
  };
}

/** A migration says how it ended before its workflow has closed; the status file that is written between the two must say so too. */
function said({ summary, memo }: MigrationDescription): MigrationSummary {
  const stored = memo[SUMMARY_MEMO_KEY] as MigrationSummary | undefined;
  const ended = stored?.outcome === 'completed' || stored?.outcome === 'failed' || stored?.outcome === 'aborted';
  return summary.outcome === 'running' && ended ? { ...summary, outcome: stored.outcome } : summary;
}

/**
 * Brings `known` up to `runId`'s last event; begins anew where that run does not continue the known chain. `keep` is told before
 * anything is read, so that a reading that breaks off is not lost.
 */
async function catchUp(
  client: Client,
  id: string,
  runId: string,
  known: Known | undefined,
  options: { readonly audit?: boolean },
  keep: (state: Known) => void,
): Promise<Known> {
  if (known?.runId === runId) {
    keep(known);
    await foldNews(client, id, known);
    return known;
  }
  const chain = await walkChain(client, id, runId, known?.runId);
  const state: Known =
    known !== undefined && chain.continues
      ? known
      : {
          fold: new HistoryFold(options),
          runId: '',
          lastEventId: 0,
          copiedUpTo: 0,
          ...(chain.gone === undefined ? {} : { gone: chain.gone }),
        };
  if (state === known) await foldNews(client, id, known);
  keep(state);
  for (const run of chain.runs) await foldRun(client, id, state, run);
  return state;
}

/** A run that was not read yet, from its first event. */
async function foldRun(client: Client, id: string, state: Known, run: ChainRun): Promise<void> {
  Object.assign(state, { runId: run.runId, copiedUpTo: run.copiedUpTo, lastEventId: 0 });
  for await (const events of pagesForward(client, id, run.runId)) await foldEvents(client, state, events);
}

async function foldNews(client: Client, id: string, state: Known): Promise<void> {
  if (state.lastEventId === 0) return foldRun(client, id, state, state);
  await foldEvents(client, state, await eventsAfter(client, id, state.runId, state.lastEventId));
}

async function foldEvents(client: Client, state: Known, events: readonly HistoryEvent[]): Promise<void> {
  const converter = client.options.loadedDataConverter;
  const facts = await Promise.all(events.map((event) => decodeEvent(converter, state.runId, event)));
  events.forEach((event, index) => {
    const eventId = eventIdOf(event);
    if (eventId <= state.lastEventId) return;
    state.lastEventId = eventId;
    const fact = facts[index];
    if (fact === undefined) return;
    if (fact.kind === 'run started') state.fold.apply(eventId, state.copiedUpTo > 0 ? { ...fact, reset: true } : fact);
    else if (eventId <= state.copiedUpTo) state.fold.applyCopied(eventId, fact);
    else state.fold.apply(eventId, fact);
  });
}
