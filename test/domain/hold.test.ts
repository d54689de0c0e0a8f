import assert from 'node:assert/strict';

import { type HostEvent, holdOf } from '../../src/domain/hold';

const claimed = (take: string): HostEvent => ({ kind: 'claimed', data: { take } });
const sealed = (take: string): HostEvent => ({ kind: 'sealed', data: { take, fingerprint: 'f' } });
const released = (why: string): HostEvent => ({ kind: 'released', data: { why } });
const restart: HostEvent = { kind: 'restart', data: { boot: 1 } };

describe('what a host knows of a migration', () => {
  it('nothing without an event', () => {
    assert.deepEqual(holdOf([]), { sealed: false, take: '', fingerprint: undefined, held: false, released: undefined, takes: [], turns: 0 });
  });

  it('claimed, and not sealed: every take counts for others, none is read', () => {
    const { sealed: is, held, takes, turns } = holdOf([claimed('a'), claimed('b')]);
    assert.deepEqual({ is, held, takes, turns }, { is: false, held: true, takes: ['a', 'b'], turns: 0 });
  });

  it('the first take that was sealed stays the inventory, whatever is claimed and sealed later', () => {
    const { take, takes, turns } = holdOf([claimed('a'), claimed('b'), sealed('b'), restart, claimed('c'), sealed('a')]);
    assert.deepEqual({ take, takes, turns }, { take: 'b', takes: ['b'], turns: 2 });
  });

  it('after an abort nothing stands, and the next take that is sealed does', () => {
    const events = [claimed('a'), sealed('a'), released('aborted')];
    assert.deepEqual([holdOf(events).sealed, holdOf(events).held, holdOf(events).released], [false, false, 'aborted']);
    assert.equal(holdOf([...events, claimed('b'), sealed('b')]).take, 'b');
  });

  it('a completed migration is known, and holds nothing until it claims again; a restart that is noted is no claim', () => {
    const events = [claimed('a'), sealed('a'), released('completed'), restart];
    assert.deepEqual([holdOf(events).sealed, holdOf(events).held, holdOf(events).takes], [true, false, []]);
    assert.deepEqual([holdOf([...events, claimed('a')]).held, holdOf([...events, claimed('a')]).takes], [true, ['a']]);
  });

  it('an inventory of before there were takes has the empty one', () => {
    const events: HostEvent[] = [{ kind: 'claimed', data: { replicas: 2 } }, { kind: 'sealed', data: { fingerprint: 'f' } }];
    assert.deepEqual(holdOf(events), { sealed: true, take: '', fingerprint: 'f', held: true, released: undefined, takes: [''], turns: 1 });
  });
});
