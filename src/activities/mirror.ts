import { currentContext } from './deps';
import type { MirrorInput, MirrorOutcome } from './types';
import type { HistoryReader } from '../history/read';
import { renderStatusFile, statusFileHeader, writeStatusFile } from '../report/status-file';

/**
 * Mirrors the history into the YAML status file: read from the history, written whole or not at all. A file that cannot be written (a
 * full disk) stops nothing: the answer says why, and the migration goes on.
 */
export async function mirrorStatus(history: HistoryReader, input: MirrorInput): Promise<MirrorOutcome> {
  const id = currentContext()?.info.workflowExecution?.workflowId ?? input.migration;
  const view = await history.read(id);
  const text = renderStatusFile(statusFileHeader(input.now ?? view.summary, new Date().toISOString()), view.replicas);
  try {
    await writeStatusFile(input.statusFile, text);
    return { written: true };
  } catch (error) {
    return { written: false, error: error instanceof Error ? error.message : String(error) };
  }
}
