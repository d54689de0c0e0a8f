/**
 * Folds a migration's history into the status of every replica. Pure: decoded events in, records out; what comes later wins.
 * Records are replaced, never changed, so that whoever derives something from a record may keep it by the record's identity.
 */
import { type SkipRule, skippedBy, skipWords, withRequest } from '../config/skips';
import type { InventoryPage, InventoryReplica, ReplicaEntry, ReplicaRef, ReplicatedTable } from '../domain/inventory';
import { replicaId } from '../domain/inventory';
import type { OldMetadata, ReplicaStatus } from '../domain/status';
import type { ReplicaUpdate } from '../activities/types';
import type { Audit } from './audit';
import { AuditLog } from './audit';
import type { ActivityCompleted, ActivityFailed, ActivityScheduled, FailureWords, HistoryFact, MessageReceived, RunStarted } from './facts';

/** What the history says of one replica. */
export interface ReplicaRecord extends ReplicaRef {
  readonly status: ReplicaStatus;
  /** `system.replicas.zookeeper_path`, with `name:` in front where it is on an auxiliary ensemble. */
  readonly zookeeperPath: string;
  readonly replica: string;
  readonly rows: number;
  readonly parts: number;
  /** ISO 8601, UTC; when its status was last seen to change. */
  readonly updated: string;
  readonly oldMetadata: OldMetadata;
  readonly note?: string;
  /** What failed last, with its code; gone after the next success. */
  readonly error?: string;
}

interface Pending {
  readonly activity: string;
  readonly refs: readonly ReplicaRef[];
}

export class HistoryFold {
  private readonly records = new Map<string, ReplicaRecord>();
  private readonly pending = new Map<number, Pending>();
  /** The event, counted over the whole chain, that last said a replica's status. */
  private readonly saidAt = new Map<string, number>();
  /** The activity that a replica's error came from. */
  private readonly failedIn = new Map<string, string>();
  private skips: readonly SkipRule[] = [];
  private readonly log: AuditLog | undefined;
  private readonly skippedTwins = new WeakMap<ReplicaRecord, ReplicaRecord>();
  private ordered: string[] | undefined;
  /** Events of the runs before this one, so that event ids can be compared over the chain. */
  private offset = 0;
  private lastEventId = 0;

  constructor(options: { readonly audit?: boolean } = {}) {
    this.log = options.audit === true ? new AuditLog() : undefined;
  }

  /** Takes the next event of the chain. */
  apply(eventId: number, fact: HistoryFact): void {
    if (fact.kind === 'run started') this.startRun(fact);
    this.lastEventId = eventId;
    this.log?.apply(fact);
    this.take(eventId, fact);
  }

  /**
   * Takes an event that a reset copied from the run before, where it was taken already: only what is still open counts, because
   * it may end in this run.
   */
  applyCopied(eventId: number, fact: HistoryFact): void {
    this.lastEventId = eventId;
    this.log?.applyCopied(fact);
    if (fact.kind === 'activity scheduled') this.schedule(fact);
    else if ('scheduledEventId' in fact && fact.kind !== 'activity started') this.pending.delete(fact.scheduledEventId);
  }

  /** Every replica known, in the order host, database, table; what is left out on purpose is SKIPPED, unless it was already proved. */
  replicas(): ReplicaRecord[] {
    this.ordered ??= [...this.records].sort(([, left], [, right]) => compareRefs(left, right)).map(([id]) => id);
    const isSkipped = skippedBy(this.skips);
    return this.ordered.flatMap((id) => {
      const record = this.records.get(id);
      if (record === undefined) return [];
      return [record.status !== 'RESTORED' && isSkipped(record) ? this.skippedTwin(record) : record];
    });
  }

  /** What is left out on purpose, in words: globs on `database.table`. */
  skipped(): readonly string[] {
    return this.skips.map(skipWords);
  }

  audit(): Audit | undefined {
    return this.log?.result();
  }

  private take(eventId: number, fact: HistoryFact): void {
    switch (fact.kind) {
      case 'activity scheduled':
        return this.schedule(fact);
      case 'activity completed':
        return this.complete(eventId, fact);
      case 'activity failed':
        return this.fail(fact);
      case 'activity canceled':
        this.pending.delete(fact.scheduledEventId);
        return;
      case 'message':
        return this.receive(fact);
      case 'run started':
      case 'run closed':
      case 'activity started':
        return;
      default:
        return fact satisfies never;
    }
  }

  private startRun({ input, reset }: RunStarted): void {
    this.offset += this.lastEventId;
    this.pending.clear();
    // What a run was told before a reset copied its events was taken from it.
    if (reset === true) return;
    this.skips = input?.resume?.mode === 'abort' ? [] : (input?.carried?.skip ?? input?.resume?.skip ?? []);
  }

  private receive({ name, form, payload }: MessageReceived): void {
    // An abort takes along what a retry left out.
    if (form === 'signal' && name === 'abort') this.skips = [];
    if (form !== 'update' || name !== 'retry') return;
    const { skip, unskip } = asObject(payload);
    this.skips = withRequest(this.skips, { skip: asStrings(skip), unskip: asStrings(unskip) });
  }

  private schedule({ eventId, activity, input }: ActivityScheduled): void {
    this.pending.set(eventId, { activity, refs: replicasOf(input) });
  }

