import { condition } from '@temporalio/workflow';

import { type ReplicatedTable, replicaId, replicaLabel, type SharingReplica } from '../domain/inventory';

/**
 * What is done to a table whose zero-copy locks lie under an id that others share. `clean`: its locks may be deleted, as long as no other
 * table is attached. `back`: it is attached, and detached again. `alone`: both, by an abort that finishes a deletion.
 */
export type Use = 'clean' | 'back' | 'alone';

/**
 * Keeps tables with one shared id apart: no lock is deleted while a table that shares its id goes back, and none goes back while locks under
 * its id are deleted. Many may be cleaned at a time, and many go back.
 */
export class Sharing {
  private readonly uses = new Map<string, Use>();

  /**
   * Waits until nothing is done to a table with the same id that excludes this use.
   *
   * @param waits is told, once, which replica is waited for
   * @returns ends the use
   */
  async enter({ replicas, sharers = [] }: Pick<ReplicatedTable, 'replicas' | 'sharers'>, use: Use, waits: (words: string) => void): Promise<() => void> {
    const other = (): SharingReplica | undefined => sharers.find((sharer) => excludes(this.uses.get(replicaId(sharer)), use));
    const first = other();
    if (first !== undefined) waits(`waits: ${replicaLabel(first)}, whose zero-copy locks lie under the same id, ${use === 'clean' ? 'goes back' : 'is being cleaned'}`);
    // Two that have waited for the same one are woken together, and the first of them may be in the other's way.
    while (other() !== undefined) await condition(() => other() === undefined);
    const own = replicas.map(replicaId);
    for (const id of own) this.uses.set(id, use);
    return () => {
      for (const id of own) this.uses.delete(id);
    };
  }
}

function excludes(one: Use | undefined, use: Use): boolean {
  return one !== undefined && (one !== use || use === 'alone');
}
