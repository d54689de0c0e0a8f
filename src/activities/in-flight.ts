import type { InventoryReplica } from '../domain/inventory';
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

/**
 * What to do about what a readonly replica has still to do: it can neither do it nor be told to forget it by a statement, for KILL MUTATION is
 * refused as well.
 *
 * @param nodes what asks for it in ZooKeeper
 */
export function readonlyFix(nodes: readonly string[]): string {
  return (
    `see what keeps it readonly (METADATA_BROKEN, zookeeper_exception in system.replicas), mend that, ATTACH the table again, and wait until all is done; where it cannot be mended, delete from ZooKeeper ` +
    `${nodes.slice(0, 3).join(', ')}${nodes.length > 3 ? `, and ${nodes.length - 3} more` : ''}, DETACH the table and ATTACH it, and plan again: what was asked for there is not done then`
  );
}

function nodeOf({ zookeeperPath: path, replicaName }: InventoryReplica, { kind, id }: Item): string {
  return kind === 'queue' ? `what is below ${path}/replicas/${replicaName}/queue` : `${path}/mutations/${id}`;
}

function refuseItems(host: InspectedHost, items: readonly Item[], seconds: number, found: Findings): void {
  const groups = new Map<string, [Item, ...Item[]]>();
  for (const item of items) {
    const key = JSON.stringify([item.database, item.table, item.kind]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  for (const group of groups.values()) {
    const [item] = group;
    const n = group.reduce((sum, one) => sum + Number(one.n), 0);
    const where = { host: host.spec.name, database: item.database, table: item.table };
    const words = `${n} ${WORDS[item.kind]}, after ${seconds} s`;
    const replica = host.replicas.find(({ replica: { database, table } }) => database === item.database && table === item.table);
    if (replica?.readonly === true && (item.kind === 'queue' || item.kind === 'mutation')) {
      const code = item.kind === 'queue' ? 'QUEUE' : 'IN_FLIGHT';
      found.refuse(code, where, `${words}, and it is readonly: it does none of this`, readonlyFix(group.map((one) => nodeOf(replica.replica, one))));
    } else if (item.kind === 'queue') {
      found.refuse('QUEUE', where, words, 'see system.replication_queue for what it waits for, then plan again; preflight.wait says how long a run waits');
    } else {
      found.refuse('IN_FLIGHT', where, words, 'wait until it is done (KILL MUTATION for one that is stuck), then plan again; preflight.wait says how long a run waits');
    }
  }
}
