import assert from 'node:assert/strict';

import { readTakeOver, type TakeOverChoices } from '../../src/config/take-over';

const FILE = 'run.yaml';
const ENTRY = '- {db: shop, table: orders, status: 3, zk_path: /clickhouse/tables/1}\n';

function read(text: string, choices: Partial<TakeOverChoices> = {}, hosts: readonly string[] = ['ch-1']) {
  return readTakeOver({ file: FILE, ...choices }, { file: FILE, text }, hosts);
}

function faults(...args: Parameters<typeof read>): string[] {
  const { takeOver, faults: found } = read(...args);
  assert.equal(takeOver, undefined);
  return found.map(({ path, message }) => `${path}: ${message}`);
}

describe('the status file of a run to take over', () => {
  it("gives the reference's entries the spec's only host, or the one that is named", () => {
    const entry = { host: 'ch-1', database: 'shop', table: 'orders', status: 'ZK_CLEANED', zookeeperPath: '/clickhouse/tables/1' };
    assert.deepEqual(read(ENTRY).takeOver?.entries, [entry]);
    assert.deepEqual(read(ENTRY, { host: 'ch-2' }, ['ch-1', 'ch-2']).takeOver?.entries, [{ ...entry, host: 'ch-2' }]);
  });

  it("takes this program's own entries with their hosts", () => {
    const text = ['a', 'b'].map((host) => `- {db: d, table: t, status: DETACHED, zk_path: "zk2:/t", host: ${host}, replica: r, rows: 5, parts: 2, updated: now, old_metadata: kept}\n`).join('');
    const { takeOver } = read(text, {}, ['a', 'b']);
    assert.deepEqual(takeOver?.entries.map(({ host, rows, zookeeperPath }) => `${host} ${String(rows)} ${zookeeperPath}`), ['a 5 zk2:/t', 'b 5 zk2:/t']);
  });

  it('is refused where it names no host and the spec has several', () => {
    assert.match(faults(ENTRY, {}, ['a', 'b']).join(), /--take-over: .*names no host, and the spec has 2.*--take-over-host/u);
    assert.match(faults(ENTRY, { host: 'c' }, ['a', 'b']).join(), /--take-over-host: no host of the spec has the name "c"; they are a, b/u);
    assert.match(faults(ENTRY.replace('}', ', host: c}')).join(), /--take-over\[0\]\.host: no host of the spec/u);
  });

  it('is refused when it is empty, as a kill in the middle of its writing leaves it', () => {
    for (const text of ['', ' \n', '# only words\n']) assert.match(faults(text).join(), /^--take-over: the file is empty: a run that is killed/u);
    assert.match(faults('[]').join(), /names no table/u);
  });

  it('is refused with every fault, by entry and line', () => {
    const { faults: found } = read(`${ENTRY}- {db: 5, table: t, status: 7, zk_path: /x}\n- no mapping\n`);
    assert.deepEqual(found.map(({ path, line, file }) => `${file ?? ''} ${String(line)} ${path}`), [
      `${FILE} 2 --take-over[1].db`, `${FILE} 2 --take-over[1].status`, `${FILE} 3 --take-over[2]`,
    ]);
    for (const text of ['a: 1', '- [', 'word', `${ENTRY}- {db: shop, table: or`]) assert.ok(faults(text).length > 0, text);
    for (const status of ['"2"', '0', '5', '1.5', 'true', 'null', 'DONE']) assert.match(faults(ENTRY.replace('3', status)).join(), /\[0\]\.status/u, status);
    for (const path of ['x', '/a//b', '/a/', '/a/../b', '/', 'a:b']) assert.match(faults(ENTRY.replace('/clickhouse/tables/1', `"${path}"`)).join(), /\[0\]\.zk_path/u, path);
  });

  it('is refused when it names a table twice', () => {
    assert.deepEqual(faults(ENTRY + ENTRY), ['--take-over[1]: shop.orders is named twice, here and in [0]']);
  });

  it('is needed by the options that speak of it, whose patterns are checked', () => {
    assert.match(readTakeOver({ attachDetached: ['a.*'] }, undefined, ['a']).faults.map(({ path, message }) => `${path} ${message}`).join(), /^--take-over is missing/u);
    assert.match(faults(ENTRY, { attachDetached: ['['] }).join(), /--attach-detached/u);
    assert.match(faults(ENTRY, { leaveDetached: ['orders'] }).join(), /--leave-detached: "orders" can never match/u);
  });

  it('that cannot be read says why', () => {
    const { faults: found } = readTakeOver({ file: FILE }, { file: FILE, fault: 'does not exist' }, ['a']);
    assert.deepEqual(found, [{ path: '--take-over', message: 'run.yaml does not exist' }]);
  });
});
