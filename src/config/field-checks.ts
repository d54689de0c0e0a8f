/**
 * What can be wrong with one value of a spec, in the users' words. Each check returns the fault, or `undefined`; none repeats a value that
 * may hold a secret.
 */
import { DurationError, parseDuration } from './durations';
import { quoted } from './key-path';

export type Check = (text: string) => string | undefined;

export const SECRET_IN_URL = 'a secret itself is refused here; put the password into a variable and name it with passwordEnv';

export const VARIABLE_PATTERN = '^[A-Za-z_][A-Za-z0-9_]*$';
export const HOST_NAME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$';

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;
const MAX_ID_LENGTH = 200;
const MAX_TASK_QUEUE_LENGTH = 1000;

export const idFault: Check = (id) => {
  if (id.trim() === '') return 'must not be empty';
  if (id.length > MAX_ID_LENGTH) return `has at most ${String(MAX_ID_LENGTH)} characters`;
  if (UNPRINTABLE.test(id)) return 'has only printable characters, on one line';
  if (id !== id.trim()) return 'has no space at its beginning or end';
  return id.endsWith('.plan') ? 'must not end in .plan: that is the dry run of the migration with the name before it' : undefined;
};

export const taskQueueFault: Check = (name) => {
  if (name.trim() === '') return 'must not be empty';
  if (name.length > MAX_TASK_QUEUE_LENGTH) return `has at most ${String(MAX_TASK_QUEUE_LENGTH)} characters`;
  if (name.startsWith('__temporal_')) return 'must not begin with __temporal_, which the server keeps for itself';
  return UNPRINTABLE.test(name) ? 'has only printable characters, on one line' : undefined;
};

/** A name that can stand in a command, a file and a table without being taken for something else (an option, a path). */
export const hostNameFault: Check = (name) =>
  new RegExp(HOST_NAME_PATTERN).test(name)
    ? undefined
    : 'a host name has letters, digits, dots, dashes and underscores, and begins with a letter or digit';

export const variableFault: Check = (name) =>
  new RegExp(VARIABLE_PATTERN).test(name)
    ? undefined
    : "expected a variable's name (letters, digits and _, no digit first), not what is in it; a secret itself is refused here";

export const durationFault: Check = (text) => {
  try {
    parseDuration(text);
    return undefined;
  } catch (error) {
    if (error instanceof DurationError) return error.message;
    throw error;
  }
};

export const timeoutFault: Check = (text) => durationFault(text) ?? (parseDuration(text) === 0 ? 'must be longer than 0s' : undefined);

const LONGEST_LISTING = '12h';

/** The time of a command within an activity that has a day. */
export const listingTimeoutFault: Check = (text) =>
  timeoutFault(text) ?? (parseDuration(text) > parseDuration(LONGEST_LISTING) ? `is at most ${LONGEST_LISTING}` : undefined);

export const urlFault: Check = (text) => {
  if (/^[^/?#]*:\/\/[^/?#]*@/.test(text)) return SECRET_IN_URL;
  const url = /^https?:\/\//i.test(text) && !/\s/.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return 'expected http://host:port or https://host:port';
  if (url.username !== '' || url.password !== '') return SECRET_IN_URL;
  const bare = url.pathname === '/' && !/[?#]/.test(text);
  return bare ? undefined : 'expected scheme, host and port alone: no path and no query';
};

/** A path of a file, as the worker will use it. */
export const fileFault: Check = (path) => {
  if (path.trim() === '') return 'must not be empty';
  if (UNPRINTABLE.test(path)) return 'has only printable characters, on one line';
  return path.endsWith('/') ? 'expected a file, found a directory (a slash at the end)' : undefined;
};

export const nameFault: Check = (name) => (name === '' ? 'must not be empty' : undefined);

const SECRET_IN_ARGUMENT = /:\/\/[^/\s:@]*:[^/\s@]+@/;

/** One argument of a command. `{host}` is filled in; any other `{name}` is a mistake, and so are a shell's and a template's forms of it. */
export const argumentFault: Check = (argument) => {
  if (argument.includes('\0')) return 'an argument has no NUL character';
  if (SECRET_IN_ARGUMENT.test(argument)) return 'a secret itself is refused here: this has user:password@ in it';
  if (/\$\{host\}|\{\{\s*host\s*\}\}/i.test(argument)) return 'write {host}: no shell and no template reads this';
  const unknown = /(?<![${])\{([A-Za-z_][\w-]*)\}(?!\})/g;
  const name = [...argument.matchAll(unknown)].map((match) => match[1] ?? '').find((found) => found !== 'host');
  return name === undefined ? undefined : `unknown placeholder ${quoted(`{${name}}`)}; only {host} is filled in`;
};

/** One argument of a command that is run once for all hosts: nothing is filled in. */
export const plainArgumentFault: Check = (argument) => {
  if (argument.includes('{host}')) return 'is run once, for no host: {host} is not filled in';
  return argument.includes('\0') || SECRET_IN_ARGUMENT.test(argument) ? argumentFault(argument) : undefined;
};

/** What is put before a key of an object storage. */
export const prefixFault: Check = (prefix) => (UNPRINTABLE.test(prefix) ? 'has only printable characters, on one line' : undefined);

/** An argument with the host's name in it. */
export function fillIn(argument: string, host: string): string {
  return argument.replaceAll('{host}', () => host);
}