  private complete(eventId: number, { scheduledEventId, result, time }: ActivityCompleted): void {
    const pending = this.pending.get(scheduledEventId);
    this.pending.delete(scheduledEventId);
    if (pending?.activity === 'loadPage') this.loadPage((result as InventoryPage).tables, scheduledEventId, eventId, time);
    for (const update of updatesOf(result)) {
      this.update(update, eventId, time);
      this.clearError(update);
    }
    for (const ref of pending?.refs ?? []) {
      if (this.failedIn.get(replicaId(ref)) === pending?.activity) this.clearError(ref);
    }
  }

  private loadPage(tables: readonly ReplicatedTable[], scheduledEventId: number, eventId: number, time: string): void {
    for (const entry of tables.flatMap((table) => table.replicas)) {
      const id = replicaId(entry);
      const record = this.records.get(id) ?? this.add(id, fromInventory(entry, time));
      // An outcome recorded while the page was being read may be newer than the page.
      if ((this.saidAt.get(id) ?? 0) > this.offset + scheduledEventId) continue;
      this.saidAt.set(id, this.offset + eventId);
      this.replace(id, record, { status: entry.status, oldMetadata: entry.oldMetadata, updated: time });
    }
  }

  private update(update: ReplicaUpdate, eventId: number, time: string): void {
    const id = replicaId(update);
    const record = this.records.get(id) ?? this.add(id, fromUpdate(update, time));
    this.saidAt.set(id, this.offset + eventId);
    const { status, rows = record.rows, parts = record.parts, oldMetadata = record.oldMetadata, note = record.note, zookeeperPath = record.zookeeperPath, replicaName = record.replica } = update;
    this.replace(id, record, { status, rows, parts, oldMetadata, zookeeperPath, replica: replicaName, updated: update.at, ...(note === undefined ? {} : { note }) });
  }

  private fail({ scheduledEventId, failure, time }: ActivityFailed): void {
    const pending = this.pending.get(scheduledEventId);
    this.pending.delete(scheduledEventId);
    // It waited for its turn and was not begun: it failed at nothing.
    if (failure?.code === 'RECALLED') return;
    for (const ref of pending?.refs ?? []) {
      const id = replicaId(ref);
      const record = this.records.get(id) ?? this.add(id, fromInventory(ref as InventoryReplica, time));
      this.failedIn.set(id, pending?.activity ?? '');
      this.records.set(id, { ...record, error: failureText(failure), updated: time });
    }
  }

  private clearError(ref: ReplicaRef): void {
    const id = replicaId(ref);
    const record = this.records.get(id);
    this.failedIn.delete(id);
    if (record?.error === undefined) return;
    const { error: _gone, ...rest } = record;
    this.records.set(id, rest);
  }

  /** Keeps the record where nothing but the time would change. */
  private replace(id: string, record: ReplicaRecord, change: Partial<ReplicaRecord> & { readonly updated: string }): void {
    const { updated: _when, ...said } = change;
    const same = Object.entries(said).every(([key, value]) => record[key as keyof ReplicaRecord] === value);
    if (!same) this.records.set(id, { ...record, ...change });
  }

  private add(id: string, record: ReplicaRecord): ReplicaRecord {
    this.records.set(id, record);
    this.ordered = undefined;
    return record;
  }

  private skippedTwin(record: ReplicaRecord): ReplicaRecord {
    const twin = this.skippedTwins.get(record) ?? { ...record, status: 'SKIPPED' as const };
    this.skippedTwins.set(record, twin);
    return twin;
  }
}

export function failureText({ code, message }: FailureWords): string {
  return `${code}: ${message}`;
}

/** The replicas that an activity's input names: one (`replica`), or a table's (`table.replicas`). */
export function replicasOf(input: unknown): readonly ReplicaRef[] {
  const { replica, table } = asObject(input);
  if (isRef(replica)) return [replica];
  const { replicas } = asObject(table);
  return Array.isArray(replicas) ? replicas.filter(isRef) : [];
}

/** By host, database, table, as code units: the same everywhere, whatever the locale. */
export function compareRefs(left: ReplicaRef, right: ReplicaRef): number {
  return compare(left.host, right.host) || compare(left.database, right.database) || compare(left.table, right.table);
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function updatesOf(result: unknown): readonly ReplicaUpdate[] {
  const { updates } = asObject(result);
  return Array.isArray(updates) ? updates.filter((update): update is ReplicaUpdate => isRef(update) && 'status' in update) : [];
}

function fromInventory(replica: InventoryReplica & Partial<ReplicaEntry>, time: string): ReplicaRecord {
  // What a history holds was not checked when it was read.
  // eslint-disable-next-line @typescript-eslint/no-useless-default-assignment
  const { host, database, table, replicaName = '', rows = 0, parts = 0, status = 'INIT', oldMetadata = 'kept' } = replica;
  return { host, database, table, status, zookeeperPath: fullPath(replica), replica: replicaName, rows, parts, updated: time, oldMetadata };
}

/** A replica that no page has named yet: only a damaged history has this, but the update is worth keeping. */
function fromUpdate({ host, database, table, status }: ReplicaUpdate, time: string): ReplicaRecord {
  return { host, database, table, status, zookeeperPath: '', replica: '', rows: 0, parts: 0, updated: time, oldMetadata: 'kept' };
}

function fullPath({ zookeeperName, zookeeperPath }: Partial<InventoryReplica>): string {
  const path = zookeeperPath ?? '';
  return zookeeperName === undefined || zookeeperName === '' || zookeeperName === 'default' ? path : `${zookeeperName}:${path}`;
}

function isRef(value: unknown): value is ReplicaRef {
  const { host, database, table } = asObject(value);
  return typeof host === 'string' && typeof database === 'string' && typeof table === 'string';
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function asStrings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
