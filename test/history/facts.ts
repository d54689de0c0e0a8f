/** Synthetic events for tests of the fold. */
import type { InventoryReplica, ReplicaEntry } from '../../src/domain/inventory';
import type { ReplicaStatus } from '../../src/domain/status';
import type { HistoryFact } from '../../src/history/facts';
import { HistoryFold, type ReplicaRecord } from '../../src/history/fold';
import type { MigrationInput } from '../../src/workflows/messages';

export const TIME = '2026-01-01T00:00:00.000Z';
export const LATER = '2026-01-01T01:00:00.000Z';

export function entry(host: string, table: string, change: Partial<ReplicaEntry> = {}): ReplicaEntry {
  return {
    host,
    database: 'shop',
    table,
    uuid: 'u',
    zookeeperName: 'default',
    zookeeperPath: `/clickhouse/${table}`,
    replicaName: `r-${host}`,
    rows: 10,
    bytes: 100,
    parts: 2,
    status: 'INIT',
    oldMetadata: 'kept',
    attached: true,
    step: 'none',
    ...change,
  };
}

/** A fold that is fed by activities, not by single events. */
export class Story {
  readonly fold: HistoryFold;
  private eventId = 0;

  constructor(options: { readonly audit?: boolean } = {}) {
    this.fold = new HistoryFold(options);
    this.run();
  }

  tell(fact: HistoryFact): number {
    this.eventId += 1;
    this.fold.apply(this.eventId, fact);
    return this.eventId;
  }

  /** A new run: event ids begin at 1 again. */
  run(input?: Partial<MigrationInput>, previous?: string): this {
    this.eventId = 0;
    this.tell({
      kind: 'run started',
      time: TIME,
      runId: 'run',
      ...(input === undefined ? {} : { input: input as MigrationInput }),
      ...(previous === undefined ? {} : { previous }),
    });
    return this;
  }

  schedule(activity: string, input: unknown): number {
    const eventId = this.eventId + 1;
    return this.tell({ kind: 'activity scheduled', time: TIME, eventId, activityId: String(eventId), activity, input });
  }

  complete(scheduledEventId: number, result: unknown): this {
    this.tell({ kind: 'activity completed', time: TIME, scheduledEventId, result });
    return this;
  }

  fail(scheduledEventId: number, code: string, message = 'no'): this {
    this.tell({ kind: 'activity failed', time: TIME, scheduledEventId, failure: { code, message } });
    return this;
  }

  page(...entries: readonly ReplicaEntry[]): this {
    return this.complete(this.schedule('loadPage', {}), pageOf(entries));
  }

  detach(replica: InventoryReplica): number {
    return this.schedule('detachReplica', { host: { name: replica.host }, replica });
  }

  update(replica: InventoryReplica, status: ReplicaStatus, change: object = {}): this {
    const { host, database, table } = replica;
    return this.complete(this.detach(replica), { updates: [{ host, database, table, status, at: LATER, ...change }] });
  }

  /** `host table status` of every replica. */
  get statuses(): string[] {
    return this.replicas.map(({ host, table, status }) => `${host} ${table} ${status}`);
  }

  get replicas(): ReplicaRecord[] {
    return this.fold.replicas();
  }
}

export function pageOf(entries: readonly ReplicaEntry[]) {
  return {
    tables: entries.map((one) => ({ key: one.table, zookeeperName: one.zookeeperName, zookeeperPath: one.zookeeperPath, replicas: [one] })),
  };
}
