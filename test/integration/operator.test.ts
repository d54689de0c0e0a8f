import assert from 'node:assert/strict';

import { parse } from 'yaml';

import type { MigrationSummary } from '../../src/domain/summary';
import { Ground, someTables } from '../support/stack';

describe("an operator with Temporal's own command line", function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('operator');
    await ground.seed(someTables(ground.database, 1));
  });

  afterEach(async () => {
    await ground.end();
  });

  async function signal(name: string, ...input: string[]): Promise<void> {
    const args = ['workflow', 'signal', '--workflow-id', ground.id, '--name', name, ...input.flatMap((one) => ['--input', one])];
    await ground.temporal(...args);
  }

  it('pauses, resumes and lets gates through; a status file that cannot be written stops nothing, and is said', async () => {
    const before = await ground.oracle();
    ground.worker();
    const spec = ground.spec((document) => {
      document['pauseBefore'] = ['clean'];
      document.statusFile = '/dev/null/status.yaml';
    });
    assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
    await ground.until((status) => status.waitingFor?.gate === 'clean', 'the gate before clean');
    await signal('pause');
    await ground.until((status) => (status as unknown as MigrationSummary).paused, 'the pause');
    await signal('approve', '"clean"');
    const paused = await ground.until((status) => status.waitingFor?.gate === null, 'paused behind the gate');
    assert.equal(paused.outcome, 'waiting');
    assert.equal(paused.counts.ZK_CLEANED, 0);
    await signal('resume');
    const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    assert.match((ended as unknown as MigrationSummary).statusFileError ?? '', /EEXIST|ENOTDIR/u);
    assert.equal((parse((await ground.cli('export', ground.id)).stdout) as unknown[]).length, 10);
    assert.deepEqual(await ground.oracle(), before);
  });
});
