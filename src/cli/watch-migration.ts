import { isGrpcServiceError } from '@temporalio/client';

import type { MigrationDescription, TemporalConnection } from '../client';
import { ClientError, describeMigration, errorText, isRunning, webUiLink } from '../client';
import { RateMeter, stageDone } from '../domain/progress';
import type { ReplicaRecord } from '../history/fold';
import { statusDocument } from '../report/status-document';
import { statusText } from '../report/status-text';
import { colors, EXIT, type ExitCode, printJson, printNote, printResult } from './common';
import { isRefused, outcomeExit, readReplicas } from './status';
import type { Screen } from './watch-screen';
import { lineScreen, liveScreen } from './watch-screen';

export interface WatchOptions {
  /** One status document on stdout at the end; lines on stderr until then. */
  readonly json?: boolean;
  /** The outcome that is success. @default 'completed' */
  readonly wanted?: 'completed' | 'aborted';
  /** Stays although the migration waits for somebody. @default only where a person watches */
  readonly stay?: boolean;
  /** Prints nothing at the end. */
  readonly quiet?: boolean;
  /** What a terminal says of Ctrl-C. */
  readonly hint?: string;
  /** Ends the watching as Ctrl-C does; without it, Ctrl-C is listened to. */
  readonly interrupt?: AbortSignal;
}

/** What the watching needs of a connection; a {@link TemporalConnection} is one. */
export type WatchConnection = Pick<TemporalConnection, 'client' | 'connection' | 'address' | 'namespace' | 'ui'>;

const LOOK_EVERY_MS = 700;
const LOOK_TIMEOUT_MS = 5000;
/** Workers are asked for less often than the migration. */
const CHECK_WORKERS_EVERY = 8;
/** A wait must last this long before a script is told of it: a gate may be let through by a message that is under way. */
const WAITING_SETTLED_MS = 1500;

/**
 * Follows a migration until it ends (whatever run it is in), waits for somebody (unless a person watches), or is left with Ctrl-C, and
 * prints its last status. A server that does not answer is waited for.
 *
 * @returns the exit code: 0 completed, 1 failed or aborted, 3 refused by its preflight, 4 waits for somebody, 130 interrupted
 * @throws {ClientError} NOT_FOUND, NOT_A_MIGRATION
 */
export async function watchMigration(connection: WatchConnection, id: string, options: WatchOptions = {}): Promise<ExitCode> {
  const interrupt = listenForInterrupt(options.interrupt);
  const live = process.stderr.isTTY && options.json !== true;
  const screen = live ? await liveScreen(options.hint) : lineScreen();
  try {
    const last = await follow(connection, id, screen, {
      stay: live || options.stay === true,
      aborting: options.wanted === 'aborted',
      signal: interrupt.signal,
    });
    screen.end();
    if (options.quiet !== true) {
      if (last.interrupted) leave(connection, id, last.seen, options);
      else await printLast(connection, last.seen, options);
    }
    return last.interrupted ? EXIT.INTERRUPTED : exitFor(last.seen, options.wanted ?? 'completed');
  } finally {
    screen.end();
    interrupt.stop();
  }
}

interface Following {
  /** Whether waiting for somebody is no reason to end. */
  readonly stay: boolean;
  /** An abort was asked for: a wait from before the workflow heard of it is over already. */
  readonly aborting: boolean;
  readonly signal: AbortSignal;
}

/** What was seen last, and whether the watching was left before the migration was through. */
type Watched =
  | { readonly interrupted: false; readonly seen: MigrationDescription }
  | { readonly interrupted: true; readonly seen: MigrationDescription | undefined };

