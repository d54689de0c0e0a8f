import { escapeMarkdown } from '../domain/markdown';
import { paceWords, phaseProgress, type RateMeter } from '../domain/progress';
import { countedHosts, type MigrationSummary } from '../domain/summary';

/**
 * Text for the Web UI, as markdown; names are escaped, since raw HTML would pass through. The frame it is shown in is small: only what is
 * not zero. The summary of the start is not carried over when a migration continues as new, so its size and begin stand here too.
 */
export function detailsText(summary: MigrationSummary, meter: RateMeter): string {
  const total = Math.max(1, summary.replicas);
  const hosts = countedHosts(summary);
  const pace = paceWords(summary, meter);
  const phases = summary.executed ? phaseProgress(summary).map(({ phase, done, total: of }) => `${phase} ${done}/${of}`) : [];
  const lines = [
    `**${escapeMarkdown(summary.id)}**: ${summary.phase}, ${summary.outcome}${summary.waitingFor === null ? '' : ` — ${escapeMarkdown(summary.waitingFor.reason)}`}`,
    '',
    `${summary.tables} tables, ${summary.replicas} replicas, since ${summary.started}`,
    '',
    // The text stands until the next change: what it says of the pace was so then.
    ...(pace.length === 0 ? [] : [`**${pace.join(', ')}**, as of ${summary.updated}`, '']),
    ...(phases.length === 0 ? [] : [`Replicas: ${phases.join(' · ')}`, '']),
    '| status | replicas |',
    '|---|---|',
    ...Object.entries(summary.counts)
      .filter(([, n]) => n > 0)
      .map(([status, n]) => `| ${status} | ${n} (${Math.round((100 * n) / total)} %) |`),
  ];
  if (hosts.length > 0) {
    lines.push('', '| host | done | failed | of |', '|---|---|---|---|');
    for (const { host, done, failed, total: of } of hosts) lines.push(`| ${escapeMarkdown(host)} | ${done} | ${failed} | ${of} |`);
  }
  if (summary.failures.length > 0) {
    lines.push('', `**${summary.failuresTotal} failed**`, '');
    for (const { host, database, table, phase, code, message } of summary.failures.slice(0, 10)) {
      lines.push(`- ${escapeMarkdown(`${host} ${database}.${table}`)} (${phase}) ${code}: ${escapeMarkdown(message)}`);
    }
  }
  // The workflow does not know of them; the server shows them itself.
  if (summary.outcome === 'running') lines.push('', 'Why something is tried again stands under Pending Activities.');
  if (summary.statusFileError !== undefined) lines.push('', `The status file cannot be written: ${escapeMarkdown(summary.statusFileError)}`);
  return lines.join('\n');
}
