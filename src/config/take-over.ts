/** The status file of a half-finished run (`--take-over`), as a part of the spec: every fault of it is found before anything is contacted. */
import type { ReplicaStatus } from '../domain/status';
import type { TakeOverEntry, TakeOverSpec } from '../domain/spec';
import { type ParsedStatusEntry, parseStatusFile, StatusFileError } from '../report/status-file';
import type { FileText } from './read-text';
import type { SpecFault } from './spec-error';
import { tableGlobFault } from './table-filter';

/** What the command line says of the run to take over. */
export interface TakeOverChoices {
  /** The status file; absent where another option needs it and it was not named. */
  readonly file?: string | undefined;
  /** The host that the file's entries without one are of. */
  readonly host?: string | undefined;
  readonly attachDetached?: readonly string[] | undefined;
  readonly leaveDetached?: readonly string[] | undefined;
}

export interface ReadTakeOver {
  readonly takeOver?: TakeOverSpec;
  readonly faults: readonly SpecFault[];
}

const FLAG = '--take-over';
/** As ZooKeeper takes it: from the root, no empty step, none of dots alone. */
const ZNODE_PATH = /^(?:[^/:]+:)?(?:\/(?!\.{1,2}(?:\/|$))[^/\p{Cc}]+)+$/u;

/**
 * Reads the status file, and gives each entry its host: its own, else the one that the command line names, else the spec's only one.
 *
 * @param hosts the hosts of the spec; `undefined` where they are not known
 */
export function readTakeOver(choices: TakeOverChoices, text: FileText | undefined, hosts: readonly string[] | undefined): ReadTakeOver {
  const chosen = choiceFaults(choices, hosts);
  const { file } = choices;
  if (file === undefined || text === undefined) {
    return { faults: [{ path: FLAG, message: 'is missing: the other options are about the status file that it names' }, ...chosen] };
  }
  if ('fault' in text) return { faults: [{ path: FLAG, message: `${file} ${text.fault}` }, ...chosen] };
  const parsed = parse(text.text, file);
  if ('faults' in parsed) return { faults: [...parsed.faults, ...chosen] };
  const placed = withHosts(parsed.entries, choices.host, hosts);
  const faults = [...placed.faults.map((fault) => ({ ...fault, file })), ...chosen];
  if (faults.length > 0) return { faults };
  return {
    takeOver: {
      file,
      entries: placed.entries,
      attachDetached: [...(choices.attachDetached ?? [])],
      leaveDetached: [...(choices.leaveDetached ?? [])],
    },
    faults: [],
  };
}

function choiceFaults({ host, attachDetached = [], leaveDetached = [] }: TakeOverChoices, hosts: readonly string[] | undefined): SpecFault[] {
  const globs = (flag: string, list: readonly string[]): SpecFault[] =>
    list.flatMap((glob) => {
      const fault = tableGlobFault(glob);
      return fault === undefined ? [] : [{ path: flag, message: `${JSON.stringify(glob)} ${fault}` }];
    });
  const unknown = host !== undefined && hosts !== undefined && !hosts.includes(host);
  return [
    ...(unknown ? [{ path: '--take-over-host', message: noSuchHost(host, hosts) }] : []),
    ...globs('--attach-detached', attachDetached),
    ...globs('--leave-detached', leaveDetached),
  ];
}

function noSuchHost(name: string, hosts: readonly string[]): string {
  return `no host of the spec has the name ${JSON.stringify(name)}; they are ${hosts.slice(0, 10).join(', ')}`;
}

function parse(text: string, file: string): { readonly entries: readonly ParsedStatusEntry[] } | { readonly faults: readonly SpecFault[] } {
  const nothing = (message: string) => ({ faults: [{ path: FLAG, file, message }] });
  if (text.replace(/^\s*#.*$/gmu, '').trim() === '') {
    return nothing('the file is empty: a run that is killed while it writes its status file leaves it so. Start without it, after an ATTACH of the tables that are detached');
  }
  try {
    const entries = parseStatusFile(text);
    return entries.length === 0 ? nothing('the file names no table') : { entries };
  } catch (error) {
    if (!(error instanceof StatusFileError)) throw error;
    return { faults: error.faults.map(({ path, ...fault }) => ({ ...fault, path: `${FLAG}${path}`, file })) };
  }
}

function withHosts(
  parsed: readonly ParsedStatusEntry[],
  named: string | undefined,
  hosts: readonly string[] | undefined,
): { readonly entries: readonly TakeOverEntry[]; readonly faults: readonly SpecFault[] } {
  const faults: SpecFault[] = [];
  const only = hosts?.length === 1 ? hosts[0] : undefined;
  const hostless = parsed.some(({ host }) => host === undefined);
  if (hostless && hosts !== undefined && (named ?? only) === undefined) {
    faults.push({ path: FLAG, message: `the file names no host, and the spec has ${hosts.length}: say whose file it is with --take-over-host NAME` });
  }
  const first = new Map<string, number>();
  const entries = parsed.map((entry, index): TakeOverEntry => {
    const host = entry.host ?? named ?? only ?? '';
    const path = `${FLAG}[${index}]`;
    if (!ZNODE_PATH.test(entry.zk_path)) {
      faults.push({ path: `${path}.zk_path`, message: 'must be a path in ZooKeeper: /a/b, or name:/a/b in an auxiliary ensemble' });
    }
    if (entry.host !== undefined && hosts !== undefined && !hosts.includes(entry.host)) {
      faults.push({ path: `${path}.host`, message: noSuchHost(entry.host, hosts) });
    }
    const id = JSON.stringify([host, entry.db, entry.table]);
    const before = first.get(id);
    if (before === undefined) first.set(id, index);
    else faults.push({ path, message: `${entry.db}.${entry.table} is named twice, here and in [${before}]` });
    return entryOf(entry, host, entry.status);
  });
  return { entries, faults };
}

function entryOf({ db, table, zk_path: zookeeperPath, rows, parts }: ParsedStatusEntry, host: string, status: ReplicaStatus): TakeOverEntry {
  return {
    host,
    database: db,
    table,
    status,
    zookeeperPath,
    ...(rows === undefined ? {} : { rows }),
    ...(parts === undefined ? {} : { parts }),
  };
}
