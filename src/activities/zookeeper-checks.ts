import { clickHouseCode } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { askTogether, labelOf, ofTables, rowsOf } from '../clickhouse/together';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, isOwnEnsemble } from '../domain/inventory';
import type { ZooKeeperSession } from '../zookeeper/session';
import { sameRecord } from './clean';
import { sleep } from './deps';
import { readonlyFix } from './in-flight';
import type { Findings, InspectedTable } from './preflight';
import { unlistedParts, unlistedWords } from './unlisted-parts';

const LOOK_EVERY_MS = 500;
/** How long a replica may take to register itself anew after its session expired. */
const BLIP_MS = 3_000;
/** ClickHouse's UNKNOWN_FUNCTION: `serverUUID` came with 21.12. */
const UNKNOWN_FUNCTION = 46;

/** What to do about OTHER_ZOOKEEPER: the keys of the spec that name the ensemble of this replica's path. */
export function otherZooKeeperFix({ zookeeperName }: Pick<InventoryReplica, 'zookeeperName'>): string {
  const [own, key] = isOwnEnsemble(zookeeperName) ? ["the servers' own ensemble", 'zookeeper'] : [`the servers' own auxiliary ensemble "${zookeeperName}"`, `zookeeper.auxiliary.${zookeeperName}`];
  return `write ${own} and its <root> into ${key}.connect and ${key}.root`;
}

/** The server's id as it writes it into ZooKeeper; undefined where it has no such function. */
export async function serverUuid(server: ClickHouseHost): Promise<string | undefined> {
  try {
    const [row] = await server.select<{ uuid: string }>('SELECT toString(serverUUID()) AS uuid', { doing: 'asking for its id', timeoutMs: 10_000 });
    return row?.uuid;
  } catch (error) {
    if (clickHouseCode(error) === UNKNOWN_FUNCTION) return undefined;
    throw error;
  }
}

/**
 * Compares what the worker sees in ZooKeeper with what the servers say. A replica that its server works with is active in the server's
 * ZooKeeper, under the server's own id: a copy of the tree, what an earlier migration left, or another cluster's has it not.
 */
export async function checkSameZooKeeper(zookeeper: ZooKeeperSession, table: InspectedTable, found: Findings): Promise<void> {
  await Promise.all(
    table.members.map(async ({ host, listed }) => {
      if (listed.readonly || listed.sessionExpired) return;
      const node = `${table.path}/replicas/${listed.replica.replicaName}/is_active`;
      const owner = await ownerOf(zookeeper, node);
      const place = `${table.ensemble.root}${node} on ${table.ensemble.connect}`;
      if (owner === undefined) {
        found.refuse('OTHER_ZOOKEEPER', listed.replica, `${host.spec.name} works with it, yet it is not active where the spec says: there is no ${place}`, otherZooKeeperFix(listed.replica));
      } else if (owner !== '' && host.uuid !== undefined && owner !== host.uuid) {
        found.refuse('OTHER_ZOOKEEPER', listed.replica, `${place} belongs to the server with the id ${owner}, and ${host.spec.name} is ${host.uuid}: another server is active there`, otherZooKeeperFix(listed.replica));
      }
    }),
  );
}

/** The id in an `is_active` node: `UUID_'…'` since 21.12, words of an older server before, which say nothing here. */
async function ownerOf(zookeeper: ZooKeeperSession, node: string): Promise<string | undefined> {
  const deadline = Date.now() + BLIP_MS;
  for (;;) {
    const value = await zookeeper.get(node);
    if (value !== undefined) return /^UUID_'([0-9a-f-]{36})'$/u.exec(value.data.toString())?.[1] ?? '';
    if (Date.now() >= deadline) return undefined;
    await sleep(LOOK_EVERY_MS);
  }
}

/**
 * Refuses a replica that its server would restore by itself at its next start: only the node in ZooKeeper can be seen from here, not the
 * file `flags/force_restore_data` on the host (ClickHouse issues 81324, 116432).
 */
