import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CLI = join(__dirname, '..', '..', 'src', 'cli.js');
const COMMANDS = [
  'plan',
  'start',
  'watch',
  'status',
  'pause',
  'resume',
  'approve',
  'set',
  'retry',
  'abort',
  'list',
  'export',
  'report',
  'doctor',
  'worker',
  'dev',
  'dev up',
  'demo',
];
/** Nothing listens there: a command that contacts Temporal fails with 1, not with 2. */
const NOWHERE = {
  ...process.env,
  TEMPORAL_ADDRESS: '127.0.0.1:1',
  TEMPORAL_CONFIG_FILE: join(__dirname, 'no-such-file.toml'),
  NO_COLOR: '1',
};

async function run(...args: string[]): Promise<{ exit: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { env: NOWHERE, maxBuffer: 2 ** 24 }, (error, stdout, stderr) =>
      resolve({ exit: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
  });
}

describe('usage', function () {
  this.timeout(300_000);

  it('every command is listed, and has help with an example and the options that every command takes', async () => {
    const { stdout, exit } = await run('--help');
    assert.equal(exit, 0);
    for (const command of COMMANDS) {
      assert.match(stdout, new RegExp(`^ {2}${command.split(' ')[0] ?? ''} `, 'm'), command);
      const help = await run(...command.split(' '), '--help');
      assert.equal(help.exit, 0, command);
      assert.match(help.stdout, /Example:\n {2}\$ ch-zk-migrate /, command);
      for (const option of ['--json', '--address', '--namespace', '--profile']) assert.ok(help.stdout.includes(`${option} `), `${command} ${option}`);
    }
  });

  it('wrong use gives 2, before anything is contacted', async () => {
    const wrong = [
      [],
      ['bogus'],
      ['status'],
      ['status', 'a', 'b'],
      ['status', 'a', '--nope'],
      ['approve', 'a', 'lunch'],
      ['set', 'a', 'parallel.restore=0'],
      ['retry', 'a', '--skip', 'noglob'],
      ['retry', 'a', '--unskip', 'noglob'],
      ['list', '--limit', '0'],
      ['dev'],
      ['dev', 'bogus'],
    ];
    for (const args of wrong) {
      const { exit, stdout, stderr } = await run(...args);
      assert.equal(exit, 2, `${args.join(' ')}: ${stdout}${stderr}`);
      assert.equal(stdout, '');
      assert.match(stderr, /^(?:Usage: | {2}next: .* --help$| {2}--(?:un)?skip: | {2}parallel\.restore: )/m, args.join(' '));
      assert.doesNotMatch(stderr, /outputHelp/);
    }
  });

  it('where Temporal is may be said to every command, also to those that need none', async () => {
    const plan = await run('plan', 'no-such-spec.yaml', '--address', '127.0.0.1:1', '--namespace', 'n', '--profile', 'p');
    assert.equal(plan.stderr, 'error: no-such-spec.yaml does not exist\n');
    const dir = join(tmpdir(), 'ch-zk-no-such-stack');
    for (const args of [
      ['dev', 'status', '--dir', dir, '--json', '--address', '127.0.0.1:1', '--namespace', 'n'],
      ['dev', '--json', '--address', '127.0.0.1:1', 'status', '--dir', dir],
      ['--json', '--namespace', 'n', 'dev', 'status', '--dir', dir],
    ]) {
      const { exit, stdout, stderr } = await run(...args);
      assert.equal(exit, 1, stderr);
      assert.ok((JSON.parse(stdout) as { error: { message: string } }).error.message.includes(dir), stdout);
    }
  });

  it('a spec that is not there is one line', async () => {
    const { exit, stderr } = await run('plan', 'no-such-spec.yaml');
    assert.deepEqual([exit, stderr], [2, 'error: no-such-spec.yaml does not exist\n']);
  });

  it('a long answer comes whole through a pipe', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'ch-zk-usage-'));
    const keys = Array.from({ length: 4_000 }, (_, i) => `nobody_knows_this_key_${i}`);
    writeFileSync(join(dir, 'spec.yaml'), keys.map((key) => `${key}: 1\n`).join(''));
    const { stdout } = await run('plan', join(dir, 'spec.yaml'), '--json').finally(() => rmSync(dir, { recursive: true }));
    assert.ok(stdout.length > 300_000, String(stdout.length));
    const { error } = JSON.parse(stdout) as { error: { faults: { path: string }[] } };
    assert.ok(error.faults.some(({ path }) => path === keys.at(-1)));
  });

  it('with --json an error is one document on stdout, wherever the flag stands', async () => {
    for (const args of [
      ['--json', 'approve', 'a', 'lunch'],
      ['approve', 'a', 'lunch', '--json'],
    ]) {
      const { exit, stdout, stderr } = await run(...args);
      assert.equal(exit, 2);
      assert.equal(stderr, '');
      const { error } = JSON.parse(stdout) as { error: { code: string; message: string; faults: unknown[] } };
      assert.equal(error.code, 'USAGE');
      assert.match(error.message, /lunch/);
      assert.ok(Array.isArray(error.faults));
    }
  });

  it('a command of commands alone is wrong use for a script too', async () => {
    const { exit, stdout } = await run('dev', '--json');
    assert.equal(exit, 2);
    assert.deepEqual((JSON.parse(stdout) as { error: unknown }).error, { code: 'USAGE', message: 'a command is missing', faults: [], next: 'ch-zk-migrate dev --help' });
  });

  it('a server that does not answer gives 1, with its address and what to type', async () => {
    const { exit, stderr } = await run('status', 'a');
    assert.equal(exit, 1);
    assert.match(stderr, /Temporal does not answer at 127\.0\.0\.1:1/);
    assert.match(stderr, /next: /);
  });

  it('a profile that cannot be read gives 2', async () => {
    const { exit, stderr } = await run('status', 'a', '--profile', 'nobody');
    assert.equal(exit, 2);
    assert.match(stderr, /nobody/);
  });
});
