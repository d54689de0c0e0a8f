import { type Document, isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument, type YAMLError } from 'yaml';

import type { KeyPath } from './key-path';
import { tooDeepAt } from './yaml-nesting';

/** A fault whose path is not text yet. */
export interface PathFault {
  readonly path: KeyPath;
  readonly line?: number | undefined;
  readonly message: string;
}

/** A YAML document as plain data, with the lines its values stand on. */
export interface YamlSource {
  /** `undefined` when the text could not be read. */
  readonly value: unknown;
  /** What is wrong with the text as YAML. Duplicate keys leave `value` readable; everything else does not. */
  readonly faults: readonly PathFault[];
  /** The line (from 1) of a key or list item; of the nearest one above it for what is not written. */
  lineOf(path: KeyPath): number | undefined;
}

const MAX_ALIASES = 100;
const TOO_DEEP = 'nested too deeply';

/** Words for what the parser cannot read. Its own messages are used for no code that may repeat a piece of the text. */
const SYNTAX: Partial<Record<YAMLError['code'], string>> = {
  BAD_DQ_ESCAPE: 'an unknown escape in double quotes; single quotes take a backslash as it is',
  BAD_INDENT: 'the indentation does not fit what stands above it, or a bracket above is left open',
  BAD_SCALAR_START: 'text that begins with this character must be quoted',
  BLOCK_AS_IMPLICIT_KEY: 'a mapping begins where only a value can be; text with ": " in it must be quoted',
  MISSING_CHAR: 'a closing quote, bracket, brace or comma is missing',
  MULTIPLE_DOCS: 'expected one document, found a second one after ---',
  TAB_AS_INDENT: 'a tab is no indentation; use spaces',
  NON_STRING_KEY: 'a key is plain text here',
  TAG_RESOLVE_FAILED: 'this tag is not known here',
  UNEXPECTED_TOKEN: 'something stands here that YAML does not allow',
};

/** Reads one document of YAML 1.2. Never throws: what is wrong is in `faults`. */
export function readYaml(text: string): YamlSource {
  const lines = new LineCounter();
  const unreadable = (faults: readonly PathFault[]): YamlSource => ({ value: undefined, faults, lineOf: () => undefined });
  const deep = tooDeepAt(text);
  if (deep !== undefined) return unreadable([{ path: [], line: text.slice(0, deep).split('\n').length, message: TOO_DEEP }]);
  try {
    const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, version: '1.2', stringKeys: true });
    const faults = syntaxFaults(doc, lines);
    return faults.length > 0 ? unreadable(faults) : readDocument(doc, lines);
  } catch (error) {
    return unreadable([{ path: [], line: 1, message: unreadableWords(error) }]);
  }
}

function readDocument(doc: Document.Parsed, lines: LineCounter): YamlSource {
  const index = indexLines(doc.contents, lines);
  const value: unknown = doc.toJS({ maxAliasCount: MAX_ALIASES });
  const lineOf = (path: KeyPath): number | undefined => {
    const found = index.lines.get(JSON.stringify(path));
    return found ?? (path.length === 0 ? undefined : lineOf(path.slice(0, -1)));
  };
  return { value, faults: index.duplicates, lineOf };
}

/** Each thing once a line: what follows from the first mistake of a kind helps nobody. */
function syntaxFaults(doc: Document.Parsed, lines: LineCounter): PathFault[] {
  const errors = [...doc.errors, ...doc.warnings];
  const faults = errors.map((error) => ({
    path: [],
    line: lines.linePos(error.pos[0]).line,
    message: SYNTAX[error.code] ?? `cannot be read as YAML (${error.code})`,
  }));
  const { explicit, version } = doc.directives.yaml;
  const otherVersion = explicit === true && version !== '1.2' ? [{ path: [], line: 1, message: 'only YAML 1.2 is read' }] : [];
  return [...new Map([...otherVersion, ...faults].map((fault) => [`${String(fault.line)} ${fault.message}`, fault])).values()];
}

function unreadableWords(error: unknown): string {
  if (error instanceof RangeError) return TOO_DEEP;
  if (error instanceof ReferenceError && /alias count/i.test(error.message))
    return `aliases stand for too much (more than ${String(MAX_ALIASES)})`;
  if (error instanceof ReferenceError) return 'an alias stands for something that is not there, or for itself';
  throw error;
}

interface LineIndex {
  readonly lines: Map<string, number>;
  readonly duplicates: PathFault[];
}

/** Walks what is written, not what aliases stand for. */
function indexLines(contents: unknown, counter: LineCounter): LineIndex {
  const index: LineIndex = { lines: new Map(), duplicates: [] };
  const note = (path: KeyPath, node: unknown): number | undefined => {
    const offset = rangeStart(node);
    if (offset === undefined) return undefined;
    const { line } = counter.linePos(offset);
    index.lines.set(JSON.stringify(path), line);
    return line;
  };
  const walk = (node: unknown, path: KeyPath): void => {
    if (isSeq(node))
      node.items.forEach((item, at) => {
        note([...path, at], item);
        walk(item, [...path, at]);
      });
    if (isMap(node))
      node.items.forEach((pair) => {
        walkPair(pair, path);
      });
  };
  const walkPair = (pair: Pair, path: KeyPath): void => {
    const own = [...path, isScalar(pair.key) ? String(pair.key.value) : ''];
    const first = index.lines.get(JSON.stringify(own));
    const line = note(own, pair.key);
    if (first !== undefined)
      index.duplicates.push({ path: own, line, message: `the key is written twice, first on line ${String(first)}` });
    walk(pair.value, own);
  };
  note([], contents);
  walk(contents, []);
  return index;
}

function rangeStart(node: unknown): number | undefined {
  const range = (node as { range?: readonly number[] | null } | null)?.range;
  return range?.[0];
}
