import { dirname, resolve } from 'node:path';

import type { MigrationSpec, TableSelection } from '../domain/spec';
import { checkTogether } from './check-spec';
import { formatPath } from './key-path';
import { overrideFaults, type SpecOverrides } from './overrides';
import { type FileText, readText } from './read-text';
import { resolveSpec } from './resolve-spec';
import { specSchema } from './schema';
import { shapeFaults } from './shape-faults';
import { SpecError, type SpecFault } from './spec-error';
import { SpecView } from './spec-view';
import { parseTableList } from './table-list';
import { readTakeOver, type ReadTakeOver, type TakeOverChoices } from './take-over';
import { type PathFault, readYaml, type YamlSource } from './yaml-source';
import { typeWords } from './type-words';

export type { SpecOverrides } from './overrides';
export { formatFault, SpecError, type SpecFault } from './spec-error';

/** Where a spec came from. */
export interface SpecSource {
  /** The file, as it was named. */
  readonly file: string;
  /** As it stands in the file. */
  readonly text: string;
  /** The file of `tables.from`, where there is one. */
  readonly tablesFile?: string;
}

export interface LoadedSpec {
  readonly spec: MigrationSpec;
  readonly source: SpecSource;
}

export interface ParseOptions {
  /** The spec's file, for messages and for the paths in it; it is not read. */
  readonly file?: string;
  readonly overrides?: SpecOverrides;
  /** What stands in the file of `tables.from`. */
  readonly tables?: FileText;
  /** What stands in the status file of the run that is resumed (`overrides.takeOver`). */
  readonly statusFile?: FileText;
}

/** The workflow's input must fit into a payload, with room for what it carries over: Temporal refuses more than 2 MB. */
const MAX_SPEC_BYTES = 2 ** 20;

/**
 * Reads a spec and the list of tables it may name, checks everything that can be checked without contacting anything, and fills in the
 * defaults. Secrets are not read: that is the worker's.
 *
 * @throws {SpecError} with every fault at once
 */
export async function loadSpec(file: string, overrides: SpecOverrides = {}): Promise<LoadedSpec> {
  const read = await readText(file);
  if ('fault' in read) throw new SpecError(file, [{ path: '', message: read.fault }, ...overrideFaults(overrides)]);
  const source = readYaml(read.text);
  const from = new SpecView(source.value, []).text(['tables', 'from']);
  const tables = typeof from === 'string' && from !== '' ? await readText(resolve(dirname(file), from)) : undefined;
  const statusFile = overrides.takeOver?.file === undefined ? undefined : await readText(overrides.takeOver.file);
  return specFrom(source, read.text, {
    file,
    overrides,
    ...(tables === undefined ? {} : { tables }),
    ...(statusFile === undefined ? {} : { statusFile }),
  });
}

/**
 * The same for text that was read already. Pure.
 *
 * @throws {SpecError} with every fault at once
 */
export function parseSpec(text: string, options: ParseOptions = {}): LoadedSpec {
  return specFrom(readYaml(text), text, options);
}

function specFrom(source: YamlSource, text: string, { file = 'spec.yaml', overrides = {}, tables, statusFile }: ParseOptions): LoadedSpec {
  const shape = mappingFaults(source) ?? shapeFaults(specSchema, source.value);
  const view = new SpecView(
    source.value,
    shape.map(({ path }) => path),
  );
  const listed = tablesFrom(view, tables);
  const own = located(source, [...source.faults, ...shape, ...checkTogether(view), ...listed.unread]);
  const taken = takeOverFrom(view, overrides.takeOver, statusFile);
  const faults = [...own, ...listed.faults, ...overrideFaults(overrides), ...taken.faults];
  const parsed = specSchema.safeParse(source.value);
  if (faults.length > 0 || !parsed.success) throw new SpecError(file, faults);
  const spec = resolveSpec(parsed.data, file, overrides, listed.list, taken.takeOver);
  if (Buffer.byteLength(JSON.stringify(spec)) > MAX_SPEC_BYTES) throw new SpecError(file, located(source, [tooLarge(listed.list)]));
  return { spec, source: { file, text, ...(listed.list === undefined || tables === undefined ? {} : { tablesFile: tables.file }) } };
}

/** What is wrong before any key can be looked at; `undefined` when nothing is. */
function mappingFaults({ value }: YamlSource): PathFault[] | undefined {
  if (value === undefined) return [];
  if (value === null) return [{ path: [], line: 1, message: 'the file is empty, expected a spec (id, clickhouse, zookeeper)' }];
  if (typeof value === 'object' && !Array.isArray(value)) return undefined;
  return [{ path: [], message: `expected a mapping (id, clickhouse, zookeeper), found ${typeWords(value)}` }];
}

/** By line, so that they can be mended from top to bottom. */
function located(source: YamlSource, faults: readonly PathFault[]): SpecFault[] {
  return faults
    .map(({ path, line, message }) => ({ path: formatPath(path), line: line ?? source.lineOf(path) ?? 1, message }))
    .sort((a, b) => a.line - b.line);
}

interface ListedTables {
  readonly list?: TableSelection['list'];
  /** Faults of the list, with its lines. */
  readonly faults: SpecFault[];
  /** Faults of the key that names it. */
  readonly unread: PathFault[];
}

function tablesFrom(view: SpecView, tables: FileText | undefined): ListedTables {
  const path = ['tables', 'from'];
  if (typeof view.text(path) !== 'string') return { faults: [], unread: [] };
  if (tables === undefined) return { faults: [], unread: [{ path, message: 'the list was not read' }] };
  const { file } = tables;
  if ('fault' in tables) return { faults: [], unread: [{ path, message: `${file} ${tables.fault}` }] };
  const { list, faults } = parseTableList(tables.text, knownHosts(view));
  return { list, unread: [], faults: faults.map((fault) => listFault(fault, file)) };
}

function takeOverFrom(view: SpecView, choices: TakeOverChoices | undefined, text: FileText | undefined): ReadTakeOver {
  if (choices === undefined) return { faults: [] };
  return readTakeOver(choices, text, knownHosts(view));
}

/** The names of the spec's hosts; `undefined` where one of them has none that can be read. */
function knownHosts(view: SpecView): string[] | undefined {
  const names = view.hosts().map((host) => view.text([...host, 'name']));
  const known = names.filter((name) => typeof name === 'string');
  return known.length === names.length ? known : undefined;
}

function listFault({ path, line = 1, message }: PathFault, file: string): SpecFault {
  return { path: `tables.from${formatPath(path)}`, file, line, message };
}

function tooLarge(list: TableSelection['list']): PathFault {
  const message = `the spec is larger than ${String(MAX_SPEC_BYTES / 2 ** 10)} KiB, which a workflow cannot be started with`;
  return list === undefined
    ? { path: [], message }
    : { path: ['tables', 'from'], message: `${message}: list fewer tables, or use include` };
}
