import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeleteTreeProgress } from '../../src/zookeeper/delete-tree';
import { ZooKeeperError } from '../../src/zookeeper/errors';
import { ZooKeeperSession, type ZnodeEntry } from '../../src/zookeeper/session';
import { setAcl } from './acl';
import { createAll, tablePaths } from './trees';
import { ZooKeeperServer } from './zookeeper-server';

describe('zookeeper deleteTree', function () {
  this.timeout(300_000);
  let server: ZooKeeperServer;
  let session: ZooKeeperSession;
  let other: ZooKeeperSession;

  before(async function () {
    this.timeout(300_000);
    server = await ZooKeeperServer.start();
    session = await ZooKeeperSession.open({ connect: server.connect, root: '' });
    other = await ZooKeeperSession.open({ connect: server.connect, root: '' });
  });

  after(async () => {
    await session.close();
    await other.close();
    await server.remove();
  });

  it('deletes a whole table, and touches nothing beside it', async () => {
    await session.ensurePath('/fence');
    const siblings = ['/fence/t', '/fence/t1', '/fence/t 1', '/fence/T', '/fence/a', '/fence/t-1'];
    for (const sibling of siblings) await createAll(session, tablePaths(sibling, 20));
    const before = await session.listTree('/');
    const paths = tablePaths('/fence/t1', 20);
    const progress: number[] = [];
    const result = await session.deleteTree('/fence/t1', { onProgress: ({ deleted }) => progress.push(deleted) });
    assert.equal(result.deleted, paths.length);
    assert.equal(progress.at(-1), paths.length);
    assert.equal(await session.exists('/fence/t1'), undefined);
    const gone = new Set(paths);
    assert.deepEqual(
      unchanging(await session.listTree('/')),
      unchanging(before.filter((entry) => !gone.has(entry.path))),
    );
  });

  it('sends nothing more once it may not go on, and says why', async () => {
    await createAll(session, tablePaths('/fenced', 400));
    const asked: number[] = [];
    const stop = new Error('another has taken its place');
    await assert.rejects(
      session.deleteTree('/fenced', {
        inFlight: 4,
        mayGoOn: () => {
          asked.push(asked.length);
          if (asked.length > 20) throw stop;
        },
      }),
      stop,
    );
    const left = (await session.listTree('/fenced')).length;
    assert.ok(left > tablePaths('/fenced', 400).length - 200, `${left} left`);
    await sleep(200);
    assert.equal((await session.listTree('/fenced')).length, left);
    await session.deleteTree('/fenced');
  });

  it('deletes nothing when there is nothing', async () => {
    assert.equal((await session.deleteTree('/never/was')).deleted, 0);
  });

  it('deletes a single node', async () => {
    await session.create('/leaf');
    assert.equal((await session.deleteTree('/leaf')).deleted, 1);
    assert.equal(await session.exists('/leaf'), undefined);
  });

  it('refuses the root, the server’s own nodes, and paths that are none', async () => {
    const before = await session.listTree('/');
    const view = session.withRoot('/fence/t');
    for (const bad of ['', '/', 'fence', '/fence/', '/fence/..', '/fence/t\0x']) {
      await assert.rejects(view.deleteTree(bad), { code: 'BAD_ARGUMENTS' });
    }
    await assert.rejects(session.deleteTree('/zookeeper'), { code: 'BAD_ARGUMENTS' });
    await assert.rejects(session.deleteTree('/zookeeper/quota'), { code: 'BAD_ARGUMENTS' });
    await assert.rejects(session.withRoot('/zookeeper').deleteTree('/quota'), { code: 'BAD_ARGUMENTS' });
    assert.deepEqual(await session.listTree('/'), before);
  });

  it('stays below the session’s root', async () => {
    await createAll(session, ['/r1', '/r1/t', '/r1/t/x', '/r2', '/r2/t', '/r2/t/x']);
    assert.equal((await session.withRoot('/r1').deleteTree('/t')).deleted, 2);
    assert.deepEqual(await session.children('/r1'), []);
    assert.equal(await session.countTree('/r2'), 3);
  });

  it('deletes names with quotes, spaces, percent signs, braces and any script', async () => {
    const names = [`it's "q"`, 'a b', '100%', '%2F', '{x}', '$(id)', '*', '..x', 'back\\slash', 'ünïcødé-日本', 'приве́т'];
    await createAll(session, ['/odd', ...names.map((name) => `/odd/${name}`)]);
    await createAll(session, names.flatMap((name) => names.map((below) => `/odd/${name}/${below}`)));
    assert.equal((await session.deleteTree('/odd')).deleted, 1 + names.length + names.length ** 2);
  });

  it('deletes a node of 50,000 children, each with children of its own where it has some', async () => {
    await session.create('/wide');
    await createAll(session, Array.from({ length: 50_000 }, (_, index) => `/wide/202401_${index}_${index}_0`));
    await createAll(session, Array.from({ length: 3_000 }, (_, index) => `/wide/202401_${index * 7}_${index * 7}_0/checksums`));
    assert.equal((await session.deleteTree('/wide')).deleted, 53_001);
    assert.equal(await session.exists('/wide'), undefined);
  });

  it('deletes a deep tree, and works with one request in flight', async () => {
    await session.ensurePath('/deep' + '/x'.repeat(200));
    await createAll(session, tablePaths('/deep/t', 5));
    assert.equal((await session.deleteTree('/deep', { inFlight: 1 })).deleted, 201 + tablePaths('', 5).length);
  });

  it('keeps what it is told to keep, with what is below and above it', async () => {
    await createAll(session, tablePaths('/kept', 5));
    await session.ensurePath('/kept/replicas/r2/parts/p');
    await session.deleteTree('/kept', { keep: (relative) => relative === 'replicas/r2' || relative === 'metadata' });
    assert.deepEqual(
      (await session.listTree('/kept')).map((entry) => entry.path),
      ['/kept', '/kept/metadata', '/kept/replicas', '/kept/replicas/r2', '/kept/replicas/r2/parts', '/kept/replicas/r2/parts/p'],
    );
  });

  it('stops at the mark of an active replica, and names it', async () => {
    await createAll(session, tablePaths('/active', 5));
    await other.create('/active/replicas/r1/is_active', '', { ephemeral: true });
    await rejectsNaming('LIVE', '/active/replicas/r1/is_active', session.deleteTree('/active'));
    assert.ok(await session.exists('/active/replicas/r1/is_active'));
    await other.delete('/active/replicas/r1/is_active');
    await session.deleteTree('/active');
    assert.equal(await session.exists('/active'), undefined);
  });

  it('stops at an ephemeral node that appears while it deletes', async () => {
    await session.create('/appears');
    await createAll(session, Array.from({ length: 5_000 }, (_, index) => `/appears/${index}`));
    let creation: Promise<unknown> | undefined;
    const deletion = session.deleteTree('/appears', {
      keep: () => {
        creation ??= other.create('/appears/anything', '', { ephemeral: true });
        return false;
      },
    });
    await rejectsNaming('LIVE', '/appears/anything', deletion);
    assert.equal(await creation, 'created');
    assert.deepEqual(await session.children('/appears'), ['anything']);
    await other.delete('/appears/anything');
  });

  it('deletes persistent nodes that appear while it deletes', async () => {
    await session.create('/late');
    await createAll(session, Array.from({ length: 5_000 }, (_, index) => `/late/${index}`));
    let creation: Promise<unknown> | undefined;
    const { deleted } = await session.deleteTree('/late', {
      keep: () => {
        creation ??= other.ensurePath('/late/new/below');
        return false;
      },
    });
    await creation;
    assert.equal(deleted, 5_003);
    assert.equal(await session.exists('/late'), undefined);
  });

  it('gives up on a node that is filled again and again, and names it', async () => {
    await session.create('/busy');
    await session.create('/busy/log');
    let stop = false;
    let entry = 0;
    const writers = Array.from({ length: 64 }, async () => {
      while (!stop) {
        entry += 1;
        await other.create(`/busy/log/${entry}`).catch(() => other.ensurePath('/busy/log'));
      }
    });
    await assert.rejects(session.deleteTree('/busy'), (error: unknown) => {
      assert.ok(error instanceof ZooKeeperError);
      assert.equal(error.code, 'LIVE');
      assert.match(error.message, /\/busy/);
      return true;
    });
    stop = true;
    await Promise.all(writers);
    await session.deleteTree('/busy');
  });

  it('names a node that it may not delete, and leaves it', async () => {
    await session.ensurePath('/locked/inner/leaf');
    await setAcl(server.connect, '/locked/inner', [{ perm: 1, scheme: 'world', auth: 'anyone' }]);
    await rejectsNaming('NO_AUTH', '/locked/inner/leaf', session.deleteTree('/locked'));
    await setAcl(server.connect, '/locked', [{ perm: 0, scheme: 'world', auth: 'anyone' }]).catch(() => undefined);
    await assert.rejects(session.deleteTree('/locked'), { code: 'NO_AUTH' });
    assert.ok(await session.exists('/locked/inner/leaf'));
  });

  it('stops when it is told to, and finishes when it is started again', async () => {
    const paths = tablePaths('/again', 5_000);
    await createAll(session, paths);
    const stop = new AbortController();
    let seen = 0;
    const first = session.deleteTree('/again', {
      signal: stop.signal,
      keep: () => {
        seen += 1;
        if (seen === 3_000) stop.abort(new Error('that is enough'));
        return false;
      },
    });
    await assert.rejects(first, /that is enough/);
    const left = await session.countTree('/again');
    assert.ok(left > 0 && left < paths.length);
    await sleep(200);
    assert.equal(await session.countTree('/again'), left, 'nothing happens after it has said that it stopped');
    assert.equal((await session.deleteTree('/again')).deleted, left);
  });

  it('goes on when the server is killed in the middle and started again', async () => {
    const paths = tablePaths('/killed', 10_000);
    await createAll(session, paths);
    let seen = 0;
    let restart: Promise<void> | undefined;
    const { deleted } = await session.deleteTree('/killed', {
      keep: () => {
        seen += 1;
        if (seen === 5_000) restart = server.kill().then(() => server.up());
        return false;
      },
    });
    assert.ok(restart !== undefined);
    await restart;
    assert.equal(deleted, paths.length);
    assert.equal(await session.exists('/killed'), undefined);
    assert.equal(await session.countTree('/fence/t'), tablePaths('', 20).length);
  });

  it('goes on when the server hangs for longer than the session lives', async () => {
    const brief = await ZooKeeperSession.open({ connect: server.connect, root: '', sessionTimeoutMs: 4_000 });
    const paths = tablePaths('/hung', 5_000);
    await createAll(brief, paths);
    let seen = 0;
    let thawed: Promise<void> | undefined;
    const { deleted } = await brief.deleteTree('/hung', {
      keep: () => {
        seen += 1;
        if (seen === 3_000) thawed = server.freeze().then(() => sleep(6_000).then(() => { server.thaw(); }));
        return false;
      },
    });
    await thawed;
    assert.equal(deleted, paths.length);
    await brief.close();
  });

  it('says that the server does not come back', async () => {
    await createAll(session, tablePaths('/lost', 3_000));
    let down: Promise<void> | undefined;
    const deletion = session.deleteTree('/lost', {
      patienceMs: 1_000,
      keep: () => {
        down ??= server.kill();
        return false;
      },
    });
    await assert.rejects(deletion, { code: 'CONNECTION_LOSS' });
    await down;
    await server.up();
    await session.deleteTree('/lost');
    assert.equal(await session.exists('/lost'), undefined);
  });
});

