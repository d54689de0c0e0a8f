/** How far a migration is, in numbers that a bar can show, and how fast it gets on. */
import prettyMs from 'pretty-ms';

import { PHASES, type Phase } from './spec';
import type { MigrationSummary } from './summary';

export interface PhaseProgress {
  readonly phase: Phase;
  readonly done: number;
  readonly total: number;
  readonly state: 'ahead' | 'runs' | 'over';
}

/** A bar a phase: replicas that have reached what the phase proves, of those that are not left out; the restart counts its own. */
export function phaseProgress(summary: MigrationSummary): readonly PhaseProgress[] {
  const { counts } = summary;
  const total = Math.max(0, summary.replicas - counts.SKIPPED);
  const cleaned = counts.ZK_CLEANED + counts.RESTORED;
  const reached: Readonly<Record<Phase, number>> = {
    detach: counts.DETACHED + cleaned,
    clean: cleaned,
    restart: restarted(summary, total),
    restore: counts.RESTORED,
  };
  return PHASES.map((phase) => ({ phase, done: Math.min(reached[phase], total), total, state: stateOf(summary, phase) }));
}

/** What the phase that runs has done so far, for a rate; `undefined` where nothing is counted. */
export function stageDone(summary: MigrationSummary): { readonly done: number; readonly total: number } | undefined {
  const { hosts, phase: stage } = summary;
  if (!(PHASES as readonly unknown[]).includes(stage)) return undefined;
  if (hosts.length > 0) return { done: sum(hosts.map(({ done, failed }) => done + failed)), total: sum(hosts.map((host) => host.total)) };
  return phaseProgress(summary).find(({ phase }) => phase === summary.phase);
}

/** The rate over the last half minute, and how long the rest will take at it. */
export class RateMeter {
  private samples: { readonly at: number; readonly done: number }[] = [];
  private what = '';

  /** Takes what is done at a time (ms); it begins anew when `what` is counted changes, or the count falls. */
  add(what: string, at: number, done: number): void {
    const last = this.samples.at(-1);
    if (what !== this.what || (last !== undefined && done < last.done)) this.samples = [];
    this.what = what;
    this.samples.push({ at, done });
    const before = this.samples.findLastIndex((sample) => sample.at <= at - WINDOW_MS);
    if (before > 0) this.samples.splice(0, before);
  }

  /** A second; `undefined` before anything moved. */
  rate(): number | undefined {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (first === undefined || last === undefined || last.done === first.done || last.at === first.at) return undefined;
    return ((last.done - first.done) * 1000) / (last.at - first.at);
  }

  /** Milliseconds until `total`, at this rate. */
  remainingMs(total: number): number | undefined {
    const [rate, last] = [this.rate(), this.samples.at(-1)];
    return rate === undefined || last === undefined ? undefined : (Math.max(0, total - last.done) / rate) * 1000;
  }
}

const WINDOW_MS = 30_000;

/** `1h 2m`, `3.4s`. */
export function duration(ms: number): string {
  return prettyMs(Math.max(0, ms), ms < 10_000 ? {} : { secondsDecimalDigits: 0, unitCount: 2 });
}

/** `12.3 tables/s` and `ETA 4m 10s`, while something moves; none for a migration that waits. */
export function paceWords(summary: MigrationSummary, meter: RateMeter): readonly string[] {
  const [stage, rate] = [stageDone(summary), meter.rate()];
  if (summary.outcome !== 'running' || stage === undefined || rate === undefined) return [];
  const left = meter.remainingMs(stage.total);
  return [`${rate.toFixed(1)} tables/s`, `ETA ${left === undefined ? 'unknown' : duration(Math.round(left / 1000) * 1000)}`];
}

function restarted({ phase, hosts, phases }: MigrationSummary, total: number): number {
  if (phase === 'restart') return sum(hosts.map((host) => host.done));
  return phases.some((times) => times.phase === 'restart' && times.ended !== undefined) ? total : 0;
}

function stateOf({ phase: now, phases, outcome }: MigrationSummary, phase: Phase): PhaseProgress['state'] {
  if (now === phase && (outcome === 'running' || outcome === 'waiting')) return 'runs';
  return phases.some((entry) => entry.phase === phase) ? 'over' : 'ahead';
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
