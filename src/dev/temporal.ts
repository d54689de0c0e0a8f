import { Connection } from '@temporalio/client';
import type { Progress } from './progress';
import { waitFor } from './processes';
import { spawnPart } from './spawn-part';
import { stackFiles, type StackSettings } from './stack-settings';
import { temporalBinary } from './temporal-binary';

export const TEMPORAL_NAMESPACE = 'default';

/**
 * The development server's defaults dispatch tasks on 50 ms ticks and sync SQLite on each write:
 * 50 to 200 activities a second; with these 500 to 800 (measured). A production server is set by its owner.
 */
const TUNING = [
  ...['--sqlite-pragma', 'journal_mode=wal', '--sqlite-pragma', 'synchronous=1'],
  ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=2000'],
  ...['--dynamic-config-value', 'system.enableActivityEagerExecution=true'],
];

/** Starts the Temporal development server with its Web UI; does not wait. State is in `DIR/temporal.db`. */
export async function spawnTemporal(dir: string, settings: StackSettings, progress: Progress): Promise<void> {
  const files = stackFiles(dir);
  const part = files.part('temporal');
  const { port, uiPort, tuned } = settings.temporal;
  spawnPart({
    command: await temporalBinary(progress),
    args: [
      ...['server', 'start-dev', '--db-filename', files.temporalDatabase, '--ip', '127.0.0.1'],
      ...['--port', String(port), '--ui-port', String(uiPort), '--headless=false', '--log-level', 'error'],
      ...(tuned ? TUNING : []),
    ],
    environment: {},
    logFile: part.log,
    pidFile: part.pid,
  });
}

/** Whether the server answers for its namespace, and the Web UI for itself. */
export async function temporalAnswers(settings: StackSettings): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address: temporalAddress(settings), connectTimeout: 2000 });
    await connection.workflowService.describeNamespace({ namespace: TEMPORAL_NAMESPACE });
    return (await fetch(temporalUi(settings))).ok;
  } catch {
    return false;
  } finally {
    await connection?.close();
  }
}

/** Waits until the server answers; false when it does not in time. */
export async function temporalReady(settings: StackSettings, timeoutMs: number): Promise<boolean> {
  return waitFor(() => temporalAnswers(settings), timeoutMs, 200);
}

export const temporalAddress = (settings: StackSettings): string => `127.0.0.1:${settings.temporal.port}`;
export const temporalUi = (settings: StackSettings): string => `http://127.0.0.1:${settings.temporal.uiPort}`;
