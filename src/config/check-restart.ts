/** Whether what moves is restarted, and what is kept has another place to be restored at. Pure. */
import { samePlace } from './ensemble';
import type { KeyPath } from './key-path';
import { type PlaceKeys, resolvePlaces } from './place';
import { BROKEN, type SpecView } from './spec-view';
import type { PathFault } from './yaml-source';

const STRATEGIES = ['command', 'sql', 'manual', 'none'];
const RECONFIGURES = ['reconfigure', 'reconfigureBack'];
const RESTART: KeyPath = ['clickhouse', 'restart'];
const CLEAN: KeyPath = ['zookeeper', 'clean'];
const NEW_PATH: KeyPath = ['zookeeper', 'after', 'path'];
const MOST_NAMES = 10;

/** Faults of restart strategies and of `zookeeper.clean`, each where it can be mended. */
export function checkRestart(view: SpecView): PathFault[] {
  return [...conflicts(view), ...missing(view), ...refusals(view), ...keptInPlace(view), ...backFromNowhere(view), ...pathAndPlace(view)];
}

function written(view: SpecView, restart: KeyPath): string[] {
  const keys = view.keys(restart);
  return STRATEGIES.filter((strategy) => keys.includes(strategy));
}

function conflicts(view: SpecView): PathFault[] {
  return [RESTART, ...view.hosts().map((host) => [...host, 'restart'])].flatMap((path) => {
    const strategies = written(view, path).filter((strategy) => strategy === 'command' || !view.isBroken([...path, strategy]));
    if (strategies.length > 1) return [{ path, message: `more than one strategy: ${strategies.join(', ')}; keep one` }];
    if (strategies[0] !== 'none') return [];
    return RECONFIGURES.filter((key) => view.keys(path).includes(key)).map((key) => ({
      path: [...path, key],
      message: 'is run before a restart, and with none there is no restart',
    }));
  });
}

/** A host's own strategies, or else the common ones; `undefined` where that cannot be said. */
function strategiesOf(view: SpecView, host: KeyPath): string[] | undefined {
  const own = [...host, 'restart'];
  if (view.isBroken(own)) return undefined;
  const strategies = written(view, own);
  if (strategies.length > 0) return strategies;
  return view.isBroken(RESTART) ? undefined : written(view, RESTART);
}

/** Hosts without a strategy that need one: one fault for all, since one default repairs them all. */
function missing(view: SpecView): PathFault[] {
  const without = view.hosts().filter((host) => strategiesOf(view, host)?.length === 0);
  const moving = without.filter((host) => moves(view, host) === true);
  if (moving.length > 0) {
    const message = `no restart strategy (command, sql or manual), and these hosts move to another place: ${names(view, moving)}`;
    return [{ path: RESTART, message }];
  }
  return without
    .flatMap((host) => [RESTART, [...host, 'restart']].filter((path) => view.keys(path).includes('reconfigure')))
    .slice(0, 1)
    .map((path) => ({
      path: [...path, 'reconfigure'],
      message: 'is run before a restart, and there is no restart strategy (command, sql or manual)',
    }));
}

function refusals(view: SpecView): PathFault[] {
  return view
    .hosts()
    .filter((host) => strategiesOf(view, host)?.join() === 'none' && moves(view, host) === true)
    .map((host) => ({
      path: written(view, [...host, 'restart']).length > 0 ? [...host, 'restart', 'none'] : host,
      message: `${view.hostWords(host)} moves to another place, for which it has to be restarted (command, sql or manual); none only attaches its tables again`,
    }));
}

function keptInPlace(view: SpecView): PathFault[] {
  const clean = view.text(CLEAN);
  if (clean !== 'after-verify' && clean !== 'never') return [];
  if (view.text(NEW_PATH) !== undefined) return [];
  const staying = view.hosts().filter((host) => moves(view, host) === false);
  if (staying.length === 0) return [];
  const message = `${clean} keeps the old metadata, which is possible only where the new one has another place (zookeeper.after); these hosts stay: ${names(view, staying)}`;
  return [{ path: CLEAN, message }];
}

/** A table gets another path where it is: its server is not restarted for that, and cannot be at another place too. */
function pathAndPlace(view: SpecView): PathFault[] {
  if (typeof view.text(NEW_PATH) !== 'string') return [];
  const moving = view.hosts().filter((host) => moves(view, host) === true);
  if (moving.length === 0) return [];
  const message = `a new path is for the same ensemble and root, and these hosts move: ${names(view, moving)}; make two migrations of it`;
  return [{ path: NEW_PATH, message }];
}

/** What leads back to the old place, where the old metadata is deleted before there is any other. */
function backFromNowhere(view: SpecView): PathFault[] {
  const clean = view.text(CLEAN);
  if (clean !== undefined && clean !== 'before-restore') return [];
  return [RESTART, ...view.hosts().map((host) => [...host, 'restart'])]
    .filter((path) => view.keys(path).includes('reconfigureBack') && !written(view, path).includes('none'))
    .map((path) => ({
      path: [...path, 'reconfigureBack'],
      message: 'is never run: there is a way back only where the old metadata is kept (zookeeper.clean: after-verify or never)',
    }));
}

/** Whether a host's metadata has another place after the restart; `undefined` where that cannot be said. */
function moves(view: SpecView, host: KeyPath): boolean | undefined {
  const own = placeKeys(view, [...host, 'zookeeper']);
  const common = placeKeys(view, ['zookeeper']);
  if (own === undefined || common === undefined) return undefined;
  const { zookeeper, after } = resolvePlaces(own, common);
  return !samePlace(zookeeper, after);
}

function placeKeys(view: SpecView, path: KeyPath): PlaceKeys | undefined {
  const connect = view.text([...path, 'connect']);
  const root = view.text([...path, 'root']);
  const laterConnect = view.text([...path, 'after', 'connect']);
  const laterRoot = view.text([...path, 'after', 'root']);
  if (connect === BROKEN || root === BROKEN || laterConnect === BROKEN || laterRoot === BROKEN) return undefined;
  return { connect, root, after: { connect: laterConnect, root: laterRoot } };
}

function names(view: SpecView, hosts: readonly KeyPath[]): string {
  const shown = hosts.slice(0, MOST_NAMES).map((host) => view.hostWords(host));
  const more = hosts.length - shown.length;
  return shown.join(', ') + (more > 0 ? ` and ${String(more)} more` : '');
}
