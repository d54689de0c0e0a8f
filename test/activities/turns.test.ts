import assert from 'node:assert/strict';

import { Slots } from '../../src/activities/slots';
import { type Turn, Turns } from '../../src/activities/turns';
import type { Control } from '../../src/domain/control';
import { MigrationError } from '../../src/domain/failure';

const TURN: Turn = { migration: 'm', what: 'restore', host: 'ch-1', limit: 1 };

function says(change: Partial<Control> & { restore?: number } = {}): Control {
  const { restore = 1, ...rest } = change;
  return { paused: false, aborting: false, limits: { detach: 1, clean: 1, restore }, ...rest };
}

/** Work that runs until it is ended. */
function work(): { readonly begun: string[]; readonly named: (name: string) => () => Promise<void>; readonly end: (name: string) => void } {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    begun,
    named: (name) => async () => {
      begun.push(name);
      await new Promise<void>((resolve) => ends.set(name, resolve));
    },
    end: (name) => ends.get(name)?.(),
  };
}

async function moment(ms = 20): Promise<void> {
  await new Promise((done) => setTimeout(done, ms));
}

function recalled(error: unknown): boolean {
  return error instanceof MigrationError && error.type === 'RECALLED';
}

describe('turns', () => {
  it('are not given in a migration that is paused: nothing is begun', async () => {
    const turns = new Turns(new Slots(), () => Promise.resolve(says({ paused: true })));
    await assert.rejects(turns.take(TURN, () => Promise.reject(new Error('begun'))), recalled);
  });

  it('let what runs finish, and recall what waits for its turn while that still runs', async () => {
    let control = says();
    const turns = new Turns(new Slots(), () => Promise.resolve(control));
    const { begun, named, end } = work();
    const first = turns.take(TURN, named('first'));
    await moment();
    const second = turns.take(TURN, named('second'));
    const refused = assert.rejects(second, recalled);
    control = says({ paused: true });
    await refused;
    assert.deepEqual(begun, ['first']);
    end('first');
    await first;
  });

  it('of an aborted migration are given to what the abort itself does, and to nothing else', async () => {
    const turns = new Turns(new Slots(), () => Promise.resolve(says({ aborting: true, paused: true })));
    await assert.rejects(turns.take(TURN, () => Promise.resolve()), recalled);
    assert.equal(await turns.take({ ...TURN, aborting: true }, () => Promise.resolve('attached')), 'attached');
  });

  it('follow a limit that was changed since the activity was scheduled', async () => {
    let control = says({ restore: 3 });
    const turns = new Turns(new Slots(), () => Promise.resolve(control));
    const { begun, named, end } = work();
    const all = ['a', 'b', 'c'].map((name) => turns.take(TURN, named(name)));
    await moment();
    assert.deepEqual(begun, ['a', 'b', 'c'], 'scheduled with 1, three may run by now');
    control = says({ restore: 1 });
    await moment(1_100);
    all.push(turns.take({ ...TURN, limit: 3 }, named('d')));
    await moment();
    end('a');
    end('b');
    await moment();
    assert.deepEqual(begun, ['a', 'b', 'c'], 'two ended, and one may run');
    end('c');
    await moment();
    assert.deepEqual(begun, ['a', 'b', 'c', 'd']);
    end('d');
    await Promise.all(all);
  });

  it('are given as the activity was scheduled where the migration does not answer', async () => {
    let asked = 0;
    const turns = new Turns(new Slots(), () => {
      asked += 1;
      return Promise.reject(new Error('no worker'));
    });
    assert.equal(await turns.take(TURN, () => Promise.resolve(1)), 1);
    assert.equal(await turns.take(TURN, () => Promise.resolve(2)), 2);
    assert.equal(asked, 1, 'it is not asked again and again');
  });

  it('are not asked for by what belongs to something that was begun', async () => {
    const turns = new Turns(new Slots(), () => Promise.resolve(says({ paused: true })));
    assert.equal(await turns.finish(TURN, () => Promise.resolve('attached again')), 'attached again');
  });
});
