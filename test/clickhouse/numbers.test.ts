import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { ClickHouseHost } from '../../src/clickhouse/host';

/** A server can be made to answer half only by standing in for it. */
describe('numbers that a server answers', () => {
  let server: Server;
  let answer = '';
  let host: ClickHouseHost;

  before(async () => {
    server = createServer((request, response) => {
      request.resume();
      request.on('end', () => response.end(answer));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const place = { connect: 'zk', root: '' };
    host = new ClickHouseHost({ name: 'ch-1', url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, user: 'default', zookeeper: place }, undefined);
  });

  after(async () => {
    await host.close();
    await new Promise((done) => server.close(done));
  });

  async function numbers(text: string): Promise<number[]> {
    answer = text;
    const taken: number[] = [];
    await host.numbers('SELECT 1', { doing: 'asking' }, (value) => taken.push(value));
    return taken;
  }

  const document = (rows: number): string => `{\n\t"meta":\n\t[\n\t\t{\n\t\t\t"name": "hash",\n\t\t\t"type": "UInt64"\n\t\t}\n\t],\n\n\t"data":\n\t[\n\t\t["1"],\n\t\t["281474976710655"]\n\t],\n\n\t"rows": ${rows},\n\n\t"statistics":\n\t{\n\t\t"rows_read": 3\n\t}\n}\n`;

  it('are taken one by one', async () => {
    assert.deepEqual(await numbers(document(2)), [1, 281_474_976_710_655]);
  });

  it('are half an answer, and a fault, where their own count is another or none', async () => {
    for (const half of [document(3), document(1), document(2).split('\n\t],\n\n\t"rows"')[0] ?? '', 'Ok.', '']) await assert.rejects(numbers(half), /does not speak as ClickHouse does/u);
  });
});