async function follow(
  connection: WatchConnection,
  id: string,
  screen: Screen,
  { stay, aborting, signal }: Following,
): Promise<Watched> {
  const meter = new RateMeter();
  let last: MigrationDescription | undefined;
  let waitingSince: number | undefined;
  let workerWords: readonly string[] = [];
  for (let look = 0; !signal.aborted; look += 1) {
    const checkWorkers = look % CHECK_WORKERS_EVERY === 0;
    const seen = await tryToLook(connection, id, checkWorkers, look > 0);
    if (seen instanceof Error) {
      screen.silent(errorText(seen));
    } else {
      if (checkWorkers) workerWords = seen.reasons.filter((reason) => reason.startsWith(NO_POLLER));
      const description = checkWorkers ? seen : withWorkerWords(seen, workerWords);
      last = description;
      count(meter, description);
      screen.show(description, meter);
      if (!isRunning(description.status)) return { interrupted: false, seen: description };
      const waits = description.summary.outcome === 'waiting' && (!aborting || description.summary.aborting);
      waitingSince = waits ? (waitingSince ?? Date.now()) : undefined;
      if (!stay && waitingSince !== undefined && Date.now() - waitingSince >= WAITING_SETTLED_MS) return { interrupted: false, seen: description };
    }
    await sleep(LOOK_EVERY_MS, signal);
  }
  return { interrupted: true, seen: last };
}

const NO_POLLER = 'no worker polls';
const NO_WORKER = 'no worker';

/** What was said of the workers when they were last asked for stands until they are asked for again. */
function withWorkerWords(seen: MigrationDescription, words: readonly string[]): MigrationDescription {
  if (words.length === 0) return seen;
  return { ...seen, reasons: [...words, ...seen.reasons.filter((reason) => !reason.startsWith(NO_WORKER))] };
}

/** A look, or why Temporal did not answer; what is wrong with the migration itself is thrown. */
async function tryToLook(
  { client, connection }: WatchConnection,
  id: string,
  checkWorkers: boolean,
  again: boolean,
): Promise<MigrationDescription | Error> {
  try {
    return await connection.withDeadline(Date.now() + LOOK_TIMEOUT_MS, () => describeMigration(client, id, { checkWorkers }));
  } catch (error) {
    if (error instanceof ClientError || !(error instanceof Error)) throw error;
    const isService = isGrpcServiceError(error) || isGrpcServiceError(error.cause) || error.name === 'ServiceError';
    if (!isService || !again) throw error;
    return error.cause instanceof Error ? error.cause : error;
  }
}

function count(meter: RateMeter, { runId, summary }: MigrationDescription): void {
  const stage = stageDone(summary);
  if (stage !== undefined) meter.add(JSON.stringify([runId, summary.phase, summary.aborting]), Date.now(), stage.done);
}

/** An abort that is through says of each table what became of it. */
async function printLast(connection: WatchConnection, description: MigrationDescription, options: WatchOptions): Promise<void> {
  const { aborting, outcome } = description.summary;
  const over = (aborting || outcome === 'aborted') && !isRunning(description.status);
  printEnd(connection, description, options, over ? await readReplicas(connection, description.id) : undefined);
}

function printEnd(connection: WatchConnection, description: MigrationDescription, { json }: WatchOptions, replicas?: readonly ReplicaRecord[]): void {
  const link = webUiLink(connection, description.id, description.runId);
  if (json === true) printJson(statusDocument(description, link, replicas));
  else printResult(statusText(description, { paint: colors(process.stdout), now: Date.now(), ui: link, ...(replicas === undefined ? {} : { replicas }) }));
}

function exitFor({ summary }: MigrationDescription, wanted: 'completed' | 'aborted'): ExitCode {
  if (wanted === 'completed' && isRefused(summary)) return EXIT.REFUSED;
  const other = wanted === 'completed' ? 'aborted' : 'completed';
  return summary.outcome === other ? EXIT.FAILED : outcomeExit(summary.outcome);
}

/** The watching was interrupted: a script gets the last look all the same. */
function leave(connection: WatchConnection, id: string, seen: MigrationDescription | undefined, options: WatchOptions): void {
  const words = `${id} goes on without being watched. Watch it again: ch-zk-migrate watch ${id}`;
  printNote(words);
  if (options.json !== true) return;
  if (seen === undefined) printJson({ error: { code: 'INTERRUPTED', message: words, faults: [] } });
  else printEnd(connection, seen, options);
}

function listenForInterrupt(given: AbortSignal | undefined): { readonly signal: AbortSignal; stop(): void } {
  if (given !== undefined) return { signal: given, stop: () => undefined };
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.on('SIGINT', abort);
  return { signal: controller.signal, stop: () => void process.removeListener('SIGINT', abort) };
}

/** Ends early when `signal` fires. */
async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
