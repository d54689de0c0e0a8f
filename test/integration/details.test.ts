import assert from 'node:assert/strict';

import { ProxyHost } from '../support/proxy-host';
import { Ground, hostAt, inPlace, pause, someTables } from '../support/stack';

describe("the Web UI's details", function () {
  this.timeout(600_000);
  let ground: Ground;
  let proxy: ProxyHost;

  beforeEach(async () => {
    ground = await Ground.on('details');
    proxy = await ProxyHost.before(ground.firstHost.url);
  });

  afterEach(async () => {
    await proxy.close();
    await ground.end();
  });

  it('say how fast a phase gets on and when it will be done, and no more of it when all is done', async () => {
    await ground.seed(someTables(ground.database));
    proxy.script = async ({ text }) => {
      if (text.startsWith('DETACH TABLE')) await pause(500);
      return undefined;
    };
    ground.worker();
    const spec = ground.spec((document) => {
      inPlace(document);
      hostAt(0, proxy.url)(document);
      document['parallel'] = { detach: 1 };
    });
    assert.equal((await ground.cli('start', spec, '--execute')).code, 0);
    const pace = /^\*\*\d+\.\d tables\/s, ETA \d+(?:\.\d)?m?s[^*]*\*\*, as of \d{4}-\d\d-\d\dT/mu;
    let seen = '';
    for (const end = Date.now() + 240_000; !pace.test(seen) && Date.now() < end; await pause(300)) seen = await ground.details().catch(() => '');
    assert.match(seen, pace);
    const ended = await ground.until(({ outcome }) => outcome !== 'running', 'the end');
    assert.equal(ended.outcome, 'completed', JSON.stringify(ended));
    const last = await ground.details();
    assert.match(last, /finish, completed/u);
    assert.doesNotMatch(last, /tables\/s/u);
  });
});
