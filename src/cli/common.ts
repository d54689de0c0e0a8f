/** What every command shares: exit codes, errors as text and as JSON, where things are printed. Light: it is loaded before any command. */
import { hostname, userInfo } from 'node:os';

import { type Command, InvalidArgumentError, Option } from 'commander';
import picocolors from 'picocolors';

export const EXIT = { DONE: 0, FAILED: 1, USAGE: 2, REFUSED: 3, WAITING: 4, INTERRUPTED: 130 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** One thing that is wrong with what was given: a spec, a flag, an argument. */
export interface Fault {
  /** Key path or flag. */
  readonly path: string;
  readonly line?: number;
  /** Where `line` counts in another file than the one named. */
  readonly file?: string;
  readonly message: string;
}

/** Ends a command: the message says what and where, `next` is the command to type. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: string;
  readonly next?: string;
  readonly faults: readonly Fault[];

  constructor(
    readonly exit: ExitCode,
    message: string,
    options: { readonly next?: string; readonly code?: string; readonly faults?: readonly Fault[]; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? (exit === EXIT.USAGE ? 'USAGE' : exit === EXIT.REFUSED ? 'REFUSED' : 'FAILED');
    this.faults = options.faults ?? [];
    if (options.next !== undefined) this.next = options.next;
  }
}

/** The options that every command takes. */
export interface GlobalOptions {
  readonly address?: string;
  readonly namespace?: string;
  readonly profile?: string;
  readonly json?: boolean;
}

/**
 * Adds the options that every command takes, but not those that it has already.
 *
 * @param which whether the command talks to Temporal: the others take where it is as well, so that a script may give it to all
 */
export function addGlobalOptions(command: Command, which: { readonly temporal: boolean }): void {
  const unused = which.temporal ? '' : ' (taken, and of no use here)';
  const options = [
    new Option('--address <host:port>', `Temporal, instead of TEMPORAL_ADDRESS and the profile file${unused}`),
    new Option('--namespace <name>', `Temporal's namespace, instead of TEMPORAL_NAMESPACE and the profile file${unused}`),
    new Option('--profile <name>', `a profile of Temporal's configuration file${unused}`),
    new Option('--json', 'one JSON document on stdout, for scripts'),
  ];
  for (const option of options) {
    const known = command.options.some((existing) => existing.long === option.long);
    if (!known) command.addOption(option.helpGroup('Everywhere:'));
  }
}

/** Shows how the command is used, below its help. */
export function withExample(command: Command, ...examples: readonly string[]): Command {
  return command.addHelpText('after', `\nExample:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
}

/** The result: the only thing that goes to stdout. */
export function printResult(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

let documentPrinted = false;

/** The one document of `--json`; what goes wrong after it is told on stderr. */
export function printJson(document: unknown): void {
  documentPrinted = true;
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}

/** Progress, hints, warnings: for people. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Colours for a stream, where it is a terminal and nobody said NO_COLOR. */
export function colors(stream: { readonly isTTY?: boolean }): ReturnType<typeof picocolors.createColors> {
  const refused = process.env['NO_COLOR'] !== undefined && process.env['NO_COLOR'] !== '';
  return picocolors.createColors(stream.isTTY === true && !refused && process.env['TERM'] !== 'dumb');
}

export function setExit(code: ExitCode): void {
  process.exitCode = code;
}

/** Who sends a message: `user@host`. */
export function whoami(): string {
  const user = (() => {
    try {
      return userInfo().username;
    } catch {
      return process.env['USER'] ?? 'somebody';
    }
  })();
  return `${user}@${hostname()}`;
}

/** For an option that may be given again: collects into a list. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** A whole number from 1, as commander's argument parser. */
export function positiveInteger(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return number;
}

/** Prints an error where it belongs, and gives the exit code. */
export function reportError(error: unknown, options: { readonly json: boolean }): ExitCode {
  const known = asCliError(error);
  if (options.json && !documentPrinted) printJson({ error: errorDocument(known) });
  else printNote(errorWords(known));
  if (process.env['CH_ZK_MIGRATE_DEBUG'] && error instanceof Error) printNote(error.stack ?? '');
  return known.exit;
}

/** Whatever was thrown, as an error of the command line. */
export function asCliError(error: unknown): CliError {
  if (error instanceof CliError) return error;
  const { name, message, code, faults, next, details } = describe(error);
  if (Array.isArray(faults)) {
    const said = name === 'SpecError' ? 'BAD_SPEC' : typeof code === 'string' ? code : 'BAD_INPUT';
    return new CliError(EXIT.USAGE, message.split('\n')[0] ?? message, { code: said, faults: faults as Fault[], cause: error });
  }
  if (name === 'ClientError' && typeof code === 'string') {
    const exit = code === 'TEMPORAL_CONFIG' ? EXIT.USAGE : EXIT.FAILED;
    return new CliError(exit, message, { code, ...(typeof next === 'string' ? { next } : {}), cause: error });
  }
  if (typeof code === 'number' && typeof details === 'string') {
    const words = `Temporal did not answer: ${details === '' ? message : details}`;
    return new CliError(EXIT.FAILED, words, {
      code: 'TEMPORAL_UNREACHABLE',
      next: 'try again; a running migration is not touched by this',
      cause: error,
    });
  }
  return new CliError(EXIT.FAILED, message, { code: typeof code === 'string' ? code : 'FAILED', cause: error });
}

interface Described {
  readonly name: string;
  readonly message: string;
  readonly code?: unknown;
  readonly faults?: unknown;
  readonly next?: unknown;
  readonly details?: unknown;
}

/** The SDK wraps what gRPC says: the cause has the code. */
function describe(error: unknown): Described {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { cause } = error;
  if (error.name === 'ServiceError' && cause instanceof Error) return describe(cause);
  return error;
}

function errorDocument({ code, message, faults, next }: CliError): unknown {
  return { code, message, faults, ...(next === undefined ? {} : { next }) };
}

function errorWords({ message, next, faults }: CliError): string {
  const paint = colors(process.stderr);
  const [only] = faults;
  if (faults.length === 1 && only?.path === '' && only.line === undefined) return `${paint.red('error:')} ${message.replace(/: 1 fault$/, '')} ${only.message}`;
  return [
    `${paint.red('error:')} ${message}`,
    ...faults.map((fault) => `  ${faultWords(fault)}`),
    ...(next === undefined ? [] : [`  ${paint.dim('next:')} ${next}`]),
  ].join('\n');
}

function faultWords({ path, line, file, message }: Fault): string {
  const place = [file, line === undefined ? undefined : `line ${String(line)}`].filter((part) => part !== undefined).join(' ');
  return [place, path === '' ? message : `${path}: ${message}`].filter((part) => part !== '').join('  ');
}
