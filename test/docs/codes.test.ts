import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { FAILURE_KINDS } from '../../src/domain/failure';

const ROOT = resolve(__dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8');

function section(heading: string): string {
  const [, text = ''] = PAGE.split(`\n## ${heading}\n`);
  return text.split('\n## ')[0] ?? '';
}

/** Codes that the preflight refuses or warns with, from its source: they are plain words, not a type. */
function findingCodes(how: 'refuse' | 'warn'): string[] {
  const dir = join(ROOT, 'src/activities');
  const source = readdirSync(dir).map((file) => readFileSync(join(dir, file), 'utf8')).join('\n');
  const calls = [...source.matchAll(new RegExp(`found\\.${how}\\(\\s*([^,]*(?:\\?[^,]*)?),`, 'g'))].map(([, first = '']) => first);
  return [...new Set(calls.flatMap((call) => [...call.matchAll(/'([A-Z_]+)'/g)].map(([, code = '']) => code)))];
}

describe('docs/operations.md', () => {
  it('has every failure code, with its kind', () => {
    const rows = new Map([...section('Failure codes').matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, code = '', kind = '']) => [code, kind]));
    assert.deepEqual(Object.fromEntries([...rows].sort()), Object.fromEntries(Object.entries(FAILURE_KINDS).sort()));
  });

  it('has every code that the preflight refuses with', () => {
    const listed = [...section('What the preflight refuses').matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code);
    const codes = findingCodes('refuse');
    assert.ok(codes.length > 15, codes.join(' '));
    for (const code of codes) assert.ok(listed.includes(code), `${code} has no row`);
  });

  it('has every code that the preflight warns with', () => {
    for (const code of findingCodes('warn')) assert.ok(section('What the preflight refuses').includes(`\`${code}\``), code);
  });
});

/** Codes of `found.refuse(error.type, …)`, and of warnings that the end of a run adds: they stand in no call's first argument. */
const BESIDE = ['HOST_UNREACHABLE', 'AUTHENTICATION_FAILED', 'MISSING_VARIABLE', 'ACCESS_DENIED', 'SETTING_FIXED', 'LEFT_IN_DETACHED', 'HOST_LEFT_OUT', 'ZERO_COPY_LEFT', 'ZERO_COPY_BLOBS_LEFT', 'LEFT_WITHOUT_MERGES', 'HOST_RECONFIGURED', 'NOT_REPLICATED'];

describe('what the preflight refuses and warns of', () => {
  it('each is provoked by a test', () => {
    const dir = join(ROOT, 'test/integration');
    const tests = readdirSync(dir).map((file) => readFileSync(join(dir, file), 'utf8')).join('\n');
    const codes = [...findingCodes('refuse'), ...findingCodes('warn'), ...BESIDE];
    assert.deepEqual(codes.filter((code) => !new RegExp(`\\b${code}\\b`, 'u').test(tests)), []);
  });
});
