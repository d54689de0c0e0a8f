import assert from 'node:assert/strict';

import { hostsThatReturn, type ReturningHost } from '../../src/domain/way-back';

function host(name: string, tables: string[], more: Partial<ReturningHost> = {}): ReturningHost {
  return { name, tables, begun: [], canReturn: true, ...more };
}

describe('the hosts that an abort returns to their old place', () => {
  it('are all, as long as no RESTORE was begun', () => {
    assert.deepEqual(hostsThatReturn([host('a', ['1']), host('b', ['1']), host('c', ['2'])]), ['a', 'b', 'c']);
  });

  it('are not those of a table whose RESTORE was begun on any host, nor those that share another table with them', () => {
    const hosts = [host('a', ['1'], { begun: ['1'] }), host('b', ['1', '2']), host('c', ['2', '3']), host('d', ['4'])];
    assert.deepEqual(hostsThatReturn(hosts), ['d']);
  });

  it('are not those that no way leads back from, nor those that share a table with them', () => {
    assert.deepEqual(hostsThatReturn([host('a', ['1'], { canReturn: false }), host('b', ['1']), host('c', [])]), ['c']);
  });
});
