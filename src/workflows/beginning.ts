import { ApplicationFailure, type ActivityOptions, condition } from '@temporalio/workflow';

import { failureOf } from './runner';
import type { MigrationState } from './state';

type Execute = (options: ActivityOptions, args: readonly [{ readonly aborting?: true }]) => Promise<unknown>;

/**
 * The same activities, which begin only while the migration is not paused: neither when they are scheduled, nor when they have waited for
 * their turn in a worker (it asks the `control` query). One that was not begun is scheduled again when the migration goes on, and given up
 * when it is aborted: the abort looks at its table anew.
 */
export function beginning<A extends object>(activities: A, state: MigrationState): A {
  return new Proxy(activities, {
    get: (target, name) => {
      const { executeWithOptions } = Reflect.get(target, name) as { executeWithOptions: Execute };
      const execute: Execute = async (options, args) => {
        for (;;) {
          if (state.paused && !state.aborting) await condition(() => !state.paused || state.aborting);
          if (state.aborting && args[0].aborting !== true) throw ApplicationFailure.nonRetryable('the migration is aborted: this was not begun', 'ABORTED');
          state.inFlight += 1;
          try {
            return await executeWithOptions(options, args);
          } catch (error) {
            if (failureOf(error).code !== 'RECALLED') throw error;
          } finally {
            state.inFlight -= 1;
            state.touch();
          }
        }
      };
      return { executeWithOptions: execute };
    },
  });
}

/** What the input of an activity says that an abort asks for. */
export function aborting(state: MigrationState): { readonly aborting?: true } {
  return state.aborting ? { aborting: true } : {};
}
