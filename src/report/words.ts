import type { MigrationDescription } from '../client/describe';
import { duration, paceWords, stageDone, type RateMeter } from '../domain/progress';

/** From one ISO time to another; to now where the second is absent. */
export function between(started: string, ended: string | undefined, now: number): string {
  return duration((ended === undefined ? now : Date.parse(ended)) - Date.parse(started));
}

/** `1 host`, `2 hosts`. */
export function counted(n: number, what: string): string {
  return `${String(n)} ${what}${n === 1 ? '' : 's'}`;
}

/** Control characters would move the cursor, and line breaks tear a table: names come from servers. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim();
}

/** Why nothing goes on, or `undefined` when it does. */
export function waitingWords({ summary, reasons }: MigrationDescription): string | undefined {
  const waiting = summary.waitingFor?.reason;
  // What an activity asks for may be the migration's own word already.
  const words = waiting === undefined ? reasons : [waiting, ...reasons.filter((reason) => !waiting.includes(reason))];
  return words.length === 0 ? undefined : words.map(oneLine).join('; ');
}

/** The one status line: how far, how fast, how long, and always why. */
export function statusLine(description: MigrationDescription, meter: RateMeter): string {
  const { summary } = description;
  const stage = stageDone(summary);
  const parts = [`${description.id}: ${summary.phase}${stage === undefined ? '' : ` ${progressWords(stage)}`}`];
  parts.push(...paceWords(summary, meter));
  if (summary.failuresTotal > 0) parts.push(`${String(summary.failuresTotal)} failed`);
  parts.push(stateWords(description));
  return parts.join(', ');
}

/** `running`, or what it waits for. */
export function stateWords(description: MigrationDescription): string {
  const { outcome, aborting, paused } = description.summary;
  const state = outcome === 'running' && aborting ? 'aborting' : outcome === 'waiting' && paused ? 'paused' : outcome;
  const why = waitingWords(description) ?? (description.closedBecause === undefined ? undefined : oneLine(description.closedBecause));
  return why === undefined ? state : `${state}: ${why}`;
}

function progressWords({ done, total }: { readonly done: number; readonly total: number }): string {
  const percent = total === 0 ? 100 : (done / total) * 100;
  return `${String(done)}/${String(total)} (${percent.toFixed(1)}%)`;
}
