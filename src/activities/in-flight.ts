import { report, sleep } from './deps';
import type { Findings, InspectedHost } from './preflight';

const LOOK_EVERY_MS = 500;

interface Item {
  readonly database: string;
  readonly table: string;
  /** `queue` and `mutation` must be none; a `merge` or a `fetch` that was seen once must end, for others begin all the time. */
  readonly kind: 'queue' | 'mutation' | 'merge' | 'fetch';
  readonly id: string;
  readonly n: string;
}

/**
 * Waits until nothing is in flight on the selected tables of a host, at most until `deadline`, and refuses what still is: entries in the
 * replication queue, unfinished mutations, merges and fetches. One query a look, whatever the number of tables.
 *
 * @param deadline milliseconds since the epoch
 */
export async function settle(host: InspectedHost, deadline: number, found: Findings): Promise<void> {
  const started = Date.now();
  const first = await inFlight(host);
  const known = new Set(first.map(itemKey));
  let left = first;
  // A second look at least: the first may have come after the deadline, and what it saw may have ended.
  for (let again = true; left.length > 0 && again; again = Date.now() < deadline) {
    report({ doing: `waiting for ${left.length} merges, fetches, mutations and queues on ${host.spec.name}` });
    await sleep(LOOK_EVERY_MS);
    left = (await inFlight(host)).filter((item) => item.kind === 'queue' || item.kind === 'mutation' || known.has(itemKey(item)));
  }
  refuseItems(host, left, Math.round((Date.now() - started) / 1000), found);
}

function itemKey({ database, table, kind, id }: Item): string {
  return JSON.stringify([database, table, kind, id]);
}

async function inFlight(host: InspectedHost): Promise<Item[]> {
  const taken = new Set(host.replicas.filter(({ selected }) => selected).map(({ replica }) => JSON.stringify([replica.database, replica.table])));
  const rows = await host.server.select<Item>(
    `SELECT database, table, 'queue' AS kind, '' AS id, toUInt64(queue_size) AS n FROM system.replicas WHERE queue_size > 0
     UNION ALL SELECT database, table, 'mutation', mutation_id, toUInt64(1) FROM system.mutations WHERE NOT is_done
     UNION ALL SELECT database, table, 'fetch', result_part_name, toUInt64(1) FROM system.replicated_fetches
     UNION ALL SELECT database, table, 'merge', result_part_name, toUInt64(1) FROM system.merges`,
    { doing: 'looking what is in flight', timeoutMs: 120_000 },
  );
  return rows.filter(({ database, table }) => taken.has(JSON.stringify([database, table])));
}

const WORDS = {
  queue: 'entries in its replication queue',
  mutation: 'unfinished mutation(s)',
  fetch: 'fetch(es) in flight',
  merge: 'merge(s) in flight',
} as const;

function refuseItems(host: InspectedHost, items: readonly Item[], seconds: number, found: Findings): void {
  const counts = new Map<string, { item: Item; n: number }>();
  for (const item of items) {
    const key = JSON.stringify([item.database, item.table, item.kind]);
    const entry = counts.get(key) ?? { item, n: 0 };
    entry.n += Number(item.n);
    counts.set(key, entry);
  }
  for (const { item, n } of counts.values()) {
    const where = { host: host.spec.name, database: item.database, table: item.table };
    const words = `${n} ${WORDS[item.kind]}, after ${seconds} s`;
    if (item.kind === 'queue') {
      found.refuse('QUEUE', where, words, 'see system.replication_queue for what it waits for, then plan again; preflight.wait says how long a run waits');
    } else {
      found.refuse('IN_FLIGHT', where, words, 'wait until it is done (KILL MUTATION for one that is stuck), then plan again; preflight.wait says how long a run waits');
    }
  }
}
