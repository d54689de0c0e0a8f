import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { CLI } from '../support/stack';

/** Commands that bring a stack up. */
const COMMANDS = [['demo'], ['demo', '--keep'], ['dev', 'up']];

describe('a machine without what the embedded stack needs', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'ch-zk-migrate-bare-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  for (const command of COMMANDS) {
    it(`is told by ${command.join(' ')} what is missing and how to get it, a line each, before anything is started`, async () => {
      const stack = path.join(dir, 'stack');
      const { exitCode, stderr } = await execa(process.execPath, [CLI, ...command, '--dir', stack], {
        ...{ env: { PATH: dir, HOME: dir, CH_ZK_MIGRATE_CACHE: path.join(dir, 'cache') }, extendEnv: false, reject: false, stdin: 'ignore' },
      });
      assert.equal(exitCode, 1, stderr);
      const lines = stderr.replace(/^error: /mu, '').split('\n').filter((line) => !/^(?:bringing up|\[)/u.test(line));
      const wanted = [/^Java 11 or later is needed .*apt-get install/u, /^the Temporal CLI is not here yet: .*Go to have it built$/u];
      // A ZooKeeper that was installed by the system is found without a path.
      if (!existsSync('/usr/share/java/zookeeper.jar')) wanted.splice(1, 0, /^ZooKeeper is missing: .*apt-get install/u);
      assert.equal(lines.length, wanted.length, stderr);
      for (const [index, pattern] of wanted.entries()) assert.match(lines[index] ?? '', pattern);
      assert.equal(existsSync(path.join(stack, 'stack.json')), false);
    });
  }
});
