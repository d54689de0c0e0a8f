import { report, sleep } from './deps';
import type { Findings, InspectedHost, InspectedTable } from './preflight';

const LOOK_EVERY_MS = 500;

/** What a replica holds, in three numbers: two replicas with the same have the same parts. */
interface Holding {
  readonly parts: number;
  readonly rows: number;
  /** Order-free digest of the multiset of `(partition_id, rows, hash_of_uncompressed_files)`, as at the election. */
  readonly digest: string;
}

const NOTHING: Holding = { parts: 0, rows: 0, digest: '0' };

/**
 * Refuses tables whose replicas do not hold the same parts: what only one has would be lost for the others. Those that differ are looked at
 * again until `deadline`, for parts are on their way all the time. One query a host and look. Where the metadata is lost already nobody can
 * make them equal any more: that is a warning.
 */
export async function checkDifferences(
  hosts: readonly InspectedHost[],
  tables: readonly InspectedTable[],
  deadline: number,
  found: Findings,
): Promise<void> {
  let suspects = tables.filter(({ members }) => members.length > 1);
  if (suspects.length === 0) return;
  for (;;) {
    const holdings = await holdingsOf(hosts);
    suspects = suspects.filter((table) => differs(table, holdings));
    // Merges end at other moments here and there; a table without its metadata does not change by waiting.
    if (Date.now() >= deadline || !suspects.some(isLive)) {
      for (const table of suspects) tell(table, holdings, found);
      return;
    }
    report({ doing: `waiting for ${suspects.length} tables whose replicas differ` });
    await sleep(LOOK_EVERY_MS);
  }
}

type Holdings = ReadonlyMap<string, Holding>;

function keyOf(host: string, database: string, table: string): string {
  return JSON.stringify([host, database, table]);
}

async function holdingsOf(hosts: readonly InspectedHost[]): Promise<Holdings> {
  const all = await Promise.all(
    hosts.map(async ({ spec, server }) => {
      const rows = await server.select<{ database: string; table: string; n_parts: string; n_rows: string; digest: string }>(
        `SELECT database, table, count() AS n_parts, sum(rows) AS n_rows,
           sum(sipHash64(partition_id, rows, hash_of_uncompressed_files)) AS digest
         FROM system.parts WHERE active AND rows > 0 AND (database, table) IN (SELECT database, table FROM system.replicas)
         GROUP BY database, table`,
        { doing: 'comparing the parts of its replicas', timeoutMs: 300_000 },
      );
      return rows.map((row) => [keyOf(spec.name, row.database, row.table), { parts: Number(row.n_parts), rows: Number(row.n_rows), digest: row.digest }] as const);
    }),
  );
  return new Map(all.flat());
}

function holdingOf({ host, listed }: InspectedTable['members'][number], holdings: Holdings): Holding {
  return holdings.get(keyOf(host.spec.name, listed.replica.database, listed.replica.table)) ?? NOTHING;
}

function differs({ members }: InspectedTable, holdings: Holdings): boolean {
  return new Set(members.map((member) => holdingOf(member, holdings).digest)).size > 1;
}

function isLive({ members }: InspectedTable): boolean {
  return members.some(({ listed }) => !listed.readonly);
}

function tell(table: InspectedTable, holdings: Holdings, found: Findings): void {
  const words = table.members
    .map((member) => [member.host.spec.name, holdingOf(member, holdings)] as const)
    .map(([name, { parts, rows }]) => `${name} has ${parts} parts, ${rows} rows`)
    .join('; ');
  for (const { listed } of table.members) {
    if (isLive(table)) {
      found.refuse('REPLICAS_DIFFER', listed.replica, `the replicas of ${table.path} hold different parts: ${words}`, 'SYSTEM SYNC REPLICA on each; where that does not help, find out which of them is right before you go on');
    } else {
      found.warn('REPLICAS_DIFFER', listed.replica, `the replicas of ${table.path}, whose metadata is lost, hold different parts: ${words}`, 'the most complete one is restored first; what only another one has stays in its detached/, and that replica is not RESTORED');
    }
  }
}
