import assert from 'node:assert/strict';

import { MockActivityEnvironment } from '@temporalio/testing';

import { runForLines } from '../../src/activities/command-lines';
import { Connections } from '../../src/activities/deps';
import { MigrationError } from '../../src/domain/failure';

const connections = new Connections({ PATH: process.env['PATH'], PASSWORD: 'hunter2!' });

async function run(command: readonly string[], timeoutMs = 60_000): Promise<{ fault: string | undefined; lines: string[] }> {
  const lines: string[] = [];
  const fault = await runForLines(connections, { command, timeoutMs, secretEnvs: ['PASSWORD'] }, (line) => lines.push(line.toString()));
  return { fault, lines };
}

const sh = (script: string): string[] => ['sh', '-c', script];

async function tookMs(work: () => Promise<unknown>): Promise<number> {
  const began = Date.now();
  await work();
  return Date.now() - began;
}

describe('a command that lists', () => {
  it('gives its lines, and is not read by a shell', async () => {
    assert.deepEqual(await run(['printf', 'a\\n$HOME b\\nc']), { fault: undefined, lines: ['a', '$HOME b', 'c'] });
    assert.deepEqual(await run(sh('seq 100000')).then(({ fault, lines }) => [fault, lines.length, lines.at(-1)]), [undefined, 100_000, '100000']);
  });

  it('that fails says how, and what it wrote to stderr, without secrets', async () => {
    const { fault, lines } = await run(sh('echo one; echo "no bucket; ${PASSWORD-none}" >&2; echo hunter2! again >&2; exit 3'));
    assert.deepEqual(lines, ['one']);
    assert.match(fault ?? '', /^Command failed with exit code 3: sh -c .*: no bucket; none \| \*\*\* again$/u);
  });

  it('that writes more than can be shown is cut to the end', async () => {
    const { fault = '' } = await run(sh('seq 100000 >&2; exit 1'));
    assert.ok(fault.length < 3_000 && fault.endsWith('99999 | 100000'), fault.slice(-100));
  });

  it('that is not there says so', async () => {
    assert.match((await run(['/no/such/program'])).fault ?? '', /ENOENT/u);
  });

  it('that does not end is ended with all that it started', async () => {
    const took = await tookMs(async () => {
      assert.match((await run(sh('echo one; sleep 60 | cat'), 300)).fault ?? '', /^did not end in 300 ms/u);
    });
    assert.ok(took < 5_000, `${took} ms`);
  });

  it('that prints no lines is ended', async () => {
    assert.match((await run(sh("yes | tr -d '\\n'"))).fault ?? '', /a line of more than \d+ bytes, and not one key a line/u);
  });

  it('is ended when the activity is asked to stop', async () => {
    const environment = new MockActivityEnvironment();
    const timer = setTimeout(() => {
      environment.cancel();
    }, 300);
    const took = await tookMs(() => assert.rejects(environment.run(() => run(sh('sleep 60 | cat'))), (error) => error instanceof MigrationError && error.type === 'ABORTED'));
    clearTimeout(timer);
    assert.ok(took < 5_000, `${took} ms`);
  });
});
