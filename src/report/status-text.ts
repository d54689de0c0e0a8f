/** One look at a migration, for people. */
import type { MigrationDescription } from '../client/describe';
import { countedHosts } from '../domain/summary';
import type { ReplicaRecord } from '../history/fold';
import { plainTable } from './plain-table';
import { phaseProgress } from '../domain/progress';
import { between, counted, oneLine, stateWords } from './words';

/** The colours that are used; picocolors has them. */
export interface Paint {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly cyan: (text: string) => string;
}

export interface StatusTextOptions {
  readonly paint: Paint;
  /** Milliseconds. */
  readonly now: number;
  readonly ui: string;
  readonly replicas?: readonly ReplicaRecord[];
}

const MAX_SHOWN = 10;

export function statusText(description: MigrationDescription, options: StatusTextOptions): string {
  const blocks = [
    heading(description, options),
    progressTable(description, options),
    hostTable(description),
    failureList(description, options.paint),
    findingList(description, options.paint),
    replicaTable(options.replicas, description),
    footer(description, options),
  ];
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
}

/** What to type next, by the state. */
export function nextCommand({ id, summary }: MigrationDescription): string | undefined {
  switch (summary.outcome) {
    case 'running':
      return `ch-zk-migrate watch ${id}`;
    case 'waiting': {
      const gate = summary.waitingFor?.gate ?? null;
      if (gate !== null && !summary.paused) return `ch-zk-migrate approve ${id} ${gate}`;
      if (summary.paused) return `ch-zk-migrate resume ${id}`;
      return summary.failuresTotal > 0 ? `ch-zk-migrate retry ${id}` : `ch-zk-migrate watch ${id}`;
    }
    case 'failed':
      if (summary.aborting) return `ch-zk-migrate abort ${id}`;
      return summary.executed ? `ch-zk-migrate retry ${id}   (or: ch-zk-migrate abort ${id})` : undefined;
    case 'completed':
      return summary.executed ? `ch-zk-migrate report ${id} --output ${id}.html` : undefined;
    case 'aborted':
      return undefined;
    default:
      return summary.outcome satisfies never;
  }
}

function heading(description: MigrationDescription, { paint, now }: StatusTextOptions): string {
  const { summary } = description;
  const color = { running: paint.cyan, waiting: paint.yellow, completed: paint.green, failed: paint.red, aborted: paint.yellow }[
    summary.outcome
  ];
  const ended = summary.outcome === 'running' || summary.outcome === 'waiting' ? undefined : (description.closed ?? summary.updated);
  return [
    `${paint.bold(oneLine(description.id))}  ${color(stateWords(description))}${summary.executed ? '' : paint.dim('  (dry run)')}`,
    `${paint.dim('phase')} ${summary.phase}   ${paint.dim('since')} ${summary.started}   ${paint.dim('for')} ${between(summary.started, ended, now)}`,
  ].join('\n');
}

function progressTable({ summary }: MigrationDescription, { now }: StatusTextOptions): string {
  if (!summary.executed && summary.phases.length === 0) return '';
  const table = plainTable(['phase', 'replicas', 'time']);
  for (const { phase, done, total, state } of phaseProgress(summary)) {
    const times = summary.phases.findLast((entry) => entry.phase === phase);
    const time = times === undefined ? '' : between(times.started, times.ended ?? (state === 'runs' ? undefined : summary.updated), now);
    table.push([phase, `${String(done)}/${String(total)}`, time]);
  }
  const counts = Object.entries(summary.counts).map(([status, count]) => `${status} ${String(count)}`);
  return `${table.toString()}\n${counts.join('  ')}`;
}

function hostTable({ summary }: MigrationDescription): string {
  const hosts = countedHosts(summary);
  if (hosts.length === 0) return '';
  const table = plainTable(['host', `${summary.phase} done`, 'failed', 'of']);
  for (const { host, done, failed, total } of hosts) table.push([oneLine(host), done, failed, total]);
  return table.toString();
}

function failureList({ summary }: MigrationDescription, paint: Paint): string {
  if (summary.failuresTotal === 0) return '';
  const shown = summary.failures.slice(-MAX_SHOWN).map(({ host, database, table, phase, code, message }) => {
    const where = oneLine([host, database === '' ? '' : `${database}.${table}`].filter((part) => part !== '').join(' '));
    return `  ${phase} ${where}: ${code}: ${oneLine(message)}`;
  });
  const more = summary.failuresTotal > shown.length ? ` (the last ${String(shown.length)} of them)` : '';
  return [paint.red(`${String(summary.failuresTotal)} failed${more}`), ...shown].join('\n');
}

function findingList({ summary }: MigrationDescription, paint: Paint): string {
  const lines = (findings: typeof summary.refusals) =>
    findings.map(({ code, host, db, table, message, fix }) => {
      const where = oneLine([host, db === undefined ? '' : `${db}.${table ?? ''}`].filter((part) => part !== '').join(' '));
      return `  ${code} ${where}: ${oneLine(message)}\n    ${paint.dim('fix:')} ${oneLine(fix)}`;
    });
  const { refusals, warnings, refusalsNotShown = 0, warningsNotShown = 0 } = summary;
  const head = (shown: number, total: number, what: string): string => `${counted(total, what)}${shown < total ? ` (the first ${shown} of them; ch-zk-migrate plan lists all)` : ''}`;
  const blocks = [
    ...(refusals.length === 0 ? [] : [paint.red(head(refusals.length, refusals.length + refusalsNotShown, 'refusal')), ...lines(refusals)]),
    ...(warnings.length === 0 ? [] : [paint.yellow(head(Math.min(MAX_SHOWN, warnings.length), warnings.length + warningsNotShown, 'warning')), ...lines(warnings.slice(0, MAX_SHOWN))]),
  ];
  return blocks.join('\n');
}

function replicaTable(replicas: readonly ReplicaRecord[] | undefined, { summary }: MigrationDescription): string {
  if (replicas === undefined) return '';
  if (replicas.length === 0) return 'no replicas known yet';
  const table = plainTable(['host', 'table', 'status', 'rows', 'parts', 'error or note']);
  for (const { host, database, table: name, status, rows, parts, error, note } of replicas) {
    const words = summary.withoutHosts?.includes(host) === true ? GIVEN_UP_WORDS : (error ?? note ?? '');
    table.push([oneLine(host), oneLine(`${database}.${name}`), status, rows, parts, oneLine(words)]);
  }
  return summary.outcome === 'aborted' ? `${table.toString()}\n${ABORTED_WORDS}` : table.toString();
}

const GIVEN_UP_WORDS = 'left out with its host: it is as the host left it';
const ABORTED_WORDS = 'INIT: attached, its metadata as it was. RESTORED: attached, its metadata made anew, every row proved.';

function footer(description: MigrationDescription, { paint, ui }: StatusTextOptions): string {
  const { statusFileError, statusFile } = description.summary;
  const next = nextCommand(description);
  return [
    ...(statusFileError === undefined ? [] : [paint.yellow(`status file ${statusFile} is not written: ${oneLine(statusFileError)}`)]),
    ...(next === undefined ? [] : [`${paint.dim('next:')} ${next}`]),
    `${paint.dim('Web UI:')} ${ui}`,
  ].join('\n');
}
