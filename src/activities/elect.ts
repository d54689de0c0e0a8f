import { STORE_DATABASE, readNote, type ReplicaNote } from '../clickhouse/store';
import { electFirst as elect, type Candidate } from '../domain/election';
import { MigrationError } from '../domain/failure';
import { type ReplicaEntry, replicaLabel } from '../domain/inventory';
import { startBackground } from './background';
import { type Connections, ensembleOf } from './deps';
import { isStillHeld, stillHeld } from './hold';
import { lookAtReplica } from './look';
import { ROW_KEEPING_ENGINES } from './proof';
import { noteStarted } from './restore';
import { sameSetting } from './zero-copy-facts';
import { proveLocks } from './zero-copy-proof';
import type { ElectInput, ElectOutcome, HostTarget, MergesInput } from './types';

/** Elects the replica that is restored first, alone, from the baselines as the hosts keep them. */
export async function electFirst(connections: Connections, input: ElectInput): Promise<ElectOutcome> {
  const candidates = await Promise.all(input.table.replicas.map((replica) => candidate(connections, input, replica)));
  const first = elect(candidates);
  const zeroCopy = candidates.some((one) => one.zeroCopy) ? { zeroCopy: true as const } : {};
  const others = candidates.filter(({ host, digest }) => host !== first.host && digest !== first.digest);
  if (others.length === 0) return { first: first.host, ...zeroCopy };
  const words = others.map(({ host, parts, rows }) => `${host} has ${parts} parts, ${rows} rows`).join('; ');
  return {
    first: first.host,
    ...zeroCopy,
    note: `the replicas' baselines differ: elected ${first.host} with ${first.parts} parts, ${first.rows} rows; ${words}`,
  };
}

async function candidate(connections: Connections, input: ElectInput, replica: ReplicaEntry): Promise<Candidate & { readonly zeroCopy: boolean }> {
  const target = targetOf(input.hosts, replica.host);
  const host = connections.host(target);
  const note = await readNote(host, input.migration, replica);
  if (note.baselineTake === '') throw new MigrationError('MANIFEST_MISSING', `${replicaLabel(replica)} has no baseline manifest`);
  const rows = await host.select<{ n_parts: string; n_rows: string; digest: string }>(
    `SELECT count() AS n_parts, sum(rows) AS n_rows, sum(sipHash64(partition_id, rows, hash_of_uncompressed_files)) AS digest
     FROM ${STORE_DATABASE}.manifests WHERE migration = {migration:String} AND database = {database:String} AND table = {table:String}
       AND take = {take:String} AND rows > 0`,
    {
      params: { migration: input.migration, database: replica.database, table: replica.table, take: note.baselineTake },
      doing: `reading the baseline of ${replicaLabel(replica)}`,
    },
  );
  const ensemble = ensembleOf(target, input.zookeeper, replica.zookeeperName);
  const zookeeper = await connections.zookeeper(ensemble, input.zookeeper.digestEnv);
  const node = await zookeeper.exists(`${replica.zookeeperPath}/replicas/${replica.replicaName}`);
  return {
    host: replica.host,
    replicaName: replica.replicaName,
    // What a failed RESTORE left in detached/ counts: it is brought back.
    parts: Number(rows[0]?.n_parts ?? 0) + (note.zeroCopy?.strays ?? 0),
    rows: Number(rows[0]?.n_rows ?? 0),
    digest: rows[0]?.digest ?? '',
    registered: node !== undefined,
    zeroCopy: note.zeroCopy !== null,
  };
}

export function targetOf(hosts: readonly HostTarget[], name: string): HostTarget {
  const target = hosts.find((host) => host.name === name);
  if (target === undefined) throw new MigrationError('INVARIANT', `the host ${name} is not in the spec`);
  return target;
}

/**
 * Starts the merges of a table's replicas again, once all of them are proved, or given up. Those of a zero-copy table only when all are
 * proved and every active part of every replica has its lock: until then a merge on one could delete blobs that another needs.
 */
export async function startMerges(connections: Connections, input: MergesInput): Promise<void> {
  const members = await Promise.all(
    input.table.replicas.map(async (replica) => {
      const target = targetOf(input.hosts, replica.host);
      return { replica, target, note: await readNote(connections.host(target), input.migration, replica) };
    }),
  );
  const zeroCopy = members.some(({ note }) => note.zeroCopy !== null);
  const proved = members.every(({ note }) => note.status === 'RESTORED');
  // What merges change of a table whose rows they do not keep can be proved on no replica any more: they wait for the proof of all.
  if (!proved && (zeroCopy || !(await keepsRows(connections, members)))) return;
  // Whoever let go of it has started them.
  const asked = proved ? isStillHeld : stillHeld;
  const held = await Promise.all(members.map(({ replica, target }) => asked(connections.host(target), input.migration, replica)));
  if (held.includes(false)) return;
  if (zeroCopy) {
    for (const { replica, target, note } of members) await stillLocked(connections, input, { replica, target, note });
  }
  await Promise.all(
    members.map(async ({ replica, target, note }) => {
      await startBackground(connections.host(target), replica, note);
      await noteStarted(connections, { migration: input.migration, host: target, replica }, note);
    }),
  );
}

async function keepsRows(connections: Connections, members: readonly { readonly replica: ReplicaEntry; readonly target: HostTarget }[]): Promise<boolean> {
  const seen = await Promise.all(members.map(({ replica, target }) => lookAtReplica(connections.host(target), replica)));
  return seen.every(({ attached, engine }) => !attached || ROW_KEEPING_ENGINES.has(engine));
}

/** A replica whose locks went, or whose setting changed, since its proof is not proved any more: a retry looks at it again, and starts its merges then. */
async function stillLocked(
  connections: Connections,
  { migration, zookeeper }: MergesInput,
  { replica, target, note }: { readonly replica: ReplicaEntry; readonly target: HostTarget; readonly note: ReplicaNote },
): Promise<void> {
  try {
    await sameSetting(connections, target, replica, note);
    if (note.zeroCopy !== null) await proveLocks(connections, { migration, host: target, replica, zookeeper }, note.zeroCopy);
  } catch (error) {
    if (!(error instanceof MigrationError) || (error.type !== 'PROOF_FAILED' && error.type !== 'ZERO_COPY_CHANGED')) throw error;
    await connections.notes(target).write(migration, replica, { ...note, seq: note.seq + 1, status: 'ZK_CLEANED', step: 'restoring' });
    throw error;
  }
}
