import assert from 'node:assert/strict';

import type { MigrationInput } from '../../src/workflows/messages';
import { MigrationState } from '../../src/workflows/state';

describe('what a run carries over into the next', () => {
  const NOW = '2024-01-01T00:00:00.000Z';
  const input = { spec: { parallel: { detach: 1, clean: 1, restore: 1 }, hosts: [], allowMissingReplicas: [] }, execute: true } as unknown as MigrationInput;

  it('tells an abort whose passes have begun from one that was only asked for', () => {
    const state = new MigrationState(input, NOW);
    state.aborting = true;
    const next = (): MigrationState => new MigrationState({ ...input, carried: state.carry(undefined, []) }, NOW);
    assert.deepEqual([next().aborting, next().abortBegun], [true, false]);
    state.abortBegun = true;
    assert.deepEqual([next().aborting, next().abortBegun], [true, true]);
  });

  it('and by whose word a replica may be missing, once', () => {
    const state = new MigrationState({ ...input, spec: { ...input.spec, allowMissingReplicas: ['r2'] } }, NOW);
    const next = new MigrationState({ ...state.input, carried: state.carry(undefined, []) }, NOW);
    for (const { decisions } of [state.summary(NOW), next.summary(NOW)]) assert.deepEqual(decisions.map(({ what }) => what), ['the replica "r2" may be missing (--allow-missing-replica)']);
  });
});
