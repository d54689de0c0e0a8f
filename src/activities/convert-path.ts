import { CODES } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import type { ReplicaNote } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type MovedReplica, replicaLabel } from '../domain/inventory';
import { type Connections, report, stopIfCancelled } from './deps';
import { stillGoesTo } from './path-move';
import { send, statementId } from './statement';
import type { AttachInput } from './types';

/** Statements that one try may need, with room for one that was interrupted. */
const MOST_STEPS = 8;

/**
 * Gives a detached replica the server's default path: attached AS NOT REPLICATED, detached, attached AS REPLICATED. It looks before each
 * step, so that it goes on from wherever an earlier try was cut short; from its first statement on there is no way back to the old
 * path, which only `default_replica_path` could give.
 *
 * Source: https://clickhouse.com/docs/sql-reference/statements/attach#attach-mergetree-table-as-replicatedmergetree
 *
 * @returns the note in force, with `moved`
 * @throws MigrationError `WRONG_PATH` when the server would put it elsewhere now; nothing was sent then, or it is left detached
 */
export async function convertPath(connections: Connections, input: AttachInput, to: MovedReplica, before: ReplicaNote): Promise<ReplicaNote> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  let note = before;
  if (note.moved !== true) {
    await stillGoesTo(host, replica, to);
    note = { ...note, seq: note.seq + 1, moved: true };
    await connections.notes(input.host).write(migration, replica, note);
  }
  const sent = async (step: string, sql: string): Promise<number | undefined> => {
    stopIfCancelled();
    report({ doing: `${step}, for another path` });
    const end = await send(host, sql, { queryId: statementId(migration, replica, step.replaceAll(' ', '-')), doing: `${step} of ${replicaLabel(replica)}` });
    if (end.end === 'refused' && end.code !== CODES.INCORRECT_QUERY) throw end.error;
    return end.end === 'refused' ? end.code : undefined;
  };
  let plain = false;
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const seen = await lookAtEngine(host, replica);
    if (seen?.kind === 'replicated' && seen.path === to.zookeeperPath && seen.name === to.replicaName) return note;
    if (seen?.kind === 'replicated') {
      if (seen.path !== replica.zookeeperPath) throw new MigrationError('WRONG_PATH', `${replicaLabel(replica)} has the path ${seen.path} now, and neither ${replica.zookeeperPath} nor ${to.zookeeperPath}`);
      await sent('DETACH', statements.detach(replica));
    } else if (seen?.kind === 'plain') {
      await host.run(statements.stopMerges(replica), { doing: `stopping merges of ${replicaLabel(replica)}` });
      await sent('DETACH plain', statements.detach(replica));
      plain = true;
    } else if (plain) {
      await stillGoesTo(host, replica, to);
      await sent('ATTACH AS REPLICATED', statements.attachReplicated(replica));
    } else {
      // Refused as incorrect: it is a plain table already.
      plain = (await sent('ATTACH AS NOT REPLICATED', statements.attachPlain(replica))) !== undefined;
    }
  }
  throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} did not get the path ${to.zookeeperPath} yet`);
}

export type SeenEngine = { readonly kind: 'plain' } | { readonly kind: 'replicated'; readonly path: string; readonly name: string };

/**
 * What is attached under the replica's name; undefined when nothing is.
 *
 * @throws MigrationError `TABLE_CHANGED` when it is another table
 */
export async function lookAtEngine(host: ClickHouseHost, replica: InventoryReplica): Promise<SeenEngine | undefined> {
  const [row] = await host.select<{ engine: string; uuid: string; path: string; name: string }>(
    `SELECT t.engine AS engine, toString(t.uuid) AS uuid, r.zookeeper_path AS path, r.replica_name AS name FROM
       (SELECT database, name, engine, uuid FROM system.tables WHERE database = {database:String} AND name = {table:String}) AS t
     LEFT JOIN (SELECT database, table, zookeeper_path, replica_name FROM system.replicas WHERE database = {database:String} AND table = {table:String}) AS r
       ON t.database = r.database AND t.name = r.table`,
    { params: { database: replica.database, table: replica.table }, doing: `looking at ${replicaLabel(replica)}` },
  );
  if (row === undefined) return undefined;
  if (row.uuid !== replica.uuid) throw new MigrationError('TABLE_CHANGED', `${replicaLabel(replica)} is another table now: uuid ${row.uuid} (the inventory has ${replica.uuid})`);
  if (!row.engine.endsWith('MergeTree')) throw new MigrationError('TABLE_CHANGED', `${replicaLabel(replica)} is a ${row.engine} table now`);
  if (!row.engine.startsWith('Replicated')) return { kind: 'plain' };
  if (row.path === '') throw new MigrationError('STILL_RUNNING', `${replicaLabel(replica)} is attached, and not among the server's replicas yet`);
  return { kind: 'replicated', path: row.path, name: row.name };
}
