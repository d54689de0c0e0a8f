import assert from 'node:assert/strict';

import { ProxyHost } from '../support/proxy-host';
import { eventually, Ground, hostAt, inPlace, pause, someTables } from '../support/stack';

describe('a worker by itself', function () {
  this.timeout(600_000);
  let ground: Ground;

  beforeEach(async () => {
    ground = await Ground.on('worker');
  });

  afterEach(async () => {
    await ground.end();
  });

  it('that is given a spec refuses to start without a variable that it names, and says how', async () => {
    const spec = ground.spec((document) => (document.clickhouse.passwordEnv = 'NOT_SET_ANYWHERE'));
    const { code, stdout, stderr } = await ground.cli('worker', spec, '--json');
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout + stderr, /MISSING_VARIABLE/u);
    assert.match(stdout + stderr, /NOT_SET_ANYWHERE=… ch-zk-migrate worker/u);
  });

  it('that is told to stop ends what it has begun, begins nothing more, and leaves the rest to another', async () => {
    await ground.seed(someTables(ground.database, 2));
    const before = await ground.oracle();
    let sent = 0;
    const proxy = await ProxyHost.before(ground.firstHost.url, async ({ text }) => {
      if (!text.startsWith('DETACH TABLE')) return undefined;
      sent += 1;
      if (sent === 1) await pause(3_000);
      return undefined;
    });
    try {
      const spec = ground.spec((document) => {
        inPlace(document);
        hostAt(0, proxy.url)(document);
        document['parallel'] = { detach: 1 };
      });
      const marks = ground.marks();
      const worker = ground.worker();
      assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
      await eventually(() => sent === 1, 'the first DETACH');
      // By its pid: the library would kill it with -9 five seconds later.
      process.kill(worker.pid ?? assert.fail(), 'SIGTERM');
      const { exitCode, all } = (await worker) as { exitCode?: number; all?: string };
      assert.equal(exitCode, 0, all);
      assert.match(all ?? '', /worker: drained/u);
      const detached = (): string[] => ground.statements(marks, /^DETACH TABLE/u).filter(({ host }) => host === ground.firstHost.name).map(({ text }) => text);
      assert.equal(detached().length, 1, detached().join('; '));
      ground.worker();
      const ended = await ground.until(({ outcome }) => outcome !== 'running' && outcome !== 'waiting', 'the end');
      assert.equal(ended.outcome, 'completed', JSON.stringify(ended.failures));
      assert.equal(new Set(detached()).size, detached().length, detached().join('; '));
      assert.deepEqual(await ground.oracle(), before);
    } finally {
      await proxy.close();
    }
  });
});