export async function checkForceRestore(zookeeper: ZooKeeperSession, table: InspectedTable, found: Findings): Promise<void> {
  await Promise.all(
    table.members.map(async ({ listed }) => {
      const node = `${table.path}/replicas/${listed.replica.replicaName}/flags/force_restore_data`;
      if ((await zookeeper.exists(node)) === undefined) return;
      found.refuse('FORCE_RESTORE', listed.replica, `ZooKeeper has ${table.ensemble.root}${node}: at its next start the server would restore it by itself, without proof`, 'delete that node, and see that there is no flags/force_restore_data in the data directories of the hosts');
    }),
  );
}

/** ZooKeeper's own record of the replicas must be equal, as before a deletion; a replica that lags is looked at again until `deadline`. */
export async function checkRecord(zookeeper: ZooKeeperSession, table: InspectedTable, deadline: number, found: Findings): Promise<void> {
  // Twice at least: what is under way at one look has had its moment at the next.
  for (let look = 1; ; look += 1) {
    const difference = await recordDifference(zookeeper, table);
    if (difference === undefined) return;
    if (look > 1 && Date.now() >= deadline) {
      for (const { listed } of table.members) {
        found.refuse('REPLICA_LAGS', listed.replica, difference, lagFix(table));
      }
      return;
    }
    await sleep(LOOK_EVERY_MS);
  }
}

function lagFix({ path, members }: InspectedTable): string {
  if (members.some(({ listed }) => listed.readonly)) return readonlyFix([`what is not done below ${path}/mutations, ${path}/log and ${path}/replicas/…/queue`]);
  return 'SYSTEM SYNC REPLICA on the one that is behind, then plan again; preflight.wait says how long a run waits';
}

/** Says which parts a server has and ZooKeeper's record of its replica has not: at the next ATTACH or start it would put them aside. */
export async function checkUnlisted(zookeeper: ZooKeeperSession, { path, members }: InspectedTable, found: Findings): Promise<void> {
  await Promise.all(
    members.map(async ({ listed, host }) => {
      const { replica } = listed;
      const look = (): Promise<readonly string[]> => unlistedParts(zookeeper, `${path}/replicas/${replica.replicaName}`, () => activeParts(host.server, replica));
      const first = await look();
      if (first.length === 0) return;
      // One that was dropped between the two reads is not there at the second look.
      await sleep(LOOK_EVERY_MS);
      const second = new Set(await look());
      const parts = first.filter((name) => second.has(name));
      if (parts.length === 0) return;
      found.warn(
        'METADATA_LOST',
        replica,
        `ZooKeeper's record of its replica "${replica.replicaName}" at ${path} lacks ${unlistedWords(parts)}`,
        `they are registered anew with the rest; until then let ${host.spec.name} not start again, nor the table be attached again: the server would put them into detached/`,
      );
    }),
  );
}

async function activeParts(server: ClickHouseHost, { database, table }: InventoryReplica): Promise<readonly string[]> {
  return askTogether(server, 'names', { database, table }, async (tables) => {
    const { condition, params } = ofTables(tables);
    const rows = await server.select<{ database: string; table: string; names: string[] }>(
      `SELECT database, table, groupArray(name) AS names FROM system.parts WHERE active AND ${condition('database', 'table')} GROUP BY database, table`,
      { params, doing: `reading the parts of ${labelOf(tables)}`, timeoutMs: 120_000 },
    );
    const of = rowsOf(rows);
    return tables.map((one) => of(one)[0]?.names ?? []);
  });
}

async function recordDifference(zookeeper: ZooKeeperSession, { path, members }: InspectedTable): Promise<string | undefined> {
  try {
    await sameRecord(zookeeper, path, new Set(members.map(({ listed }) => listed.replica.replicaName)), (name) => async () => {
      const member = members.find(({ listed }) => listed.replica.replicaName === name);
      return member === undefined ? [] : activeParts(member.host.server, member.listed.replica);
    });
    return undefined;
  } catch (error) {
    if (error instanceof MigrationError && error.type === 'REPLICAS_DIFFER') return error.message;
    throw error;
  }
}
