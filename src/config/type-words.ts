/** What a value is, in the words of somebody who writes YAML. Text is named and never repeated: it may be a secret. */
export function typeWords(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return 'a string';
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
    case 'bigint':
      return `the number ${String(value)}`;
    default:
      return 'a mapping';
  }
}

const EXPECTED: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'a mapping',
  record: 'a mapping',
  string: 'a string',
};

interface RawIssue {
  readonly code?: string | undefined;
  readonly input?: unknown;
  readonly expected?: unknown;
  readonly values?: unknown;
}

/** Words for the issues of zod that the schema has none for. */
export function issueWords(issue: RawIssue): string {
  if (issue.input === undefined) return 'is required';
  if (Array.isArray(issue.values)) return `expected one of ${issue.values.map(String).join(', ')}`;
  const expected = EXPECTED[String(issue.expected)] ?? 'something else';
  const scalar = typeof issue.input === 'number' || typeof issue.input === 'boolean';
  const hint = expected === 'a string' && scalar ? '; quote it' : '';
  return `expected ${expected}, found ${typeWords(issue.input)}${hint}`;
}
