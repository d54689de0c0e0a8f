import {
  ActivityFailure,
  type ActivityOptions,
  ApplicationFailure,
  condition,
  isCancellation,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';

import type { ReplicaOutcome } from '../activities/types';
import { skippedBy } from '../config/skips';
import { createTableFilter } from '../config/table-filter';
import { type FailureType, isFailureType } from '../domain/failure';
import { fnv1a64, type ReplicaEntry, type ReplicatedTable } from '../domain/inventory';
import { inspectActivities } from './activities';
import { type HostScopes, inScopes } from './host-scopes';
import { Lanes } from './lanes';
import type { MigrationState } from './state';
import { hostTarget } from './targets';

/** A history longer than this is continued as new, even when the server does not suggest it yet. */
const LONGEST_HISTORY = 8_000;
const TABLES_A_PAGE = 100;

/** How a pass over the inventory ended. */
export type PassEnd =
  | { readonly end: 'done' }
  /** A failure, an abort or a pause that turned into one: nothing new starts, what ran has finished. */
  | { readonly end: 'stopped' }
  /** The history is long enough: go on as new after this key. */
  | { readonly end: 'full'; readonly after?: string };

/** One pass over the inventory. */
export interface Pass {
  /** Only this host's replicas; all hosts where it is absent. */
  readonly host?: string;
  /** What of a table there is to do; an empty list passes it by. */
  readonly pick: (table: ReplicatedTable) => readonly ReplicaEntry[];
  readonly limit: () => number;
  readonly work: (table: ReplicatedTable, picked: readonly ReplicaEntry[]) => Promise<void>;
  /** Goes on although something failed, and although an abort was asked for. */
  readonly regardless?: boolean;
}

/**
 * Runs passes over the inventory: page after page, as many tables in flight as the lanes let through, never one started while the migration
 * is paused, and none after a failure that stops it.
 */
export class Runner {
  readonly lanes = new Lanes();
  private readonly inspect: typeof inspectActivities;
  private readonly leftOut: (table: { database: string; table: string }) => boolean;
  private readonly leftOutOnPurpose: (table: { database: string; table: string }) => boolean;

  constructor(
    private readonly state: MigrationState,
    scopes: HostScopes,
  ) {
    this.inspect = inScopes(inspectActivities, scopes);
    const matches = (include: readonly string[]) => createTableFilter({ include, exclude: [] });
    const plain = (table: { database: string; table: string }) => ({ host: '', zookeeperPath: '', disks: [], ...table });
    const only = state.only.length === 0 ? () => true : matches(state.only);
    this.leftOutOnPurpose = skippedBy(state.skip);
    this.leftOut = (table) => this.leftOutOnPurpose(table) || !only(plain(table));
  }

  /** Whether somebody chose to leave the replica out (`--skip`). */
  isSkipped(replica: ReplicaEntry): boolean {
    return replica.status !== 'RESTORED' && this.leftOutOnPurpose(replica);
  }

  /** Whether the replica is not worked on in this run (`--skip`, `--tables`). */
  isLeftOut(replica: ReplicaEntry): boolean {
    return replica.status !== 'RESTORED' && this.leftOut(replica);
  }

  async run(pass: Pass, after?: string): Promise<PassEnd> {
    let cursor = after;
    for (;;) {
      if (!(await this.mayStart(pass))) return this.end('stopped');
      const page = await this.loadPage(pass, cursor);
      for (const table of page.tables) {
        const picked = this.pick(pass, table);
        if (picked.length > 0) {
          const lanes = [...new Set(picked.map(({ host }) => host))];
          if (!(await this.mayStart(pass))) return this.end('stopped');
          await this.lanes.acquire(lanes, picked.length, pass.limit);
          if (!(await this.mayStart(pass))) {
            this.lanes.release(lanes, picked.length);
            return this.end('stopped');
          }
          this.start(pass, table, picked, lanes);
        }
        cursor = table.key;
        if (this.isFull()) return this.full(cursor);
      }
      if (page.next === undefined) break;
      cursor = page.next;
    }
    await this.lanes.drained();
    return { end: this.mayGoOn(pass) ? 'done' : 'stopped' };
  }

  private async loadPage(pass: Pass, cursor: string | undefined): Promise<Awaited<ReturnType<typeof inspectActivities.loadPage>>> {
    const { reachable: spec } = this.state;
    const hosts = spec.hosts.filter(({ name }) => pass.host === undefined || name === pass.host);
    return this.inspect.loadPage.executeWithOptions(
      { summary: `a page of the inventory for ${this.state.stage}${pass.host === undefined ? '' : ` on ${pass.host}`}`, taskQueue: spec.taskQueue },
      [
        {
          migration: spec.id,
          hosts: hosts.map((host) => hostTarget(host, 'before')),
          limit: TABLES_A_PAGE,
          ...(cursor === undefined ? {} : { after: cursor }),
        },
      ],
    );
  }

  private pick(pass: Pass, table: ReplicatedTable): readonly ReplicaEntry[] {
    const failed = this.state.failedKeys.has(table.key) && (pass.regardless !== true || this.state.givenUp);
    const picked = failed ? [] : pass.pick(table);
    for (const replica of table.replicas) {
      if (!picked.includes(replica) && !this.isLeftOut(replica)) this.state.progressed(replica.host, 'done');
    }
    return picked;
  }

  private start(pass: Pass, table: ReplicatedTable, picked: readonly ReplicaEntry[], lanes: readonly string[]): void {
    void pass
      .work(table, picked)
      .then(
        () => {
          for (const { host } of picked) this.state.progressed(host, this.state.failedKeys.has(table.key) ? 'failed' : 'done');
        },
        (error: unknown) => {
          const [first] = picked;
          if (first !== undefined) this.failed(table, first, error);
          for (const { host } of picked) this.state.progressed(host, 'failed');
        },
      )
      .finally(() => {
        this.lanes.release(lanes, picked.length);
        this.state.touch();
      });
  }

  private mayGoOn(pass: Pass): boolean {
    return pass.regardless === true || (!this.state.halted && !this.state.aborting);
  }

  /** Waits while the migration is paused; false when nothing new may start any more. */
  private async mayStart(pass: Pass): Promise<boolean> {
    if (this.state.paused) {
      this.state.touch();
      await condition(() => !this.state.paused || this.state.aborting);
    }
    return this.mayGoOn(pass);
  }

  private async end(end: 'stopped'): Promise<PassEnd> {
    await this.lanes.drained();
    return { end };
  }

  private isFull(): boolean {
    const { continueAsNewSuggested, historyLength } = workflowInfo();
    return continueAsNewSuggested || historyLength > LONGEST_HISTORY;
  }

  private async full(after: string): Promise<PassEnd> {
    await this.lanes.drained();
    return { end: 'full', after };
  }

  /** Notes a table's failure as data. */
  failed(table: ReplicatedTable, replica: ReplicaEntry, error: unknown): void {
    const { code, message } = failureOf(error);
    this.state.fail({ host: replica.host, database: replica.database, table: replica.table }, code, message, table);
  }

  /** Takes what an activity saw of replicas into the counts. */
  took(entries: readonly ReplicaEntry[], outcome: ReplicaOutcome): void {
    for (const update of outcome.updates) {
      const entry = entries.find(({ host, database, table }) => host === update.host && database === update.database && table === update.table);
      if (entry === undefined) continue;
      this.state.moved(this.status(entry), update.status);
      this.seen.set(entry, update.status);
    }
  }

  private readonly seen = new WeakMap<ReplicaEntry, ReplicaEntry['status']>();

  status(entry: ReplicaEntry): ReplicaEntry['status'] {
    return this.seen.get(entry) ?? entry.status;
  }
}

/** What an activity's error says: its type from the one list, and its words. */
export function failureOf(error: unknown): { code: FailureType; message: string } {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) {
    return { code: isFailureType(cause.type) ? cause.type : 'UNKNOWN', message: cause.message };
  }
  if (isCancellation(error)) return { code: 'ABORTED', message: 'it was cancelled' };
  if (cause instanceof TimeoutFailure) return { code: 'STILL_RUNNING', message: cause.message };
  return { code: 'UNKNOWN', message: cause instanceof Error ? cause.message : String(cause) };
}

const LONGEST_ID = 240;
/** Half of a character beyond the basic plane, left by a cut: no string of Temporal's may hold it. */
const HALF_CHARACTER = /\p{Cs}$/u;

/** Options that make an activity tell its host and table in the Web UI, by its id and its summary. */
export function named(
  what: string,
  replica: { readonly host?: string; readonly hosts?: readonly string[]; readonly database: string; readonly table: string; readonly key?: string },
  taskQueue: string,
): ActivityOptions {
  const table = `${replica.database}.${replica.table}`;
  const label = (hosts: readonly string[]): string => shortened([what, ...(hosts.length === 0 ? [] : [hosts.join(', ')]), table].join(' ').replace(/\s+/gu, ' '));
  const own = replica.host === undefined ? [] : [replica.host];
  // A running migration is known by its ids, which stay as they were.
  const id = label(own);
  return { summary: label(replica.hosts ?? own), activityId: `${id} ${fnv1a64(JSON.stringify([what, replica.host, replica.database, replica.table, replica.key]))}`, taskQueue };
}

function shortened(label: string): string {
  return label.length > LONGEST_ID ? `${label.slice(0, LONGEST_ID).replace(HALF_CHARACTER, '')}… ${fnv1a64(label)}` : label;
}
