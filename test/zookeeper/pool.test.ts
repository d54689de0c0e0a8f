import assert from 'node:assert/strict';
import { createZooKeeperPool, type ZooKeeperPool } from '../../src/zookeeper/pool';
import { ZooKeeperServer } from './zookeeper-server';

describe('zookeeper pool', function () {
  this.timeout(300_000);
  let server: ZooKeeperServer;
  let pool: ZooKeeperPool;

  before(async function () {
    this.timeout(300_000);
    server = await ZooKeeperServer.start();
    pool = createZooKeeperPool({ connectTimeoutMs: 1_000 });
  });

  after(async () => {
    await pool.close();
    await server.remove();
  });

  it('shares one session between concurrent callers with different roots', async () => {
    const [whole, below] = await Promise.all([pool.session(server.connect, ''), pool.session(server.connect, '/below')]);
    await whole.create('/owned', '', { ephemeral: true });
    await below.ensurePath('/owned');
    await below.create('/mine', '', { ephemeral: true });
    const [first, second] = await Promise.all([whole.exists('/owned'), below.exists('/mine')]);
    assert.equal(first?.ephemeralOwner, second?.ephemeralOwner);
    assert.notEqual(first?.ephemeralOwner, '0');
  });

  it('closes nothing when a view is closed', async () => {
    await (await pool.session(server.connect, '')).close();
    assert.ok(await (await pool.session(server.connect, '')).exists('/owned'));
  });

  it('serves again after the server was away, with the session or a new one', async () => {
    await server.kill();
    server.wipe();
    await server.up();
    const session = await pool.session(server.connect, '');
    assert.equal(await session.exists('/owned'), undefined);
    await session.create('/again');
  });

  it('does not remember a failure to connect', async () => {
    await server.kill();
    const away = createZooKeeperPool({ connectTimeoutMs: 300 });
    await assert.rejects(away.session(server.connect, ''), { code: 'UNREACHABLE' });
    await server.up();
    assert.ok(await (await away.session(server.connect, '')).exists('/'));
    await away.close();
  });

  it('can be closed with nothing open, and with a server that is away', async () => {
    await createZooKeeperPool().close();
    const hanging = createZooKeeperPool({ connectTimeoutMs: 300 });
    await hanging.session(server.connect, '');
    await server.kill();
    await hanging.close();
    await server.up();
  });
});
