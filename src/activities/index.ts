import type { HistoryReader } from '../history/read';
import { atBoundary } from './boundary';
import { chooseReturn } from './choose-return';
import { cleanTable } from './clean';
import type { Connections } from './deps';
import { electFirst, startMerges } from './elect';
import { finishMigration } from './finish';
import { attachUnlessGone, detachUnlessGone, reattachUnlessGone } from './gone';
import { freezeInventory, loadPage } from './inventory';
import { mirrorStatus } from './mirror';
import { preflight } from './preflight';
import { locateHost, restartHost } from './restart';
import { restoreReplica } from './restore';
import { returnTable } from './return';
import { attachTakenOver, judgeTakenOver } from './take-over-run';
import type { Activities } from './types';

/** What the activities are made from; the worker builds it, and closes it. */
export interface ActivityDependencies {
  readonly connections: Connections;
  readonly history: HistoryReader;
}

/** All activities, each behind the boundary that heartbeats and classifies its errors. */
export function createActivities({ connections, history }: ActivityDependencies): Activities {
  const bound =
    <I, O>(work: (connections: Connections, input: I) => Promise<O>) =>
    (input: I): Promise<O> =>
      atBoundary((one: I) => work(connections, one))(input);
  return {
    preflight: bound(preflight),
    freezeInventory: bound(freezeInventory),
    attachTakenOver: bound(attachTakenOver),
    judgeTakenOver: bound(judgeTakenOver),
    loadPage: bound(loadPage),
    detachReplica: bound(detachUnlessGone),
    cleanTable: bound(cleanTable),
    restartHost: bound(restartHost),
    locateHost: bound(locateHost),
    chooseReturn: bound(chooseReturn),
    attachReplica: bound(attachUnlessGone),
    electFirst: bound(electFirst),
    restoreReplica: bound(restoreReplica),
    startMerges: bound(startMerges),
    reattachReplica: bound(reattachUnlessGone),
    returnTable: bound(returnTable),
    mirrorStatus: atBoundary((input) => mirrorStatus(history, input)),
    finishMigration: bound(finishMigration),
  };
}
