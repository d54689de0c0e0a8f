#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Command, CommanderError } from 'commander';

import { addGlobalOptions, CliError, EXIT, reportError } from './cli/common';

interface Entry {
  readonly name: string;
  /** Its arguments, as `--help` lists them. */
  readonly usage: string;
  readonly summary: string;
  /** Whether it talks to Temporal. */
  readonly temporal: boolean;
  readonly load: () => Promise<Command>;
}

/** A command's module is loaded when its name is on the command line, so that `--help` is quick. */
const COMMANDS: readonly Entry[] = [
  local('plan <spec>', 'what would happen, host by host, statement by statement; changes nothing', async () =>
    (await import('./cli/plan.js')).planCommand(),
  ),
  remote('start <spec>', 'a dry run as a workflow, or with --execute the migration', async () =>
    (await import('./cli/start.js')).startCommand(),
  ),
  remote('watch <id>', 'live: phase, bars, rate, ETA, the reason for waiting, last failures', async () =>
    (await import('./cli/watch.js')).watchCommand(),
  ),
  remote('status <id>', 'one look, also for an ended migration', async () => (await import('./cli/status.js')).statusCommand()),
  remote('pause <id>', 'nothing new starts, running statements finish', async () => (await import('./cli/pause.js')).pauseCommand()),
  remote('resume <id>', 'lifts a pause', async () => (await import('./cli/resume.js')).resumeCommand()),
  remote('approve <id> <phase>', 'lets one gate through', async () => (await import('./cli/approve.js')).approveCommand()),
  remote('set <id> <key=value...>', 'changes a limit while it runs', async () => (await import('./cli/set.js')).setCommand()),
  remote('retry <id>', 'resumes a failed migration; proved work is not repeated', async () =>
    (await import('./cli/retry.js')).retryCommand(),
  ),
  remote('abort <id>', 'stops, and leaves no table detached', async () => (await import('./cli/abort.js')).abortCommand()),
  remote('list', 'migrations known to the Temporal server', async () => (await import('./cli/list.js')).listCommand()),
  remote('export <id>', 'the YAML status file, from history', async () => (await import('./cli/export.js')).exportCommand()),
  remote('report <id>', 'one self-contained HTML page', async () => (await import('./cli/report.js')).reportCommand()),
  remote('doctor <spec>', 'what is reachable, with which rights and versions, and what to fix', async () =>
    (await import('./cli/doctor.js')).doctorCommand(),
  ),
  remote('worker [spec]', 'runs a worker', async () => (await import('./cli/worker.js')).workerCommand()),
  local('dev <command>', 'the embedded stack: Temporal, ZooKeeper, ClickHouse hosts', async () =>
    (await import('./cli/dev.js')).devCommand(),
  ),
  local('demo', 'a whole migration on the embedded stack, proved', async () => (await import('./cli/demo.js')).demoCommand()),
];

function remote(signature: string, summary: string, load: Entry['load']): Entry {
  return { ...local(signature, summary, load), temporal: true };
}

function local(signature: string, summary: string, load: Entry['load']): Entry {
  const [name = '', ...usage] = signature.split(' ');
  return { name, usage: usage.join(' '), summary, temporal: false, load };
}

const GLOBAL_VALUES = ['--address', '--namespace', '--profile'];

async function main(argv: readonly string[]): Promise<number> {
  endQuietlyWhenNobodyReads();
  try {
    const program = await buildProgram(argv.slice(2));
    if (argv.length <= 2) {
      program.outputHelp({ error: true });
      return EXIT.USAGE;
    }
    await program.parseAsync(argv);
    return Number(process.exitCode ?? EXIT.DONE);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.DONE;
    // A command of commands, such as `dev`, alone: its help was shown.
    const json = argv.includes('--json');
    if (error instanceof CommanderError && error.code === 'commander.help' && !json) return EXIT.USAGE;
    return reportError(withHelp(error, argv.slice(2)), { json });
  }
}

/** Wrong use names the help to read. */
function withHelp(error: unknown, args: readonly string[]): unknown {
  if (!(error instanceof CommanderError)) return error;
  const wanted = wantedCommand(args);
  const known = COMMANDS.some(({ name }) => name === wanted);
  const next = ['ch-zk-migrate', ...(known && wanted !== undefined ? [wanted] : []), '--help'].join(' ');
  const words = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '');
  return new CliError(EXIT.USAGE, words, { next, cause: error });
}

async function buildProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('ch-zk-migrate')
    .description(
      'Moves the replicated tables of a ClickHouse cluster to another ZooKeeper path, root or ensemble, and proves that every row is back.',
    )
    .version(version())
    .enablePositionalOptions()
    .addHelpText('after', HELP_END);
  addGlobalOptions(program, { temporal: true });
  const wanted = wantedCommand(args);
  for (const entry of COMMANDS) program.addCommand(entry.name === wanted ? await loadCommand(entry) : listing(entry));
  program.hook('preAction', (_root, action) => {
    for (let above = action.parent; above !== null; above = above.parent) handDown(above, action);
  });
  prepare(program);
  return program;
}

const HELP_END = `
Exit codes: 0 done; 1 failed; 2 wrong use or a bad spec; 3 refused by preflight; 4 waits for somebody; 130 interrupted while watching.

Example:
  $ ch-zk-migrate plan orders.yaml
  $ ch-zk-migrate start orders.yaml --execute --watch
  $ ch-zk-migrate COMMAND --help`;

async function loadCommand(entry: Entry): Promise<Command> {
  const command = await entry.load();
  if (command.summary() === '') command.summary(entry.summary);
  for (const each of family(command)) addGlobalOptions(each, entry);
  // What stands behind the name of a sub-command is the sub-command's.
  if (command.commands.length > 0) command.enablePositionalOptions();
  return command;
}

/** A command as `--help` lists it. */
function listing(entry: Entry): Command {
  const command = new Command(entry.name).summary(entry.summary).allowUnknownOption();
  if (entry.usage !== '') command.arguments(entry.usage);
  return command;
}

/** The first word that is no option and no option's value; after `help`, the one behind it. */
function wantedCommand(args: readonly string[]): string | undefined {
  const words = args.filter((word, index) => !word.startsWith('-') && !GLOBAL_VALUES.includes(args[index - 1] ?? ''));
  return words[0] === 'help' ? words[1] : words[0];
}

/** A command and all that are below it. */
function family(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(family)];
}

/** Commander ends the process and writes by itself, unless every command is told not to. */
function prepare(command: Command): void {
  command
    .exitOverride()
    .configureOutput({ writeErr: (text) => void process.stderr.write(text), outputError: () => undefined })
    .showHelpAfterError(false);
  for (const child of command.commands) prepare(child);
}

/** `ch-zk-migrate --json status ID` means the same as `ch-zk-migrate status ID --json`. */
function handDown(above: Command, action: Command): void {
  for (const [key, value] of Object.entries(above.opts())) {
    const takes = action.options.some((option) => option.attributeName() === key);
    if (takes && action.getOptionValue(key) === undefined) action.setOptionValue(key, value);
  }
}

function version(): string {
  const file = readFileSync(join(__dirname, '..', '..', 'package.json'), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}

/** `ch-zk-migrate … | head` is no failure. */
function endQuietlyWhenNobodyReads(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? EXIT.DONE : EXIT.FAILED));
}

/** A pipe takes a long answer bit by bit, and an exit would cut it off. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise((resolve) => stream.write('', resolve));
}

void main(process.argv).then(async (code) => {
  await Promise.all([written(process.stdout), written(process.stderr)]);
  process.exit(code);
});
