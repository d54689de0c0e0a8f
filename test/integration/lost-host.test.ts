/** Temporal's database is lost: only the hosts' own tables know the migration. */
import assert from 'node:assert/strict';

import { eventually, Ground, someTables } from '../support/stack';
import type { Finding } from '../../src/domain/summary';

interface Planned {
  readonly refusals: readonly Finding[];
  readonly warnings: readonly Finding[];
}

describe('a migration that only its hosts know', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('lost');
  });

  afterEach(async () => {
    await ground.end();
  });

  it('is refused with a spec that has lost one of them, by plan and start, and goes on with the whole', async () => {
    await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0' || name === 'empty'));
    const before = await ground.oracle();
    const [kept, lost] = ground.hosts.map(({ name }) => name) as [string, string];
    const worker = ground.worker();
    const gated = ground.spec((document) => {
      document['pauseBefore'] = ['clean'];
    });
    assert.equal((await ground.cli('start', gated, '--execute', '--watch', '--json')).code, 4);
    worker.kill('SIGKILL');
    await ground.temporal('workflow', 'terminate', '--workflow-id', ground.id, '--reason', 'test');
    // A namespace that is empty is a database that is lost.
    const namespace = ground.id.replaceAll('_', '-');
    await ground.temporal('operator', 'namespace', 'create', '--namespace', namespace, '--retention', '24h');
    const there = ['--namespace', namespace];
    await eventually(async () => (await ground.cli('list', ...there)).code === 0, 'the namespace', { everyMs: 1_000 });

    const fewer = ground.spec((document) => {
      document.clickhouse.hosts = document.clickhouse.hosts.filter(({ name }) => name === kept);
    });
    const marks = ground.marks();
    const missing = ({ refusals }: Planned): void => {
      assert.deepEqual(refusals.map(({ code, host }) => `${code} ${host}`), [`HOST_MISSING ${lost}`]);
      assert.ok(refusals.every(({ message, fix }) => message.includes(kept) && fix.includes(`--without-host ${lost}`)), JSON.stringify(refusals));
    };
    const planned = await ground.cli('plan', fewer, '--json');
    assert.equal(planned.code, 3);
    missing(JSON.parse(planned.stdout) as Planned);
    const refused = await ground.cli('start', fewer, '--execute', '--watch', '--with-worker', '--json', ...there);
    assert.equal(refused.code, 3, refused.stdout + refused.stderr);
    missing(JSON.parse(refused.stdout) as Planned);
    assert.deepEqual(ground.statements(marks, /^\s*(?:DETACH|ATTACH|SYSTEM RESTORE|INSERT|ALTER)/u), []);

    // By the operator's word it is gone for good: said, and no refusal.
    const named = ['--allow-missing-replica', ground.hosts[1]?.replica ?? ''];
    const allowed = JSON.parse((await ground.cli('plan', fewer, ...named, '--json')).stdout) as Planned;
    assert.deepEqual(allowed.refusals, []);
    assert.ok(allowed.warnings.some(({ code, host }) => code === 'HOST_MISSING' && host === lost), JSON.stringify(allowed.warnings));

    const done = await ground.cli('start', ground.spec(), '--execute', '--watch', '--with-worker', '--json', ...there);
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.deepEqual(await ground.oracle(), before);
  });
});
