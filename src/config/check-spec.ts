/** What several keys of a spec must be together. Pure; looks at specs with faults too (see `SpecView`). */
import { checkRestart } from './check-restart';
import { type KeyPath, quoted } from './key-path';
import type { SpecView } from './spec-view';
import type { PathFault } from './yaml-source';

const AUXILIARY: KeyPath = ['zookeeper', 'auxiliary'];
const AUXILIARY_NAME = /^[A-Za-z][A-Za-z0-9_.-]*$/;

/** The faults that only show when keys are looked at together. */
export function checkTogether(view: SpecView): PathFault[] {
  return [
    ...taken(view, 'name', (name) => name),
    ...taken(view, 'url', (url) => new URL(url).origin),
    ...checkRestart(view),
    ...halfTls(view),
    ...repeatedGates(view),
    ...auxiliaryNames(view),
    ...listAndPatterns(view),
  ];
}

function taken(view: SpecView, key: 'name' | 'url', normalize: (text: string) => string): PathFault[] {
  const owners = new Map<string, string>();
  return view.hosts().flatMap((host) => {
    const path = [...host, key];
    const text = view.text(path);
    if (typeof text !== 'string') return [];
    const value = normalize(text);
    const owner = owners.get(value);
    if (owner !== undefined) return [{ path, message: `${quoted(value)} is written twice: ${owner} has it already` }];
    owners.set(value, key === 'name' ? `clickhouse.hosts[${String(host.at(-1))}]` : view.hostWords(host));
    return [];
  });
}

/** A certificate without its key, or the other way round, once a host's own files are laid over the common ones. */
function halfTls(view: SpecView): PathFault[] {
  const common: KeyPath = ['clickhouse', 'tls'];
  const isHalf = (...paths: KeyPath[]) => {
    const has = (key: string) => paths.some((path) => view.keys(path).includes(key));
    return has('cert') !== has('key');
  };
  const message = 'cert and key go together';
  const own = view
    .hosts()
    .map((host) => [...host, 'tls'])
    .filter((path) => view.keys(path).length > 0);
  const inherited = own.length < view.hosts().length || own.length === 0;
  const faulty = own.filter((path) => isHalf(path, common));
  return [...(inherited && isHalf(common) ? [common] : []), ...faulty].map((path) => ({ path, message }));
}

function repeatedGates(view: SpecView): PathFault[] {
  const gates = view.items(['pauseBefore']);
  return gates.flatMap((gate, index) =>
    typeof gate === 'string' && gates.indexOf(gate) < index
      ? [{ path: ['pauseBefore', index], message: `${quoted(gate)} is written twice` }]
      : [],
  );
}

function auxiliaryNames(view: SpecView): PathFault[] {
  return view.keys(AUXILIARY).flatMap((name) => {
    const path = [...AUXILIARY, name];
    if (name === 'default') return [{ path, message: 'default is the ensemble of zookeeper.connect itself' }];
    if (AUXILIARY_NAME.test(name)) return [];
    return [{ path, message: 'the name of an ensemble has letters, digits, dots, dashes and underscores, and begins with a letter' }];
  });
}

function listAndPatterns(view: SpecView): PathFault[] {
  const keys = view.keys(['tables']);
  if (!keys.includes('from') || !keys.includes('include')) return [];
  return [{ path: ['tables', 'include'], message: 'from and include exclude each other; exclude, disk and zkPath narrow both' }];
}
