/** An event of a migration in a host's own tables, see `addEvent` in clickhouse/store.ts. */
export interface HostEvent {
  readonly kind: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What a host's events say of one migration. */
export interface Hold {
  /** Its inventory is sealed, and stands: after an abort its tables went on living, and what was noted of them before stands no more. */
  readonly sealed: boolean;
  /** The take of its inventory that is read, where one is sealed: the first one, whatever a try that was given up seals later. Empty in an inventory of before there were takes. */
  readonly take: string;
  readonly fingerprint: unknown;
  /** Claimed, and not let go of since. */
  readonly held: boolean;
  /** Why it was let go of last. */
  readonly released: string | undefined;
  /** The takes whose replicas it holds; more than one only while none is sealed. */
  readonly takes: readonly string[];
  /** How often it was sealed or let go of: whoever began at another count acts on what stands no more. */
  readonly turns: number;
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
    held: claims.length > 0,
    released: typeof why === 'string' ? why : undefined,
    takes: claims.length === 0 ? [] : [...new Set(takes)],
    turns: events.filter(({ kind }) => kind === 'sealed' || kind === 'released').length,
  };
}

function takeOf({ data }: HostEvent): string {
  return typeof data['take'] === 'string' ? data['take'] : '';
}
