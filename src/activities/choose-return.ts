import { latestNotesSql, SEALED_ROWS, STORE_DATABASE } from '../clickhouse/store';
import { hostsThatReturn, type ReturningHost } from '../domain/way-back';
import { type Connections, report } from './deps';
import { locateHost } from './restart';
import type { ChooseReturnInput, ChooseReturnOutcome, RestartInput } from './types';

/** Steps from which on the old metadata does not fit any more: RESTORE gives parts new names. */
const BEGUN = ['restoring', 'repairing', 'restored', 'started'];

/** Abort where the old metadata was kept: which hosts go back to it. Looks, and changes nothing but its own probes. */
export async function chooseReturn(connections: Connections, input: ChooseReturnInput): Promise<ChooseReturnOutcome> {
  report({ doing: 'looking which hosts can go back to their old place' });
  const hosts = await Promise.all(input.hosts.map((host) => returningHost(connections, host)));
  return { back: hostsThatReturn(hosts) };
}

async function returningHost(connections: Connections, input: RestartInput): Promise<ReturningHost> {
  const rows = await connections.host(input.host).select<{ key: string; begun: number }>(
    `SELECT i.sort_key AS key, s.status = 'RESTORED' OR s.step IN {begun:Array(String)} AS begun FROM
       (SELECT sort_key, database, table FROM ${STORE_DATABASE}.inventory WHERE ${SEALED_ROWS}) AS i
     LEFT JOIN (${latestNotesSql('')}) AS s USING (database, table)`,
    { params: { migration: input.migration, begun: BEGUN }, doing: 'reading which tables were restored', timeoutMs: 120_000 },
  );
  const hasWay = input.restart.reconfigureBack !== undefined || input.restart.strategy.kind === 'manual';
  return {
    name: input.host.name,
    tables: rows.map(({ key }) => key),
    begun: rows.filter(({ begun }) => begun === 1).map(({ key }) => key),
    canReturn: hasWay || (await locateHost(connections, input)).on === 'before',
  };
}
