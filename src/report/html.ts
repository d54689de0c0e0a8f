/** The report: one HTML page that loads nothing, with every name escaped. Pure. */
import { duration } from '../domain/progress';
import type { Finding } from '../domain/summary';
import { activityMs, type PhaseStatistics, type ReportData, type ReportTable, TIMED_PHASES } from './report-data';
import { markup, SafeHtml } from './safe-html';
import { STYLE } from './style';
import { timeline } from './timeline';
import { between } from './words';

export function renderReport(data: ReportData): string {
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>${data.id}: ${data.outcome}</title>
<style>${new SafeHtml(STYLE)}</style>
</head>
<body>
${heading(data)}
<h2>Timeline</h2>
${timeline(data)}
${legend(data)}
${section('Failures and retries', failureTable(data))}
${section('Refusals', findingTable(data.refusals))}
${section('Warnings', findingTable(data.warnings))}
${section('Phases', phaseTable(data))}
${section('Who did what', decisionTable(data))}
${section('Restarts', restartTable(data))}
${section(`Tables (${String(data.tables.length)})`, tableTable(data))}
${section('Runs', runTable(data))}
</body>
</html>`;
  return `${page.text}\n`;
}

function section(title: string, body: SafeHtml | undefined): SafeHtml | undefined {
  return body === undefined
    ? undefined
    : markup`<h2>${title}</h2>
${body}`;
}

function heading(data: ReportData): SafeHtml {
  const why = data.closedBecause ?? data.waitingFor?.reason;
  const facts: readonly (readonly [string, string])[] = [
    ['started', stamp(data.started)],
    ['ended', data.ended === undefined ? 'not yet' : stamp(data.ended)],
    ['took', between(data.started, data.ended, Date.parse(data.generated))],
    ['tables', `${String(data.totals.tables)} (${String(data.totals.replicas)} replicas)`],
    ['rows on all replicas', data.totals.rows.toLocaleString('en')],
    ['parts on all replicas', data.totals.parts.toLocaleString('en')],
    ...Object.entries(data.counts)
      .filter(([status, count]) => count > 0 || status === 'RESTORED')
      .map(([status, count]) => [status, count.toLocaleString('en')] as const),
  ];
  return markup`<h1>${data.id} <span class="outcome ${data.outcome}">${data.outcome}</span>${data.executed ? '' : ' (dry run)'}</h1>
${why === undefined ? undefined : markup`<p class="why">${why}</p>`}
<dl>${facts.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
${data.skipped.length === 0 ? undefined : markup`<p>Left out on purpose: ${data.skipped.map((glob) => markup`<code>${glob}</code> `)}</p>`}
${data.gone === undefined ? undefined : markup`<p class="why">Run ${data.gone} is past the namespace's retention: what only it told is missing here.</p>`}
<p class="small">Made ${stamp(data.generated)} by ch-zk-migrate from the history of run <code>${data.runId}</code>: <a href="${data.ui}">Temporal's Web UI</a>. All times are UTC.</p>`;
}

/** What the timeline shows of this migration. */
function legend(data: ReportData): SafeHtml {
  const seen = new Set<string | undefined>([...data.phases.map(({ phase }) => phase), ...data.activities.map(({ phase }) => phase)]);
  const phases = ['preflight', ...TIMED_PHASES, 'finish'].filter((phase) => seen.has(phase));
  return markup`<p class="legend">${phases.map((phase) => markup`<span><i class="${phase}"></i>${phase}</span> `)}${
    data.decisions.length === 0 ? undefined : markup`<span>┊ decision</span> `
  }${data.failures.some(({ final }) => final) ? markup`<span><i class="failure"></i>failure</span>` : undefined}</p>`;
}

function phaseTable(data: ReportData): SafeHtml | undefined {
  if (data.phases.length === 0 && data.statistics.length === 0) return undefined;
  const statistics = new Map<string, PhaseStatistics>(data.statistics.map((entry) => [entry.phase, entry]));
  const listed = data.phases.map(({ phase, started, ended }) => ({ phase, started, ended }));
  const unlisted = data.statistics
    .filter(({ phase }) => !listed.some((entry) => entry.phase === phase))
    .map(({ phase }) => ({ phase, started: undefined, ended: undefined }));
  const rows = [...listed, ...unlisted].map(({ phase, started, ended }) => {
    const numbers = statistics.get(phase);
    const cells =
      numbers === undefined
        ? ['', '', '', '', '']
        : [String(numbers.activities), duration(numbers.medianMs), duration(numbers.p95Ms), duration(numbers.longestMs), numbers.longest];
    return [phase, started === undefined ? '' : stamp(started), started === undefined ? '' : between(started, ended ?? data.ended, Date.parse(data.generated)), ...cells];
  });
  return grid(['phase', 'started', 'took', 'activities', 'median', '95 %', 'longest', 'of'], rows);
}

function decisionTable({ decisions }: ReportData): SafeHtml | undefined {
  return grid(
    ['when', 'what', 'by', 'reason'],
    decisions.map(({ at, what, by, reason }) => [stamp(at), what, by ?? '', reason ?? '']),
  );
}

function failureTable(data: ReportData): SafeHtml | undefined {
  const fromHistory = data.failures.map(({ at, activity, where, code, message, attempts, final }) => [
    stamp(at),
    activity,
    where,
    code,
    message,
    String(attempts),
    final ? 'failed' : 'tried again',
  ]);
  const kept = data.failed.map(({ phase, host, database, table, code, message }) => [
    '',
    phase,
    `${host} ${database}.${table}`,
    code,
    message,
    '',
    'kept by the migration',
  ]);
  return grid(['when', 'what', 'where', 'code', 'message', 'attempts', ''], fromHistory.length > 0 ? fromHistory : kept);
}

function findingTable(findings: readonly Finding[]): SafeHtml | undefined {
  return grid(
    ['code', 'host', 'table', 'message', 'fix'],
    findings.map(({ code, host, db, table, message, fix }) => [code, host, db === undefined ? '' : `${db}.${table ?? ''}`, message, fix]),
  );
}

function restartTable({ restarts }: ReportData): SafeHtml | undefined {
  return grid(
    ['host', 'started', 'took', 'attempts', 'outcome'],
    restarts.map((restart) => [
      restart.host ?? '',
      stamp(restart.started ?? restart.scheduled),
      duration(activityMs(restart)),
      String(restart.attempts),
      restart.outcome,
    ]),
  );
}

function tableTable({ tables }: ReportData): SafeHtml | undefined {
  const head = [
    'host',
    'table',
    'status',
    'rows',
    'parts',
    ...TIMED_PHASES,
    'attempts',
    'ZooKeeper path',
    'replica',
    'old metadata',
    'note or error',
  ];
  return grid(head, tables.map(tableRow));
}

function tableRow(table: ReportTable): readonly string[] {
  const times = TIMED_PHASES.map((phase) => (table.durationsMs[phase] === undefined ? '' : duration(table.durationsMs[phase])));
  const words = [table.error, table.note].filter((part) => part !== undefined).join('; ');
  return [
    table.host,
    `${table.db}.${table.table}`,
    table.status,
    table.rows.toLocaleString('en'),
    table.parts.toLocaleString('en'),
    ...times,
    String(table.attempts),
    table.zk_path,
    table.replica,
    table.old_metadata,
    words,
  ];
}

function runTable({ runs }: ReportData): SafeHtml | undefined {
  return grid(
    ['run', 'as', 'started', 'ended', 'how', 'by'],
    runs.map(({ runId, as, started, ended, how, message, by }) => [
      runId,
      as,
      stamp(started),
      ended === undefined ? '' : stamp(ended),
      [how, message].filter((part) => part !== undefined).join(': '),
      by ?? '',
    ]),
  );
}

/** `2026-01-31 23:59:59`: seconds are enough for people, and the history has the rest. */
function stamp(iso: string): string {
  return iso.slice(0, 19).replace('T', ' ');
}

/** Cells longer than this may be broken anywhere; others stay in one line. */
const LONG_CELL = 26;
const NUMBER = /^[\d.,]+(?:ms|s|m|h|d)?(?: \d+[smh])?$/;

/** A table without the columns that are empty in every row; numbers and durations to the right. */
function grid(head: readonly string[], rows: readonly (readonly string[])[]): SafeHtml | undefined {
  if (rows.length === 0) return undefined;
  const columns = head
    .map((title, index) => ({ title, index, cells: rows.map((row) => row[index] ?? '').filter((cell) => cell !== '') }))
    .filter(({ cells }) => cells.length > 0)
    .map(({ title, index, cells }) => ({ title, index, right: cells.every((cell) => NUMBER.test(cell)) }));
  const row = (cells: readonly string[]) => markup`<tr>${columns.map(({ index, right }) => td(cells[index] ?? '', right))}</tr>\n`;
  return markup`<div class="scroll"><table><thead><tr>${columns.map(({ title, right }) => markup`<th${right ? RIGHT : undefined}>${title}</th>`)}</tr></thead><tbody>
${rows.map(row)}</tbody></table></div>`;
}

const RIGHT = markup` class="right"`;
const LONG = markup` class="long"`;

function td(cell: string, right: boolean): SafeHtml {
  return markup`<td${right ? RIGHT : cell.length > LONG_CELL ? LONG : undefined}>${cell}</td>`;
}