describe('zookeeper deleteTree of a table with very many parts', function () {
  this.timeout(300_000);
  let server: ZooKeeperServer;
  let session: ZooKeeperSession;
  const parts = 500_000;

  before(async () => {
    // With the packet limit as it comes.
    server = await ZooKeeperServer.start();
    session = await ZooKeeperSession.open({ connect: server.connect, root: '' });
  });

  after(async () => {
    await session.close();
    await server.remove();
  });

  it('deletes a node of 500,000 children, whose list is ten times the default jute.maxbuffer, with its rate reported and in bounded memory', async () => {
    const names = function* (): Generator<string> {
      for (let index = 0; index < parts; index += 1) yield `/parts/202401_${index}_${index}_0`;
    };
    await session.create('/parts');
    await createAll(session, names());
    assert.ok([...names()].reduce((sum, name) => sum + name.length, 0) > 10 * 0xfffff);

    const rss = (): number => process.memoryUsage.rss() / 1e6;
    const before = rss();
    let highest = before;
    const reports: DeleteTreeProgress[] = [];
    const { deleted, durationMs } = await session.deleteTree('/parts', {
      onProgress: (progress) => {
        reports.push(progress);
        highest = Math.max(highest, rss());
      },
    });
    assert.equal(deleted, parts + 1);
    assert.equal(await session.exists('/parts'), undefined);
    const during = reports.filter((report) => report.deleted > 0 && report.deleted < deleted);
    assert.ok(during.length >= 3, JSON.stringify(reports));
    // A report of a moment in which a busy machine did nothing may have none.
    assert.ok(during.filter(({ perSecond }) => perSecond > 0).length > during.length / 2, JSON.stringify(reports));
    assert.deepEqual(reports.map((report) => report.deleted), reports.map((report) => report.deleted).sort((one, next) => one - next));
    assert.equal(reports.at(-1)?.deleted, deleted);
    assert.ok(highest - before < 400, `${before.toFixed()} MB before, ${highest.toFixed()} MB at most, ${durationMs} ms`);
  });
});

/** What a deletion elsewhere must leave as it is: all but what a parent says of its children. */
function unchanging(entries: readonly ZnodeEntry[]): object[] {
  return entries.map(({ path, stat: { czxid, mzxid, version, ephemeralOwner, dataLength } }) => ({
    ...{ path, czxid, mzxid, version, ephemeralOwner, dataLength },
  }));
}

async function rejectsNaming(code: string, path: string, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof ZooKeeperError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.path, path);
    assert.ok(error.message.includes(path), error.message);
    return true;
  });
}
