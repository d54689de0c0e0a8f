/** The report's timeline as inline SVG: a lane for the phases, one a host, marks for messages and failures. Pure. */
import { duration } from '../domain/progress';
import type { ReportData } from './report-data';
import { markup, type SafeHtml } from './safe-html';

const WIDTH = 1100;
const LABEL = 130;
const LANE = 26;
const MAX_HOSTS = 40;
const TICKS = 6;
/** Room on the right for half of the last tick's label. */
const MARGIN = 40;

interface Scale {
  readonly from: number;
  readonly to: number;
  readonly x: (at: number) => number;
}

interface Span {
  readonly from: number;
  readonly to: number;
}

export function timeline(data: ReportData): SafeHtml {
  const scale = scaleOf(data);
  const hosts = hostNames(data);
  const height = LANE * (hosts.length + 1) + 40;
  return markup`<div class="scroll"><svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="timeline">
${axis(scale, height)}
${lane('phases', 0, phaseBars(data, scale))}
${hosts.map((host, index) => lane(host, index + 1, hostBars(data, host, scale, index + 1)))}
${marks(data, scale, height)}
</svg></div>`;
}

function scaleOf(data: ReportData): Scale {
  const from = Date.parse(data.started);
  const to = Math.max(from + 1, Date.parse(data.ended ?? data.generated));
  return { from, to, x: (at) => round(LABEL + ((Math.min(Math.max(at, from), to) - from) / (to - from)) * (WIDTH - LABEL - MARGIN)) };
}

function axis({ from, to, x }: Scale, height: number): SafeHtml[] {
  return Array.from({ length: TICKS + 1 }, (_, index) => {
    const at = from + ((to - from) * index) / TICKS;
    const label = index === 0 ? '0' : duration(at - from);
    return markup`<line class="grid" x1="${x(at)}" y1="0" x2="${x(at)}" y2="${height - 30}"/><text class="tick" x="${x(at)}" y="${height - 12}">${label}</text>`;
  });
}

function lane(label: string, row: number, bars: readonly SafeHtml[]): SafeHtml {
  const short = label.length > 18 ? `${label.slice(0, 17)}…` : label;
  return markup`<g><title>${label}</title><text class="lane" x="${LABEL - 10}" y="${row * LANE + 18}">${short}</text>${bars}</g>`;
}

function phaseBars(data: ReportData, scale: Scale): SafeHtml[] {
  return data.phases.map(({ phase, started, ended }) => {
    const span = { from: Date.parse(started), to: ended === undefined ? scale.to : Date.parse(ended) };
    return rect(scale, span, 0, phase, `${phase}: ${duration(span.to - span.from)}`);
  });
}

function hostBars(data: ReportData, host: string, scale: Scale, row: number): SafeHtml[] {
  const byPhase = new Map<string, Span[]>();
  for (const activity of data.activities) {
    if (activity.phase === undefined || !touches(activity, host)) continue;
    const span = { from: Date.parse(activity.started ?? activity.scheduled), to: Date.parse(activity.ended) };
    const spans = byPhase.get(activity.phase);
    if (spans === undefined) byPhase.set(activity.phase, [span]);
    else spans.push(span);
  }
  const pixel = (scale.to - scale.from) / (WIDTH - LABEL - MARGIN);
  return [...byPhase].flatMap(([phase, spans]) => merge(spans, pixel).map((span) => rect(scale, span, row, phase, `${host} ${phase}`)));
}

function touches({ host, replicas }: ReportData['activities'][number], name: string): boolean {
  return host === name || (host === undefined && replicas.some((replica) => replica.host === name));
}

/** Spans that overlap, or lie closer than a pixel, as one. */
function merge(spans: readonly Span[], gap: number): Span[] {
  const merged: Span[] = [];
  for (const span of [...spans].sort((left, right) => left.from - right.from)) {
    const last = merged.at(-1);
    if (last !== undefined && span.from <= last.to + gap) merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, span.to) };
    else merged.push(span);
  }
  return merged;
}

function rect({ x }: Scale, { from, to }: Span, row: number, phase: string, title: string): SafeHtml {
  const width = Math.max(1, round(x(to) - x(from)));
  return markup`<rect class="${phase}" x="${x(from)}" y="${row * LANE + 4}" width="${width}" height="${LANE - 8}"
    ><title>${title}</title></rect
  >`;
}

function marks(data: ReportData, { x }: Scale, height: number): SafeHtml[] {
  const decisions = data.decisions.map(
    ({ at, what, by }) =>
      markup`<line class="decision" x1="${x(Date.parse(at))}" y1="0" x2="${x(Date.parse(at))}" y2="${height - 30}"
        ><title>${what}${by === undefined ? '' : ` by ${by}`}</title></line
      >`,
  );
  const failures = data.failures
    .filter((failure) => failure.final)
    .map(
      ({ at, where, code }) =>
        markup`<circle class="failure" cx="${x(Date.parse(at))}" cy="${height - 34}" r="4"><title>${where}: ${code}</title></circle>`,
    );
  return [...decisions, ...failures];
}

function hostNames(data: ReportData): string[] {
  const names = new Set([...data.tables.map(({ host }) => host), ...data.restarts.map(({ host }) => host ?? '')]);
  names.delete('');
  return [...names].sort().slice(0, MAX_HOSTS);
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
