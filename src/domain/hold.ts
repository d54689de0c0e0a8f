/** An event of a migration in a host's own tables, see `addEvent` in clickhouse/store.ts. */
export interface HostEvent {
  readonly kind: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A host of the spec that a migration was begun with. */
export interface SealedHost {
  readonly name: string;
  /** The names of its replicas in ZooKeeper, each once; empty where there are too many to keep. */
  readonly replicas: readonly string[];
}

/** What a host's events say of one migration. */
export interface Hold {
  /** Its inventory is sealed, and stands: after an abort its tables went on living, and what was noted of them before stands no more. */
  readonly sealed: boolean;
  /** The take of its inventory that is read, where one is sealed: the first one, whatever a try that was given up seals later. Empty in an inventory of before there were takes. */
  readonly take: string;
  readonly fingerprint: unknown;
  /** The name that the host had in the spec when its inventory was sealed; undefined in an inventory of before it was noted. */
  readonly host: string | undefined;
  /** The hosts that the migration was begun with; empty in an inventory of before they were noted. */
  readonly hosts: readonly SealedHost[];
  /** The blobs that no host named when it began; undefined where they were not listed. */
  readonly unnamedBlobs: number | undefined;
  /** Claimed, and not let go of since. */
  readonly held: boolean;
  /** Why it was let go of last. */
  readonly released: string | undefined;
  /** The takes whose replicas it holds; more than one only while none is sealed. */
  readonly takes: readonly string[];
  /** How often it was sealed or let go of: whoever began at another count acts on what stands no more. */
  readonly turns: number;
  /** How often a run over it ended, however often that was noted: a host that an abort left out has seen fewer ends than the others. */
  readonly ends: number;
}

/** @param events of one migration on one host, in their order */
export function holdOf(events: readonly HostEvent[]): Hold {
  const aborted = events.findLastIndex(({ kind, data }) => kind === 'released' && data['why'] === 'aborted');
  const seal = events.slice(aborted + 1).find(({ kind }) => kind === 'sealed');
  const released = events.findLastIndex(({ kind }) => kind === 'released');
  const claims = events.slice(released + 1).filter(({ kind }) => kind === 'claimed');
  const takes = seal === undefined ? claims.map(takeOf) : [takeOf(seal)];
  const why = events[released]?.data['why'];
  return {
    sealed: seal !== undefined,
    take: seal === undefined ? '' : takeOf(seal),
    fingerprint: seal?.data['fingerprint'],
    host: typeof seal?.data['host'] === 'string' ? seal.data['host'] : undefined,
    hosts: hostsOf(seal?.data['hosts']),
    unnamedBlobs: typeof seal?.data['unnamedBlobs'] === 'number' ? seal.data['unnamedBlobs'] : undefined,
    held: claims.length > 0,
    released: typeof why === 'string' ? why : undefined,
    takes: claims.length === 0 ? [] : [...new Set(takes)],
    ends: events.filter(({ kind }, at) => kind === 'released' && events[at - 1]?.kind !== 'released').length,
    turns: events.filter(({ kind }) => kind === 'sealed' || kind === 'released').length,
  };
}

function takeOf({ data }: HostEvent): string {
  return typeof data['take'] === 'string' ? data['take'] : '';
}

function hostsOf(value: unknown): SealedHost[] {
  if (!Array.isArray(value)) return [];
  return (value as { name?: unknown; replicas?: unknown }[]).flatMap(({ name, replicas }) =>
    typeof name === 'string' ? [{ name, replicas: Array.isArray(replicas) ? replicas.filter((one) => typeof one === 'string') : [] }] : [],
  );
}

/** A host that a migration was begun with, and that is none of the hosts it goes on with. */
export interface LostHost extends SealedHost {
  /** A host that knows of it, as the spec names that one. */
  readonly knownBy: string;
}

/**
 * Hosts that the sealed inventories name and that are not there. A host that has another name in the spec now is known by the one in its own
 * inventory; one of which nothing is known (it does not answer, or was let go of) counts by its name.
 */
export function lostHosts(present: readonly { readonly name: string; readonly hold: Hold | undefined }[]): LostHost[] {
  const here = new Set(present.map(({ name, hold }) => hold?.host ?? name));
  const lost = new Map<string, LostHost>();
  for (const { name: knownBy, hold } of present) {
    // What is completed, and was not begun again since, has left nothing detached anywhere.
    if (hold?.released === 'completed' && !hold.held) continue;
    for (const one of hold?.hosts ?? []) if (!here.has(one.name) && !lost.has(one.name)) lost.set(one.name, { ...one, knownBy });
  }
  return [...lost.values()];
}

/** Whether all of a host's replicas are named as gone for good. */
export function isAllowedToMiss({ replicas }: SealedHost, allowed: readonly string[]): boolean {
  return replicas.length > 0 && replicas.every((name) => allowed.includes(name));
}
