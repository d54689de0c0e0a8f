import { Command } from 'commander';

import { printJson, printNote, printResult, withExample } from './common';
import type { Session } from './session';

export function exportCommand(): Command {
  const command = new Command('export')
    .description('The YAML status file, made from the history of the migration; also of an ended one, as long as the namespace keeps it.')
    .argument('<id>', 'the migration')
    .option('--output <file>', 'written whole or not at all; stdout when absent')
    .action(async (id: string, options: { output?: string }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => exportStatus(session, id, options.output));
    });
  return withExample(command, 'ch-zk-migrate export orders-to-new-root --output status.yaml');
}

async function exportStatus(session: Session, id: string, output: string | undefined): Promise<void> {
  const { createHistoryReader } = await import('../history/read.js');
  const { renderStatusFile, statusEntry, statusFileHeader, writeStatusFile } = await import('../report/status-file.js');
  const { runId, summary, replicas, gone } = await createHistoryReader(session.client).read(id);
  if (gone !== undefined) printNote(`note: run ${gone} is past the namespace's retention; what only it told is missing`);
  const text = renderStatusFile({ ...statusFileHeader(summary, summary.updated), migration: id }, replicas);
  if (output !== undefined) await writeStatusFile(output, text);
  if (session.json) {
    const entries = output === undefined ? { replicas: replicas.map(statusEntry) } : { output, entries: replicas.length };
    return printJson({ id, runId, phase: summary.phase, outcome: summary.outcome, updated: summary.updated, ...entries });
  }
  printResult(output === undefined ? text : `${String(replicas.length)} replicas of ${id}: ${output}`);
}
