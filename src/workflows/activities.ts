import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';

import { FAILURE_KINDS, type FailureType } from '../domain/failure';
import type { Activities } from '../activities/types';

/** The types that no retry mends. */
const FINAL = (Object.keys(FAILURE_KINDS) as FailureType[]).filter((type) => FAILURE_KINDS[type] === 'final');

/** Passing faults are tried again for as long as they last; the activity itself sets the delay, and decides what is final. */
const FOR_EVER: NonNullable<ActivityOptions['retry']> = {
  initialInterval: '500ms',
  backoffCoefficient: 2,
  maximumInterval: '10s',
  nonRetryableErrorTypes: FINAL,
};

/**
 * Work on a table takes as long as it takes (71,000 tables need 90 minutes only to start, ClickHouse issue 51511): no deadline but the
 * heartbeat's, which a worker that dies misses.
 */
export const TABLE_OPTIONS: ActivityOptions = {
  startToCloseTimeout: '7 days',
  heartbeatTimeout: '15s',
  retry: FOR_EVER,
};

/** Looks at whole hosts: many answers, one activity. */
const INSPECT_OPTIONS: ActivityOptions = {
  startToCloseTimeout: '1 day',
  heartbeatTimeout: '30s',
  retry: FOR_EVER,
};

/** The status file: a try that fails is made good by the next tick. */
const MIRROR_OPTIONS: ActivityOptions = {
  scheduleToStartTimeout: '30s',
  startToCloseTimeout: '60s',
  heartbeatTimeout: '15s',
  retry: { maximumAttempts: 2, initialInterval: '200ms' },
};

type TableActivities = Pick<
  Activities,
  | 'attachTakenOver'
  | 'judgeTakenOver'
  | 'detachReplica'
  | 'cleanTable'
  | 'restartHost'
  | 'locateHost'
  | 'chooseReturn'
  | 'attachReplica'
  | 'electFirst'
  | 'restoreReplica'
  | 'startMerges'
  | 'reattachReplica'
  | 'returnTable'
>;

export const tableActivities = proxyActivities<TableActivities>(TABLE_OPTIONS);
export const inspectActivities =
  proxyActivities<Pick<Activities, 'preflight' | 'freezeInventory' | 'loadPage' | 'finishMigration'>>(INSPECT_OPTIONS);
export const mirrorActivities = proxyActivities<Pick<Activities, 'mirrorStatus'>>(MIRROR_OPTIONS);
