/** The way to a value in a spec: keys of mappings and indexes of lists. */
export type KeyPath = readonly (string | number)[];

const PLAIN_KEY = /^[A-Za-z_][\w-]*$/;
const LONGEST_KEY = 60;

/** `['clickhouse', 'hosts', 1, 'url']` as `clickhouse.hosts[1].url`; a key that would be unreadable so is quoted. */
export function formatPath(path: KeyPath): string {
  return path.map(formatStep).join('').replace(/^\./, '');
}

function formatStep(step: string | number): string {
  if (typeof step === 'number') return `[${String(step)}]`;
  return PLAIN_KEY.test(step) ? `.${shortened(step)}` : `[${quoted(step)}]`;
}

/** A name for a message: quoted, on one line, and not longer than a line bears. */
export function quoted(name: string): string {
  return JSON.stringify(shortened(name));
}

function shortened(name: string): string {
  return name.length > LONGEST_KEY ? `${name.slice(0, LONGEST_KEY)}…` : name;
}
