import type { MigrationSummary } from '../domain/summary';

/** Text for the Web UI, as markdown: names are escaped, since raw HTML would pass through. */
export function detailsText(summary: MigrationSummary): string {
  const total = Math.max(1, summary.replicas);
  const lines = [
    `**${escapeMarkdown(summary.id)}**: ${summary.phase}, ${summary.outcome}${summary.waitingFor === null ? '' : ` — ${escapeMarkdown(summary.waitingFor.reason)}`}`,
    '',
    '| status | replicas |',
    '|---|---|',
    ...Object.entries(summary.counts).map(([status, n]) => `| ${status} | ${n} (${Math.round((100 * n) / total)} %) |`),
    '',
    '| host | done | failed | of |',
    '|---|---|---|---|',
    ...summary.hosts.map(({ host, done, failed, total: of }) => `| ${escapeMarkdown(host)} | ${done} | ${failed} | ${of} |`),
  ];
  if (summary.failures.length > 0) {
    lines.push('', `**${summary.failuresTotal} failed**`, '');
    for (const { host, database, table, phase, code, message } of summary.failures.slice(0, 10)) {
      lines.push(`- ${escapeMarkdown(`${host} ${database}.${table}`)} (${phase}) ${code}: ${escapeMarkdown(message)}`);
    }
  }
  if (summary.statusFileError !== undefined) lines.push('', `The status file cannot be written: ${escapeMarkdown(summary.statusFileError)}`);
  return lines.join('\n');
}

/** Makes a name plain text in markdown and HTML, on one line. What cannot be seen, or turns the direction of the text, is shown as an escape. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/\s+/gu, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
    .replace(/[\\`*_{}[\]()#+!|~$]/gu, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}
