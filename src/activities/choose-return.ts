import { hostsThatReturn, type ReturningHost } from '../domain/way-back';
import { type Connections, report } from './deps';
import { type NotedReplica, notedReplicas, onlyAtOldPlace } from './old-place';
import { locateHost } from './restart';
import type { ChooseReturnInput, ChooseReturnOutcome, RestartInput } from './types';

/** Steps from which on the old metadata does not fit any more: RESTORE gives parts new names. */
const BEGUN: readonly string[] = ['restoring', 'repairing', 'restored', 'started'];

/** Abort where the old metadata was kept: which hosts go back to it. Looks, and changes nothing but its own probes. */
export async function chooseReturn(connections: Connections, input: ChooseReturnInput): Promise<ChooseReturnOutcome> {
  report({ doing: 'looking which hosts can go back to their old place' });
  const hosts = await Promise.all(input.hosts.map((host) => returningHost(connections, host)));
  return { back: hostsThatReturn(hosts) };
}

async function returningHost(connections: Connections, input: RestartInput): Promise<ReturningHost> {
  const replicas = await notedReplicas(connections.host(input.host), input.migration);
  const begun = replicas.filter(({ note }) => note.status === 'RESTORED' || BEGUN.includes(note.step));
  const anew = new Set(await madeAnew(connections, input, begun));
  const hasWay = input.restart.reconfigureBack !== undefined || input.restart.strategy.kind === 'manual';
  return {
    name: input.host.name,
    tables: replicas.map(({ key }) => key),
    begun: begun.filter((one) => !anew.has(one)).map(({ key }) => key),
    canReturn: hasWay || (await locateHost(connections, input)).on === 'before',
  };
}

/**
 * What an abort makes anew at the old place, for nothing of it was left there, belongs there: proved, where it is registered; not proved
 * yet, while its host is there and no older metadata is that its parts would not fit.
 */
async function madeAnew(connections: Connections, input: RestartInput, begun: readonly NotedReplica[]): Promise<NotedReplica[]> {
  const isProved = ({ note }: NotedReplica): boolean => note.status === 'RESTORED';
  const open = begun.filter((one) => !isProved(one) && one.note.oldMetadata === 'deleted');
  const here = open.length > 0 && (await locateHost(connections, input)).on === 'before';
  return [...(await onlyAtOldPlace(connections, input, begun.filter(isProved))), ...(here ? open : [])];
}
