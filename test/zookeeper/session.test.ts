import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { ApplicationFailure } from '@temporalio/activity';

import { atBoundary } from '../../src/activities/boundary';
import { ZooKeeperError, type ZooKeeperErrorCode } from '../../src/zookeeper/errors';
import { ZooKeeperSession } from '../../src/zookeeper/session';
import { setAcl } from './acl';
import { createAll, tablePaths } from './trees';
import { ZooKeeperServer } from './zookeeper-server';

const run = promisify(execFile);

describe('zookeeper session', function () {
  this.timeout(300_000);
  let server: ZooKeeperServer;
  let session: ZooKeeperSession;

  before(async function () {
    this.timeout(300_000);
    server = await ZooKeeperServer.start();
    session = await ZooKeeperSession.open({ connect: server.connect, root: '' });
  });

  after(async () => {
    await session.close();
    await server.remove();
  });

  it('reads what it wrote, and answers undefined only for a node that is not there', async () => {
    assert.equal(await session.create('/a', 'one'), 'created');
    assert.equal(await session.create('/a', 'two'), 'exists');
    await session.create('/a/b');
    assert.equal((await session.get('/a'))?.data.toString(), 'one');
    assert.equal((await session.get('/a/b'))?.data.length, 0);
    await session.set('/a', Buffer.from([0, 255]));
    assert.deepEqual((await session.get('/a'))?.data, Buffer.from([0, 255]));
    const stat = await session.exists('/a');
    assert.equal(stat?.version, 1);
    assert.equal(stat.numChildren, 1);
    assert.equal(stat.ephemeralOwner, '0');
    assert.match(stat.mzxid, /^\d+$/);
    assert.deepEqual(await session.children('/a'), ['b']);
    assert.deepEqual(await session.children('/a/b'), []);
    assert.equal(await session.exists('/none'), undefined);
    assert.equal(await session.get('/none'), undefined);
    assert.equal(await session.children('/none/none'), undefined);
  });

  it('tells a deletion from an absent node, a node with children, and one that has changed', async () => {
    await session.ensurePath('/d/e');
    assert.equal(await session.delete('/d'), 'not-empty');
    await rejectsWith('BAD_VERSION', session.delete('/d/e', 7));
    assert.equal(await session.delete('/d/e', 0), 'deleted');
    assert.equal(await session.delete('/d/e'), 'absent');
  });

  it('does not write below a node that is not there', async () => {
    await rejectsWith('NO_NODE', session.create('/missing/child'));
    await rejectsWith('NO_NODE', session.set('/missing', 'x'));
  });

  it('puts its root before every path, and before nothing else', async () => {
    const view = session.withRoot('/root/of mine');
    await view.ensurePath('/x');
    assert.deepEqual(await view.children('/'), ['x']);
    assert.deepEqual(await session.children('/root/of mine'), ['x']);
    assert.deepEqual(
      (await view.listTree('/')).map((entry) => entry.path),
      ['/', '/x'],
    );
    await view.close();
    assert.ok(await session.exists('/root'), 'closing a view closes nothing');
  });

  it('refuses paths that would be read differently than they are written', async () => {
    for (const bad of ['', 'a', '/a/', '/a//b', '/a/../b', '/a/./b', '/a\0b', '/a\nb', '/a\ud800b']) {
      await rejectsWith('BAD_ARGUMENTS', session.exists(bad));
    }
    await rejectsWith('BAD_ARGUMENTS', ZooKeeperSession.open({ connect: server.connect, root: '/' }));
    await rejectsWith('BAD_ARGUMENTS', ZooKeeperSession.open({ connect: `${server.connect}/chroot`, root: '' }));
    await rejectsWith('BAD_ARGUMENTS', ZooKeeperSession.open({ connect: 'host:port', root: '' }));
  });

  it('takes names with quotes, spaces, percent signs, braces and any script', async () => {
    const names = [`it's "q"`, 'a b', '100%', '%2F', '{x}', '$(id)', '*', '..x', 'back\\slash', 'ünïcødé-日本', 'приве́т'];
    for (const name of names) {
      await session.ensurePath(`/hostile/${name}/below`);
      assert.deepEqual(await session.children(`/hostile/${name}`), ['below']);
    }
    assert.deepEqual((await session.children('/hostile'))?.sort(), names.sort());
  });

  it('counts and lists a tree, up to a limit, and finds nothing only where nothing is', async () => {
    const paths = tablePaths('/count', 300);
    await createAll(session, paths);
    assert.equal(await session.countTree('/count'), paths.length);
    assert.equal(await session.countTree('/count', { limit: 100 }), 100);
    assert.equal(await session.countTree('/absent'), 0);
    assert.deepEqual(await session.listTree('/absent'), []);
    const listed = await session.listTree('/count');
    assert.deepEqual(
      listed.map((entry) => entry.path),
      [...paths].sort(),
    );
    assert.ok(listed.every((entry) => entry.stat.version === 0));
    const stop = new AbortController();
    stop.abort(new Error('enough'));
    await assert.rejects(session.countTree('/count', { signal: stop.signal }), /enough/);
  });

  it('lists a node whose list of children is far larger than one packet', async () => {
    const name = 'x'.repeat(100);
    await session.create('/wide');
    await createAll(session, Array.from({ length: 20_000 }, (_, index) => `/wide/${name}${index}`));
    assert.equal((await session.children('/wide'))?.length, 20_000);
    assert.equal(await session.countTree('/wide'), 20_001);
  });

  it('says what to set when a node is too large for the server', async () => {
    await assert.rejects(session.create('/huge', Buffer.alloc(1_100_000)), (error: unknown) => {
      assert.ok(error instanceof ZooKeeperError);
      assert.equal(error.code, 'PACKET_TOO_BIG');
      assert.match(error.message, /jute\.maxbuffer/);
      return true;
    });
    assert.equal(await session.exists('/huge'), undefined);
    // An activity is not tried again: it would be refused each time.
    await assert.rejects(atBoundary(() => session.create('/huge', Buffer.alloc(1_100_000)))({}), (error: unknown) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.equal(error.type, 'PACKET_TOO_BIG');
      assert.equal(error.nonRetryable, true);
      assert.match(error.message, /raise jute\.maxbuffer .* on every server of the ensemble/);
      return true;
    });
  });

  it('answers NO_AUTH, with the path and without the secret, unless it has the right password', async () => {
    const secret = 's3cret-of-mine';
    const hash = createHash('sha1').update(`me:${secret}`).digest('base64');
    await session.create('/guarded', 'data');
    await setAcl(server.connect, '/guarded', [{ perm: 31, scheme: 'digest', auth: `me:${hash}` }]);
    const right = await ZooKeeperSession.open({ connect: server.connect, root: '', digest: `me:${secret}` });
    const wrong = await ZooKeeperSession.open({ connect: server.connect, root: '', digest: `me:${secret}-not` });
    try {
      assert.equal((await right.get('/guarded'))?.data.toString(), 'data');
      for (const other of [session, wrong]) {
        await assert.rejects(other.get('/guarded'), (error: unknown) => {
          assert.ok(error instanceof ZooKeeperError);
          assert.equal(error.code, 'NO_AUTH');
          assert.equal(error.path, '/guarded');
          assert.equal(error.transient, false);
          assert.doesNotMatch(`${error.message} ${String(error.stack)}`, new RegExp(secret));
          return true;
        });
      }
    } finally {
      await right.close();
      await wrong.close();
    }
  });

  it('does not reach a port on which nothing listens, prints nothing, and lets the process end', async () => {
    const script = `
      const { ZooKeeperSession } = require(${JSON.stringify(path.join(__dirname, '../../src/zookeeper/session'))});
      ZooKeeperSession.open({ connect: '127.0.0.1:1', root: '', connectTimeoutMs: 300 }).then(
        () => process.exit(2),
        (error) => { if (error.code !== 'UNREACHABLE' || !error.transient) process.exit(3); },
      );`;
    const { stdout, stderr } = await run(process.execPath, ['-e', script]);
    assert.equal(stdout + stderr, '');
    await rejectsWith('UNREACHABLE', ZooKeeperSession.open({ connect: 'no-such-host.invalid:2181', root: '', connectTimeoutMs: 300 }));
  });

  it('does not hang on a port that accepts and says nothing', async () => {
    const silent = net.createServer(() => undefined).listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    const { port } = silent.address() as net.AddressInfo;
    await rejectsWith('UNREACHABLE', ZooKeeperSession.open({ connect: `127.0.0.1:${port}`, root: '', connectTimeoutMs: 500 }));
    silent.close();
  });

  it('finds the server that lives among dead ones', async () => {
    const among = await ZooKeeperSession.open({ connect: `127.0.0.1:1,${server.connect},127.0.0.1:2`, root: '' });
    assert.ok(await among.exists('/'));
    await among.close();
  });

  it('ends for good when closed', async () => {
    const closed = await ZooKeeperSession.open({ connect: server.connect, root: '' });
    await closed.close();
    await closed.close();
    await rejectsWith('BAD_ARGUMENTS', closed.exists('/a'));
    await rejectsWith('BAD_ARGUMENTS', closed.countTree('/a'));
  });

  it('says TIMEOUT while the server hangs, and works on when it is back', async () => {
    const impatient = await ZooKeeperSession.open({ connect: server.connect, root: '', operationTimeoutMs: 500 });
    await session.create('/hang');
    await server.freeze();
    try {
      await rejectsWith('TIMEOUT', impatient.exists('/hang'));
      await rejectsWith('TIMEOUT', impatient.delete('/hang'));
      await rejectsWith('UNREACHABLE', ZooKeeperSession.open({ connect: server.connect, root: '', connectTimeoutMs: 500 }));
    } finally {
      server.thaw();
    }
    // The deletion without an answer was carried out: looking again is all that can be done.
    assert.equal(await impatient.exists('/hang'), undefined);
    await impatient.close();
  });

  it('can be closed while the server hangs', async () => {
    const hanging = await ZooKeeperSession.open({ connect: server.connect, root: '' });
    await server.freeze();
    try {
      await hanging.close();
    } finally {
      server.thaw();
    }
  });

  it('reads on after the server was killed and started again, in the same session', async () => {
    await session.create('/mine', '', { ephemeral: true });
    await server.kill();
    const reading = session.exists('/mine');
    await server.up();
    assert.notEqual((await reading)?.ephemeralOwner, '0');
    const shortly = await ZooKeeperSession.open({ connect: server.connect, root: '', operationTimeoutMs: 300 });
    await server.kill();
    await rejectsWith('CONNECTION_LOSS', shortly.exists('/a'));
    await server.up();
    await shortly.close();
  });

  it('opens a new session when the server no longer knows the old one', async () => {
    await server.kill();
    server.wipe();
    await server.up();
    assert.equal(await session.exists('/mine'), undefined);
    assert.equal(await session.create('/after'), 'created');
  });
});

async function rejectsWith(code: ZooKeeperErrorCode, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof ZooKeeperError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
