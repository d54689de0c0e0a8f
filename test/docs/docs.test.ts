import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

import { loadSpec, parseSpec } from '../../src/config/load-spec';
import { commandLines, helps, refusal } from './command-lines';

const ROOT = resolve(__dirname, '../../..');
const EXAMPLES = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.yaml'));
const PAGES = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
].sort();

function read(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8');
}

/** Without what is code: links in it are none. */
function prose(markdown: string): string {
  return markdown.replace(/^(```|~~~)[^]*?^\1/gm, '').replace(/`[^`\n]*`/g, '');
}

/** The anchors of a page, as GitHub makes them. */
function anchors(markdown: string): Set<string> {
  const headings = markdown.replace(/^(```|~~~)[^]*?^\1/gm, '').matchAll(/^#+\s+(.*)$/gm);
  return new Set([...headings].map(([, text = '']) => text.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-')));
}

describe('the documents', () => {
  it('are there', () => {
    for (const page of ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/spec.md', 'docs/operations.md', 'docs/coming-from-chadmin.md']) {
      assert.ok(PAGES.includes(page), page);
    }
  });

  for (const page of PAGES) {
    it(`${page}: every command line is one that the program takes`, async () => {
      const faults: string[] = [];
      for (const { line, text, inline } of commandLines(read(page))) {
        const said = await refusal(text, inline);
        if (said !== undefined) faults.push(`${page}:${String(line)}  ch-zk-migrate ${text}: ${said}`);
      }
      assert.deepEqual(faults, []);
    });

    it(`${page}: every complete spec is accepted`, () => {
      for (const [, text = ''] of read(page).matchAll(/^```yaml\n(id:[^]*?)^```/gm)) parseSpec(text, { file: page });
    });

    it(`${page}: every link within the project leads somewhere`, () => {
      const faults: string[] = [];
      for (const [, target = ''] of prose(read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/i.test(target)) continue;
        const [file = '', anchor] = target.split('#');
        const path = file === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), file);
        if (!existsSync(path)) faults.push(`${target}: no such file`);
        else if (anchor !== undefined && statSync(path).isFile() && !anchors(readFileSync(path, 'utf8')).has(anchor)) faults.push(`${target}: no such heading`);
        else if (relative(ROOT, path).startsWith('..')) faults.push(`${target}: outside the project`);
      }
      assert.deepEqual(faults, []);
    });
  }

  it('the check itself finds command lines, and refuses what is wrong', async () => {
    const text = 'Say `ch-zk-migrate retry ID --skip \'a.*\'`.\n```sh\nA=1 ch-zk-migrate start x.yaml \\\n  --execute # now\nch-zk-migrate plan x.yaml --json | jq .\n```\n';
    assert.deepEqual(commandLines(text).map(({ text: line }) => line), ["retry ID --skip 'a.*'", 'start x.yaml  --execute', 'plan x.yaml --json']);
    for (const wrong of ['bogus', 'status', 'status a --nope', 'approve a lunch', 'list --limit 0', 'dev nothing']) {
      assert.notEqual(await refusal(wrong), undefined, wrong);
    }
    for (const right of ['start SPEC --execute', 'approve ID PHASE', '--version', 'help status', 'dev up --help']) assert.equal(await refusal(right), undefined, right);
  });
});

describe('the commands that run tests', () => {
  for (const [script, whole] of [
    ['test', true],
    ['test:unit', true],
    ['test:faults', false],
  ] as const) {
    it(`npm run ${script} has tests, and has what they need fetched before their time runs`, () => {
      const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
      const words = (scripts[script] ?? '').split('&&').map((command) => command.trim()).find((command) => command.startsWith('mocha'))?.replaceAll('"', '').split(' ') ?? [];
      const config = execFileSync(process.execPath, ['-p', 'JSON.stringify(require("./.mocharc.cjs"))', ...words], { cwd: ROOT, encoding: 'utf8' });
      const { spec = [], require = [] } = JSON.parse(config) as { spec?: string[]; require?: string[] };
      assert.equal(spec.length > 0, whole);
      assert.ok(require.some((file) => file.includes('prerequisites')));
    });
  }
});

describe('examples in help texts', () => {
  it('are taken by the program, and every command has one', async () => {
    for (const [name, text] of await helps()) {
      const examples = [...text.matchAll(/^ {2}\$ (.*)$/gm)].map(([, line = '']) => line);
      assert.ok(examples.length > 0, `${name} has no example`);
      for (const { text: line } of examples.flatMap((example) => commandLines(`\`${example}\``))) {
        assert.equal(await refusal(line), undefined, `${name}: ${line}`);
      }
    }
  });

  it('of the program as a whole are taken', async () => {
    const text = execFileSync(process.execPath, [join(ROOT, 'dist/src/cli.js'), '--help'], { encoding: 'utf8' });
    const lines = commandLines(`\`\`\`\n${text.slice(text.indexOf('Example:'))}\n\`\`\``);
    assert.ok(lines.length >= 2);
    for (const { text: line } of lines) assert.equal(await refusal(line), undefined, line);
  });
});

describe('examples/', () => {
  for (const name of EXAMPLES) {
    it(`${name} is accepted, and so are the command lines in its comments`, async () => {
      await loadSpec(join(ROOT, 'examples', name));
      for (const { text } of commandLines(read(join('examples', name)))) assert.equal(await refusal(text), undefined, text);
    });
  }
});
