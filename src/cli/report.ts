import { Command } from 'commander';

import { printJson, printNote, printResult, withExample } from './common';
import type { Session } from './session';

export function reportCommand(): Command {
  const command = new Command('report')
    .description('One self-contained HTML page from the history: timeline, tables, failures, who let what through.')
    .argument('<id>', 'the migration')
    .option('--output <file>', 'written whole or not at all; stdout when absent')
    .action(async (id: string, options: { output?: string }) => {
      const { withTemporal } = await import('./session.js');
      await withTemporal(command, (session) => report(session, id, options.output));
    });
  return withExample(command, 'ch-zk-migrate report orders-to-new-root --output orders.html');
}

async function report(session: Session, id: string, output: string | undefined): Promise<void> {
  const { createHistoryReader } = await import('../history/read.js');
  const { linkTo } = await import('./control.js');
  const { reportData } = await import('../report/report-data.js');
  const { renderReport } = await import('../report/html.js');
  const { writeStatusFile } = await import('../report/status-file.js');
  const view = await createHistoryReader(session.client, { audit: true }).read(id);
  if (view.gone !== undefined) printNote(`note: run ${view.gone} is past the namespace's retention; what only it told is missing`);
  const data = reportData(view, { ui: linkTo(session, view), now: new Date() });
  if (output !== undefined) await writeStatusFile(output, renderReport(data));
  if (session.json) return printJson(output === undefined ? data : { id, output, tables: data.tables.length });
  printResult(output === undefined ? renderReport(data) : `report of ${id}: ${output}`);
}
