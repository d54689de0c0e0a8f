import type { ClickHouseHost } from '../clickhouse/host';
import { CODES, clickHouseCode } from '../clickhouse/errors';
import { fnv1a64, type InventoryReplica, isOwnEnsemble, type ReplicaRef, replicaId } from '../domain/inventory';
import { MigrationError } from '../domain/failure';
import { fence } from './deps';
import { waitWhileRunning } from './look';
import { makesNodes } from './root-probe';

/** Statements may take long (a table of 100,000 parts is restored in minutes): as long as the server works on one, it is waited for. */
const STATEMENT_TIMEOUT_MS = 6 * 3_600_000;

/** The id of a statement: the same for every try of one step, so that one that still runs is found, not doubled (invariant 7). */
export function statementId(migration: string, replica: ReplicaRef, step: string): string {
  return `ch-zk-migrate-${fnv1a64(migration)}-${step}-${fnv1a64(replicaId(replica))}`;
}

/** How a statement ended, as far as the sender knows. */
export type StatementEnd =
  | { readonly end: 'answered' }
  /** The server answered with an error: nothing is said yet of what it did before. */
  | { readonly end: 'refused'; readonly error: MigrationError; readonly code: number }
  /** The reply was lost, or another try of the same step was found running and waited for. Look, then decide. */
  | { readonly end: 'unknown'; readonly error: MigrationError };

/**
 * Sends a statement that changes something, once. Whatever the answer, the caller looks at the world afterwards: neither an error nor
 * a lost reply says whether it was done.
 *
 * @throws MigrationError `STILL_RUNNING` when this attempt may have been replaced by another; `HOST_UNREACHABLE` when the server cannot be asked either whether the statement still runs
 */
export async function send(
  host: ClickHouseHost,
  sql: string,
  options: { readonly queryId: string; readonly doing: string },
): Promise<StatementEnd> {
  const step = { isSent: false };
  const before = (): void => {
    fence();
    step.isSent = true;
  };
  try {
    await host.run(sql, { ...options, timeoutMs: STATEMENT_TIMEOUT_MS, before });
    return { end: 'answered' };
  } catch (error) {
    if (!step.isSent || !(error instanceof MigrationError)) throw error;
    const code = clickHouseCode(error);
    if (code === undefined || code === CODES.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING || code === CODES.TIMEOUT_EXCEEDED) {
      await waitWhileRunning(host, options.queryId);
      return { end: 'unknown', error };
    }
    return { end: 'refused', error, code };
  }
}

/** What a server says when it lost its connection or session: by the time it is asked again it may have another one. */
const CONNECTION = /connection loss|session (?:expired|moved|was killed)|operation timeout|all connection tries failed/iu;

/**
 * The error with which a refused statement is to be thrown. A server gives one code for a ZooKeeper that does not answer and for one that
 * refuses (no right to a node, a request too large): where the server does other things with it right afterwards, waiting would not help.
 */
export async function refusalOf(host: ClickHouseHost, { zookeeperName }: InventoryReplica, { code, error }: Extract<StatementEnd, { end: 'refused' }>): Promise<MigrationError> {
  if (code !== CODES.KEEPER_EXCEPTION || CONNECTION.test(error.message) || !(await reachesZooKeeper(host, zookeeperName))) return error;
  const { cause, details = {} } = error.options;
  return new MigrationError('ZOOKEEPER_REFUSED', `${error.message}; the server reaches ZooKeeper, which refuses what it asks for`, { cause, details });
}

/** Whether the server reads an ensemble; false also where it cannot be asked. */
async function reachesZooKeeper(host: ClickHouseHost, ensemble: string): Promise<boolean> {
  const where = isOwnEnsemble(ensemble) ? '' : ' AND zookeeperName = {ensemble:String}';
  try {
    await host.select(`SELECT count() FROM system.zookeeper WHERE path = '/'${where}`, { params: { ensemble }, doing: 'looking whether it reaches ZooKeeper' });
    return true;
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    return error.type === 'UNKNOWN_TABLE' && isOwnEnsemble(ensemble) && makesNodes(host);
  }
}
