import assert from 'node:assert/strict';

import { parseAddress, pathLike } from '../../src/domain/replica-address';

describe('what a server writes of itself beside a replica', () => {
  it('is read with its escapes', () => {
    const text = "host: 127.0.0.1\nport: 9009\ntcp_port: 9000\ndatabase: a: b\ntable: it\\'s\\n\\\\n\nscheme: http\n";
    assert.deepEqual(parseAddress(text), { server: '127.0.0.1:9009', database: 'a: b', table: "it's\n\\n" });
  });

  it('is nothing where it was never written', () => {
    assert.equal(parseAddress(''), undefined);
    assert.equal(parseAddress('something else'), undefined);
  });
});

describe('the path that a table would have if it were made as another', () => {
  const other = { database: 'shop', table: 'orders', uuid: '11111111-2222-3333-4444-555555555555' };
  const names = { database: 'old shop', table: 'left', uuid: '99999999-2222-3333-4444-555555555555' };

  it('has its own database, table and uuid', () => {
    assert.equal(pathLike('/clickhouse/shop/tables/01/orders', other, names), '/clickhouse/old shop/tables/01/left');
    assert.equal(pathLike(`/clickhouse/tables/${other.uuid}/01`, other, names), `/clickhouse/tables/${names.uuid}/01`);
  });

  it('is none where nothing of the path comes from its table, or the name fits into no path', () => {
    assert.equal(pathLike('/clickhouse/by/hand', other, names), undefined);
    for (const table of ['a/b', '..', '', 'a\nb']) assert.equal(pathLike('/clickhouse/shop/orders', other, { ...names, table }), undefined);
  });
});
