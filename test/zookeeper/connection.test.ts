import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../../src/zookeeper/connection';
import { isLostReply, returnCode } from '../../src/zookeeper/errors';
import { ZooKeeperSession } from '../../src/zookeeper/session';
import { ZooKeeperServer } from './zookeeper-server';

describe('zookeeper connection', function () {
  this.timeout(300_000);

  it('lets no other socket of the process go deaf, however often the server dies or hangs', async () => {
    const server = await ZooKeeperServer.start();
    const page = http.createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1');
    await once(page, 'listening');
    const { port } = page.address() as AddressInfo;
    const session = await ZooKeeperSession.open({ connect: server.connect, root: '', sessionTimeoutMs: 4_000, operationTimeoutMs: 60_000 });
    let stop = false;
    const visitors = Array.from({ length: 8 }, async () => {
      while (!stop) {
        assert.equal(await visit(port), 'ok');
        await sleep(1);
      }
    });
    const readers = Array.from({ length: 50 }, async () => {
      while (!stop) assert.ok(await session.exists('/'));
    });
    for (let round = 0; round < 3; round += 1) {
      await sleep(200);
      await server.kill();
      await sleep(100 * round);
      await server.up();
    }
    await server.freeze();
    await sleep(5_000);
    server.thaw();
    await sleep(200);
    stop = true;
    await Promise.all([...visitors, ...readers]);
    await session.close();
    page.close();
    await server.remove();
  });

  for (const [where, turn] of [
    ['from within its own event', () => Promise.resolve()],
    ['in another turn of the loop', nextTurn],
  ] as const) {
    it(`knows at once that a connection broke under a request ${where}, of which the client says nothing`, async () => {
      const server = await ZooKeeperServer.start();
      const connection = new Connection({ connect: server.connect, sessionTimeoutMs: 4_000, digest: undefined });
      try {
        const client = await connection.ready(10_000);
        await turn();
        const asked: Promise<number>[] = [];
        // All in one turn of the loop, which so cannot tell the client first.
        const killed = server.kill();
        while (connection.client === client && asked.length < 100) {
          stand(20);
          asked.push(
            new Promise((resolve) => {
              assert.equal(connection.send(() => client.a_exists('/', false, resolve)), returnCode.ok);
            }),
          );
        }
        assert.equal(connection.client, undefined);
        assert.equal(client.state, 0, 'it would connect again by itself');
        assert.deepEqual(
          (await Promise.all(asked)).filter((rc) => !isLostReply(rc)),
          [],
        );
        await killed;
        await server.up();
        await connection.ready(30_000);
      } finally {
        await connection.close();
        await server.remove();
      }
    });
  }
});

/** Holds up the whole process. */
function stand(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Ticks without an answer, and not time: where the whole process stands still for long, nothing is deaf. */
const TICKS = 200;

function visit(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let left = TICKS;
    const ticks = setInterval(() => {
      left -= 1;
      if (left === 0) request.destroy(new Error('no answer from our own page'));
    }, 100);
    const request = http.get({ port, host: '127.0.0.1', agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => {
        clearInterval(ticks);
        resolve(body);
      });
    });
    request.on('error', (error) => {
      clearInterval(ticks);
      reject(error);
    });
  });
}
