import type { MigrationDescription } from '../client';
import { paceWords, phaseProgress, type PhaseProgress, type RateMeter } from '../domain/progress';
import { countedHosts, type HostProgress } from '../domain/summary';
import { between, oneLine, stateWords, statusLine } from '../report/words';
import { colors, printNote } from './common';

/** Where a migration is shown while it is watched. */
export interface Screen {
  show(description: MigrationDescription, meter: RateMeter): void;
  /** Temporal does not answer: why. */
  silent(why: string): void;
  end(): void;
}

const LINE_EVERY_MS = 5000;

/** A line on stderr a change, at most one in five seconds; a change of state always. */
export function lineScreen(): Screen {
  let last = '';
  let lastState = '';
  let lastAt = 0;
  function print(line: string, state: string): void {
    const early = Date.now() - lastAt < LINE_EVERY_MS;
    if (line === last || (early && state === lastState)) return;
    [last, lastState, lastAt] = [line, state, Date.now()];
    printNote(line);
  }
  return {
    show: (description, meter) => print(statusLine(description, meter), `${description.summary.phase} ${description.summary.outcome}`),
    silent: (why) => print(`Temporal does not answer (${oneLine(why)}): still trying`, 'silent'),
    end: () => undefined,
  };
}

/**
 * Redrawn in place, for a terminal.
 *
 * @param hint the last line: what a person may do
 */
export async function liveScreen(hint?: string): Promise<Screen> {
  const { logUpdateStderr } = await import('log-update');
  let last: readonly string[] = [];
  return {
    show(description, meter) {
      last = liveLines(description, meter, Date.now(), hint);
      logUpdateStderr(fit(last).join('\n'));
    },
    silent: (why) =>
      logUpdateStderr(fit([...last, colors(process.stderr).red(`Temporal does not answer (${oneLine(why)}): still trying`)]).join('\n')),
    end: () => logUpdateStderr.clear(),
  };
}

const MAX_HOSTS = 12;
const MAX_FAILURES = 3;

/** Everything that the live view shows. */
export function liveLines(description: MigrationDescription, meter: RateMeter, now: number, hint = 'Ctrl-C leaves; the migration goes on'): readonly string[] {
  const { summary } = description;
  const paint = colors(process.stderr);
  const state = stateWords(description);
  const color = summary.outcome === 'waiting' ? paint.yellow : summary.outcome === 'failed' ? paint.red : paint.cyan;
  return [
    `${paint.bold(oneLine(description.id))}  ${summary.phase}  ${paint.dim(between(summary.started, undefined, now))}${paceWords(summary, meter).map((words) => `  ${words}`).join('')}`,
    color(state),
    '',
    ...phaseProgress(summary).map((phase) => phaseLine(phase, paint)),
    ...hostLines(countedHosts(summary), paint),
    ...failureLines(description, paint),
    paint.dim(hint),
  ];
}

type Paint = ReturnType<typeof colors>;

function phaseLine({ phase, done, total, state }: PhaseProgress, paint: Paint): string {
  const drawn = bar(done, total, paint);
  const line = `${phase.padEnd(8)} ${drawn} ${String(done)}/${String(total)}`;
  return state === 'ahead' ? paint.dim(line) : state === 'runs' ? paint.bold(line) : line;
}

function hostLines(hosts: readonly HostProgress[], paint: Paint): readonly string[] {
  if (hosts.length < 2) return [];
  // Those that have the most to do are the ones that are waited for.
  const byRest = [...hosts].sort((left, right) => right.total - right.done - (left.total - left.done));
  const width = Math.min(24, Math.max(...byRest.slice(0, MAX_HOSTS).map(({ host }) => oneLine(host).length)));
  const shown = byRest.slice(0, MAX_HOSTS).map(({ host, done, failed, total }) => {
    const bad = failed > 0 ? paint.red(` ${String(failed)} failed`) : '';
    return `  ${oneLine(host).slice(0, width).padEnd(width)} ${bar(done, total, paint)} ${String(done)}/${String(total)}${bad}`;
  });
  const more = hosts.length - shown.length;
  return ['', ...shown, ...(more > 0 ? [paint.dim(`  and ${String(more)} more hosts`)] : [])];
}

function failureLines({ summary }: MigrationDescription, paint: Paint): readonly string[] {
  if (summary.failuresTotal === 0) return [''];
  const shown = summary.failures
    .slice(-MAX_FAILURES)
    .map(({ host, database, table, code, message }) => `  ${oneLine(`${host} ${database}.${table}`)}: ${code}: ${oneLine(message)}`);
  return ['', paint.red(`${String(summary.failuresTotal)} failed, lately:`), ...shown, ''];
}

const BAR_WIDTH = 30;

function bar(done: number, total: number, paint: Paint): string {
  const filled = total === 0 ? 0 : Math.round((Math.min(done, total) / total) * BAR_WIDTH);
  return `${paint.green('█'.repeat(filled))}${paint.dim('░'.repeat(BAR_WIDTH - filled))}`;
}

/** A view taller than the terminal cannot be redrawn in place. */
function fit(lines: readonly string[]): readonly string[] {
  const rows = (process.stderr.rows as number | undefined) ?? 24;
  return lines.slice(0, Math.max(4, rows - 2));
}
