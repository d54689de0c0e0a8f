/** Command lines of `ch-zk-migrate` in Markdown, and whether the command line's own parser takes them. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { Command, CommanderError } from 'commander';

import { addGlobalOptions } from '../../src/cli/common';

export interface Found {
  readonly line: number;
  readonly text: string;
  /** Within a sentence, where a command may be named without its arguments. */
  readonly inline: boolean;
}

/** Code in a document: fenced lines, with their continuations, and inline spans. */
export function commandLines(markdown: string): Found[] {
  const found: Found[] = [];
  let fence: string | undefined;
  const lines = markdown.split('\n');
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (mark !== undefined) {
      fence = fence === undefined ? mark : mark.startsWith(fence) ? undefined : fence;
    } else if (fence === undefined) {
      for (const [, span = ''] of line.matchAll(/`([^`]+)`/g)) found.push({ line: index + 1, text: span, inline: true });
    } else {
      const start = index + 1;
      let text = line;
      while (text.endsWith('\\') && index + 1 < lines.length) text = `${text.slice(0, -1)} ${(lines[(index += 1)] ?? '').trim()}`;
      found.push({ line: start, text, inline: false });
    }
  }
  return found.flatMap((each) => invocations(each.text).map((text) => ({ ...each, text })));
}

/** Every call of the program in a line of shell, or in a comment of YAML. */
function invocations(text: string): string[] {
  return [...text.matchAll(/(?:^|[\s$(;&|])ch-zk-migrate((?:\s+(?:"[^"]*"|'[^']*'|[^\s"'|;&#>)`]+))+)/g)].map(([, rest = '']) => rest.trim());
}

/** Words of a simple command; quotes are taken off. */
export function words(text: string): string[] {
  return [...text.matchAll(/(?:"([^"]*)"|'([^']*)'|([^\s"']+))+/g)].map(([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}

/** Words in capitals stand for what somebody has to fill in; where only some words are taken, one of them. */
const PLACEHOLDERS: Readonly<Record<string, string>> = { PHASE: 'restore', 'KEY=VALUE': 'parallel.restore=2', N: '2', ROOT: '/root' };

/** The commands as the program has them, except that they do nothing. */
export async function parser(): Promise<Command> {
  const program = new Command('ch-zk-migrate').enablePositionalOptions().version('0');
  addGlobalOptions(program, { temporal: true });
  const dir = join(__dirname, '../../src/cli');
  for (const file of readdirSync(dir).filter((name) => name.endsWith('.js'))) {
    const exported = (await import(join(dir, file))) as Record<string, unknown>;
    const name = `${file.slice(0, -'.js'.length)}Command`;
    const make = exported[name] ?? (exported['default'] as Record<string, unknown> | undefined)?.[name];
    if (typeof make !== 'function') continue;
    const command = (make as () => Command)();
    for (const leaf of leaves(command)) addGlobalOptions(leaf, { temporal: !['plan', 'dev', 'demo'].includes(command.name()) });
    program.addCommand(command);
  }
  quieten(program);
  return program;
}

function leaves(command: Command): readonly Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function quieten(command: Command): void {
  command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  if (command.commands.length === 0) command.action(() => undefined);
  for (const child of command.commands) quieten(child);
}

/** What the parser has against a command line; undefined when it takes it. `inline`: a command's name alone is no command line. */
export async function refusal(text: string, inline = false): Promise<string | undefined> {
  const args = words(text).map((word) => PLACEHOLDERS[word] ?? word);
  if (args[0] === 'COMMAND' || args[0] === '…') return undefined;
  try {
    await (await parser()).parseAsync(args, { from: 'user' });
    return undefined;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return undefined;
    if (error instanceof CommanderError && error.code === 'commander.missingArgument' && inline && args.length === 1) return undefined;
    return error instanceof Error ? error.message : String(error);
  }
}

/** Help texts of every command, by its name. */
export async function helps(): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const visit = (command: Command, name: string): void => {
    let text = '';
    command.configureOutput({ writeOut: (piece) => (text += piece) });
    command.outputHelp();
    texts.set(name, text);
    for (const child of command.commands) visit(child, `${name} ${child.name()}`);
  };
  for (const command of (await parser()).commands) visit(command, command.name());
  return texts;
}
