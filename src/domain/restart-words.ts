import type { EnsembleSpec } from './spec';

/** `zk-1:2181/new`. */
export function placeWords({ connect, root }: EnsembleSpec): string {
  return `${connect}${root === '' ? '/' : root}`;
}

/** What somebody has to do for a host that is restarted by hand; `reconfigured` says that its configuration is as it should be by now. */
export function byHandWords(host: string, after: EnsembleSpec, reconfigured: boolean): string {
  return `restart ${host} by hand ${reconfigured ? 'now, ' : ''}on ${placeWords(after)}${reconfigured ? '' : ', once its reconfigure command has ended'}; it is waited for`;
}
