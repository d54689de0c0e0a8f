import assert from 'node:assert/strict';

import { type HostEvent, holdOf, isAllowedToMiss, lostHosts } from '../../src/domain/hold';

const claimed = (take: string): HostEvent => ({ kind: 'claimed', data: { take } });
const sealed = (take: string): HostEvent => ({ kind: 'sealed', data: { take, fingerprint: 'f' } });
const released = (why: string): HostEvent => ({ kind: 'released', data: { why } });
const restart: HostEvent = { kind: 'restart', data: { boot: 1 } };

describe('what a host knows of a migration', () => {
  it('nothing without an event', () => {
    assert.deepEqual(holdOf([]), { sealed: false, take: '', fingerprint: undefined, host: undefined, hosts: [], unnamedBlobs: undefined, held: false, released: undefined, takes: [], turns: 0, ends: 0 });
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

  it('an end that is noted twice is one end, and a run that begins again and ends is another', () => {
    const events = [claimed('a'), sealed('a'), released('aborted'), released('aborted')];
    assert.equal(holdOf(events).ends, 1);
    assert.equal(holdOf([...events, claimed('b'), sealed('b')]).ends, 1);
    assert.equal(holdOf([...events, claimed('b'), sealed('b'), released('aborted')]).ends, 2);
  });

  it('an inventory of before there were takes has the empty one', () => {
    const events: HostEvent[] = [{ kind: 'claimed', data: { replicas: 2 } }, { kind: 'sealed', data: { fingerprint: 'f' } }];
    assert.deepEqual(holdOf(events), { sealed: true, take: '', fingerprint: 'f', host: undefined, hosts: [], unnamedBlobs: undefined, held: true, released: undefined, takes: [''], turns: 1, ends: 0 });
  });
});

describe('hosts that a migration was begun with', () => {
  const hosts = [{ name: 'ch-1', replicas: ['r1'] }, { name: 'ch-2', replicas: ['r2', 'r2b'] }];
  const sealedAs = (host: string) => holdOf([claimed('a'), { kind: 'sealed', data: { take: 'a', fingerprint: 'f', host, hosts } }]);
  const names = (present: Parameters<typeof lostHosts>[0]): string[] => lostHosts(present).map(({ name, knownBy }) => `${name} by ${knownBy}`);

  it('one that is not there is lost, whoever of the others knows of it', () => {
    assert.deepEqual(names([{ name: 'ch-1', hold: sealedAs('ch-1') }]), ['ch-2 by ch-1']);
    assert.deepEqual(names([{ name: 'ch-1', hold: sealedAs('ch-1') }, { name: 'ch-2', hold: sealedAs('ch-2') }]), []);
  });

  it('one that does not answer is there, and so is one that has another name now', () => {
    assert.deepEqual(names([{ name: 'ch-1', hold: sealedAs('ch-1') }, { name: 'ch-2', hold: undefined }]), []);
    assert.deepEqual(names([{ name: 'ch-1', hold: sealedAs('ch-1') }, { name: 'renamed', hold: sealedAs('ch-2') }]), []);
    // Another server under its name is not the one that is missed.
    assert.deepEqual(names([{ name: 'ch-2', hold: sealedAs('ch-1') }]), ['ch-2 by ch-2']);
  });

  it('none is lost where an older version noted none, or an abort let go of it', () => {
    assert.deepEqual(names([{ name: 'ch-1', hold: holdOf([claimed('a'), sealed('a')]) }]), []);
    const aborted = holdOf([claimed('a'), { kind: 'sealed', data: { take: 'a', host: 'ch-1', hosts } }, released('aborted')]);
    assert.deepEqual(names([{ name: 'ch-1', hold: aborted }]), []);
  });

  it('none is lost of a migration that was completed, until it is begun again', () => {
    const completed = [claimed('a'), { kind: 'sealed', data: { take: 'a', host: 'ch-1', hosts } }, released('completed')];
    assert.deepEqual(names([{ name: 'ch-1', hold: holdOf(completed) }]), []);
    assert.deepEqual(names([{ name: 'ch-1', hold: holdOf([...completed, claimed('b')]) }]), ['ch-2 by ch-1']);
  });

  it('one may be missed where all of its replicas are named, and never where none is known', () => {
    const may = (replicas: string[], allowed: string[]): boolean => isAllowedToMiss({ name: 'x', replicas }, allowed);
    assert.deepEqual([may(['r2', 'r2b'], ['r2']), may(['r2', 'r2b'], ['r2b', 'r2', 'r9']), may([], ['r2'])], [false, true, false]);
  });
});
