import assert from 'node:assert/strict';

import { Slots } from '../../src/activities/slots';

/** Work that ends when it is told to, and knows how many run. */
class Bench {
  running = 0;
  most = 0;
  readonly order: string[] = [];
  private readonly ends = new Map<string, () => void>();

  work(name: string): () => Promise<string> {
    return async () => {
      this.running += 1;
      this.most = Math.max(this.most, this.running);
      this.order.push(name);
      await new Promise<void>((resolve) => this.ends.set(name, resolve));
      this.running -= 1;
      return name;
    };
  }

  async end(name: string): Promise<void> {
    this.ends.get(name)?.();
    await settled();
  }
}

async function settled(): Promise<void> {
  await new Promise((done) => setImmediate(done));
}

describe('slots', () => {
  it('let no more run than the limit, and start the next in its turn', async () => {
    const slots = new Slots();
    const bench = new Bench();
    const all = ['a', 'b', 'c', 'd'].map((name) => slots.run('k', 2, bench.work(name)));
    await settled();
    assert.deepEqual(bench.order, ['a', 'b']);
    await bench.end('b');
    assert.deepEqual(bench.order, ['a', 'b', 'c']);
    await bench.end('a');
    await bench.end('c');
    await bench.end('d');
    assert.deepEqual(await Promise.all(all), ['a', 'b', 'c', 'd']);
    assert.equal(bench.most, 2);
  });

  it('keep the limit when somebody comes just after one ended and another was woken', async () => {
    const slots = new Slots();
    const bench = new Bench();
    const all = [slots.run('k', 1, bench.work('a')), slots.run('k', 1, bench.work('b'))];
    await settled();
    await bench.end('a');
    all.push(slots.run('k', 1, bench.work('c')));
    await settled();
    assert.equal(bench.running, 1, 'b and c run at once');
    await bench.end('b');
    await bench.end('c');
    await Promise.all(all);
    assert.equal(bench.most, 1);
  });

  it('keep one key out of the way of another', async () => {
    const slots = new Slots();
    const bench = new Bench();
    const all = [slots.run('restore ch-1', 1, bench.work('a')), slots.run('restore ch-2', 1, bench.work('b'))];
    await settled();
    assert.equal(bench.running, 2);
    await bench.end('a');
    await bench.end('b');
    await Promise.all(all);
  });

  it('are given back by work that throws', async () => {
    const slots = new Slots();
    await assert.rejects(slots.run('k', 1, () => Promise.reject(new Error('no'))), /no/u);
    assert.equal(await slots.run('k', 1, () => Promise.resolve('after')), 'after');
  });

  it('follow a limit that is changed while work waits', async () => {
    const slots = new Slots();
    const bench = new Bench();
    const all = ['a', 'b', 'c'].map((name) => slots.run('k', 1, bench.work(name)));
    await settled();
    all.push(slots.run('k', 2, bench.work('d')));
    await settled();
    assert.equal(bench.running, 2);
    for (const name of ['a', 'd', 'b', 'c']) await bench.end(name);
    for (const name of ['a', 'b', 'c', 'd']) await bench.end(name);
    await Promise.all(all);
    assert.equal(bench.most, 2);
  });
});
