import type { ClickHouseHost } from '../clickhouse/host';
import { BACKGROUND, statements } from '../clickhouse/sql';
import { MigrationError } from '../domain/failure';
import { type ReplicaRef, replicaLabel } from '../domain/inventory';
import { fence } from './deps';

/** Not null of a zero-copy replica. */
interface Background {
  readonly zeroCopy: object | null;
}

/**
 * Stops what changes a replica's parts by itself: merges and mutations, and of a zero-copy replica also moves and the removal of old
 * parts, since a part that goes takes along the blobs that nobody holds a lock on yet. It is not remembered over a start of the server.
 * An attempt that may have been replaced sends nothing: what it stopped after all was done nobody would start again.
 */
export async function stopBackground(host: ClickHouseHost, replica: ReplicaRef, { zeroCopy }: Background): Promise<void> {
  await host.run(statements.stopMerges(replica), { doing: `stopping merges of ${replicaLabel(replica)}`, before: fence });
  if (zeroCopy !== null) await each(host, replica, statements.stopBackground, { doing: 'stopping moves and cleanup', before: fence });
}

export async function startBackground(host: ClickHouseHost, replica: ReplicaRef, { zeroCopy }: Background): Promise<void> {
  await host.run(statements.startMerges(replica), { doing: `starting merges of ${replicaLabel(replica)}` });
  if (zeroCopy !== null) await each(host, replica, statements.startBackground, { doing: 'starting moves and cleanup' });
}

async function each(host: ClickHouseHost, replica: ReplicaRef, statement: typeof statements.stopBackground, options: { readonly doing: string; readonly before?: () => void }): Promise<void> {
  for (const what of BACKGROUND) {
    try {
      await host.run(statement(replica, what), { ...options, doing: `${options.doing} of ${replicaLabel(replica)}` });
    } catch (error) {
      // A server from before the statement: the table is readonly, or has nothing old to remove (the preflight asks for that).
      if (!(error instanceof MigrationError) || error.type !== 'UNSUPPORTED') throw error;
    }
  }
}
