import { CODES, clickHouseCode, NO_SUCH_TABLE } from '../clickhouse/errors';
import { statements } from '../clickhouse/sql';
import { readNote, type ReplicaNote } from '../clickhouse/store';
import { type FailureType, MigrationError } from '../domain/failure';
import { NO_UUID, replicaLabel } from '../domain/inventory';
import { attachReplica, ensureAttached } from './attach';
import type { Connections } from './deps';
import { detachReplica, updateOf } from './detach';
import { stillHeld } from './hold';
import { lookAtReplica } from './look';
import { reattachReplica } from './return';
import { send, statementId } from './statement';
import { detachedTables } from './take-over-look';
import type { AttachInput, DetachInput, ReplicaOutcome } from './types';

/** {@link detachReplica}; an abort attaches what is detached without a manifest first, and passes by what is gone. */
export async function detachUnlessGone(connections: Connections, input: DetachInput): Promise<ReplicaOutcome> {
  if (input.aborting !== true) return detachReplica(connections, input);
  return passingByGone(connections, input, async ({ status, detachTake }) => {
    if (status === 'INIT' && detachTake === '') await ensureAttached(connections, input);
    return detachReplica(connections, input);
  });
}

/** {@link attachReplica}; an abort passes by what is gone. @throws MigrationError `UNKNOWN_TABLE` where it is no abort */
export async function attachUnlessGone(connections: Connections, input: AttachInput): Promise<ReplicaOutcome> {
  if (input.aborting === true) return passingByGone(connections, input, () => attachReplica(connections, input));
  try {
    return await attachReplica(connections, input);
  } catch (error) {
    const gone = await goneOrThrow(connections, input, error);
    throw new MigrationError('UNKNOWN_TABLE', `${replicaLabel(input.replica)} is gone: ${gone}. Where that is meant: ch-zk-migrate retry ${input.migration} --skip, with a pattern for it`, { cause: error });
  }
}

/** {@link reattachReplica}; what is gone is passed by, and where a retry leaves it out its note stays as it is. */
export async function reattachUnlessGone(connections: Connections, input: AttachInput): Promise<ReplicaOutcome> {
  if (input.aborting === true) return passingByGone(connections, input, () => reattachReplica(connections, input));
  try {
    return await reattachReplica(connections, input);
  } catch (error) {
    const gone = await goneOrThrow(connections, input, error);
    return { updates: [updateOf(input.replica, await readNote(connections.host(input.host), input.migration, input.replica), `it is gone: ${gone}`)] };
  }
}

/** Does an abort's work on a replica; where that fails because the table is gone, it is noted as `gone`, and holds up nobody. */
async function passingByGone(connections: Connections, input: AttachInput, work: (note: ReplicaNote) => Promise<ReplicaOutcome>): Promise<ReplicaOutcome> {
  const { migration, replica } = input;
  const host = connections.host(input.host);
  const before = await readNote(host, migration, replica);
  const known = before.step === 'gone' ? await goneWords(connections, input) : undefined;
  if (known !== undefined) return { updates: [updateOf(replica, before, `it is gone: ${known}`)] };
  try {
    return await work(before);
  } catch (error) {
    const gone = await goneOrThrow(connections, input, error, 'TABLE_CHANGED');
    const now = await readNote(host, migration, replica);
    const note: ReplicaNote = { ...now, seq: now.seq + 1, status: 'INIT', step: 'gone', baselineTake: '' };
    await connections.notes(input.host).write(migration, replica, note);
    return { updates: [updateOf(replica, note, `it is gone: ${gone}`)] };
  }
}

/** {@link goneWords} of a table whose work failed so that it may be gone (it does not exist, or with one of `types`); throws what it failed with where it is not. */
async function goneOrThrow(connections: Connections, input: AttachInput, error: unknown, ...types: readonly FailureType[]): Promise<string> {
  const mayBeGone = NO_SUCH_TABLE.includes(clickHouseCode(error)) || (error instanceof MigrationError && types.includes(error.type));
  const gone = mayBeGone ? await goneWords(connections, input) : undefined;
  if (gone === undefined) throw error;
  return gone;
}

/**
 * Why a replica's table is gone from its server, in words; undefined where it is not, or where that is not proved. What the user may not see
 * is listed nowhere either: beside the lists, its server refuses an ATTACH because it has no such table.
 *
 * @throws MigrationError `TABLE_CHANGED` where it has another name now; `HOST_UNREACHABLE` and others where the server cannot be asked
 */
async function goneWords(connections: Connections, { host: target, migration, replica }: AttachInput): Promise<string | undefined> {
  const host = connections.host(target);
  await stillHeld(host, migration, replica);
  const label = replicaLabel(replica);
  const { database, table, uuid } = replica;
  const tables = await host.select<{ database: string; table: string; uuid: string }>(
    `SELECT database, name AS table, toString(uuid) AS uuid FROM system.tables
     WHERE (database = {database:String} AND name = {table:String}) OR (toString(uuid) = {uuid:String} AND {uuid:String} != '${NO_UUID}')`,
    { params: { database, table, uuid }, doing: `looking whether ${label} is gone` },
  );
  const isNamed = (one: { database: string; table: string }): boolean => one.database === database && one.table === table;
  const other = tables.find((one) => !isNamed(one));
  if (other !== undefined) throw new MigrationError('TABLE_CHANGED', `${label} has the name ${other.database}.${other.table} on its server now: rename it back, and try again`);
  const named = tables.find(isNamed);
  if (named?.uuid === uuid) return undefined;
  const detached = await detachedTables(host);
  if (detached?.some((one) => isNamed(one) || (one.uuid === uuid && uuid !== NO_UUID)) === true) return undefined;
  if (named !== undefined) return 'another table has its name now';
  // Attached on what is left of a record, a server would put parts aside.
  if ((await readNote(host, migration, replica)).step === 'cleaning') return undefined;
  const sent = await send(host, statements.attach(replica), { queryId: statementId(migration, replica, 'attach'), doing: `attaching ${label}` });
  if (sent.end !== 'refused' || (await lookAtReplica(host, replica)).attached) throw new MigrationError('STILL_RUNNING', `${label} came back while it was looked for: it is looked at again`);
  // Of a table that is there this is said when its own files are not: the list of detached tables tells the two apart.
  const proved = NO_SUCH_TABLE.includes(sent.code) && (sent.code !== CODES.FILE_DOESNT_EXIST || detached !== undefined);
  return proved ? 'its server has it neither attached nor detached' : undefined;
}
