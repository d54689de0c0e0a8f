import type { ParallelSpec } from './spec';

/** What a migration lets its activities begin at this moment. */
export interface Control {
  readonly paused: boolean;
  readonly aborting: boolean;
  readonly limits: ParallelSpec;
}
