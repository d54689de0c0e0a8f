import { condition, patched } from '@temporalio/workflow';

import type { RestartInput } from '../activities/types';
import { type InventoryReplica, type ReplicaEntry, type ReplicatedTable, settled } from '../domain/inventory';
import { byHandWords } from '../domain/restart-words';
import type { HostSpec } from '../domain/spec';
import { tableActivities } from './activities';
import { aborting, beginning } from './beginning';
import { type HostScopes, inScopes } from './host-scopes';
import { inFlightFor } from './in-flight';
import { failureOf, named, type Pass, type Runner } from './runner';
import { Sharing, type Use } from './sharing';
import type { MigrationState } from './state';
import { hostTarget, moves, restartInput, returnInput, zookeeperTarget } from './targets';

/** How often a table whose replicas' records differ is taken back before it fails: somebody keeps writing. */
const RETURNS = 3;

/** The phases as passes over the inventory. */
export class Phases {
  constructor(
    private readonly state: MigrationState,
    private readonly runner: Runner,
    scopes: HostScopes,
  ) {
    this.activities = inScopes(tableActivities, scopes);
    this.begun = beginning(this.activities, state);
  }

  private readonly activities: typeof tableActivities;
  /** The same activities, none of which begins while the migration is paused. */
  private readonly begun: typeof tableActivities;
  private readonly sharing = new Sharing();

  private hostOf(name: string): HostSpec {
    const host = this.state.spec.hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`the host ${name} is not in the spec`);
    return host;
  }

  /** Of the table's replicas, and of those that share the id of its zero-copy locks. */
  private hostsOf(table: ReplicatedTable, where: 'before' | 'after'): ReturnType<typeof hostTarget>[] {
    const names = new Set([...table.replicas, ...(table.sharers ?? [])].map(({ host }) => host));
    return [...names].map((host) => hostTarget(this.hostOf(host), where));
  }

  /** Before phase 2: every replica is seen once, so that the history knows all of them. */
  list(): Pass {
    return { pick: () => [], limit: () => 1, work: () => Promise.resolve() };
  }

  /** Phase 2: save every manifest, DETACH, see that it is gone. */
  detach(): Pass {
    return {
      pick: (table) =>
        table.replicas.filter(
          (replica) =>
            !this.runner.isLeftOut(replica) &&
            (replica.status === 'INIT' || (replica.status === 'DETACHED' && replica.attached && replica.step !== 'cleaning')),
        ),
      limit: () => inFlightFor(this.state.limits.detach),
      work: (table, picked) => this.detachReplicas(table, picked),
    };
  }

  /** Phase 3: barrier, delete exactly these nodes, see that they are gone. */
  clean(): Pass {
    return {
      pick: (table) => table.replicas.filter((replica) => !this.runner.isLeftOut(replica) && replica.status === 'DETACHED'),
      limit: () => inFlightFor(this.state.limits.clean),
      work: (table) => this.cleanTable(table, this.state.spec.clean === 'before-restore' ? 'delete' : 'keep'),
    };
  }

  /** Phase 4, one host: attach its replicas, see them readonly, save the baselines. */
  attach(host: string): Pass {
    return {
      host,
      pick: (table) =>
        table.replicas.filter((replica) =>
          this.runner.isLeftOut(replica)
            ? this.runner.isSkipped(replica) && !replica.attached && replica.step !== 'none'
            : replica.status === 'ZK_CLEANED' && !(replica.attached && BASELINE_SAVED.has(replica.step)),
        ),
      limit: () => inFlightFor(this.state.limits.restore),
      work: async (_table, picked) => {
        await this.all(_table, picked, (replica) =>
          this.runner.isSkipped(replica) ? this.attachLeftOut(replica) : this.attachReplica(replica, 'after'),
        );
      },
    };
  }

  /** Phase 5: the first replica alone, proved; then the others, proved. */
  restore(where: 'before' | 'after'): Pass {
    return {
      pick: (table) => {
        if (table.replicas.some((replica) => this.runner.isLeftOut(replica) || this.state.failedHosts.has(replica.host))) return [];
        return isOpen(table) || (mergesStopped(table) && patched(MERGES_TOO)) ? table.replicas : [];
      },
      limit: () => inFlightFor(this.state.limits.restore),
      work: (table) => this.restoreTable(table, where),
    };
  }

  /** After the proof of all (`clean: after-verify`): the old nodes go. */
  deleteOld(): Pass {
    return {
      pick: (table) => {
        const { replicas } = withoutGone(table);
        return replicas.every((replica) => replica.status === 'RESTORED' && replica.oldMetadata === 'kept') ? replicas : [];
      },
      limit: () => inFlightFor(this.state.limits.clean),
      work: (table) => this.cleanTable(table, 'delete-old'),
    };
  }

  /**
   * Abort, first: a deletion that was begun is finished, while nothing of the table is attached. What was to be deleted with nodes that others
   * have made anew since is attached again instead.
   */
  finishCleaning(): Pass {
    const once = patched(GIVEN_BACK_ONCE);
    return {
      regardless: true,
      pick: (table) => (table.replicas.some((replica) => replica.step === 'cleaning' || (once && livedOnWithout(table, replica))) ? table.replicas : []),
      limit: () => inFlightFor(this.state.limits.clean),
      work: (table) => this.cleanTable(table, 'delete', true),
    };
  }

  /** Abort: every replica attached again where its nodes are. */
  giveBack(): Pass {
    const once = patched(GIVEN_BACK_ONCE);
    return {
      regardless: true,
      // A deletion that was begun is finished before this, or failed in it.
      pick: (table) =>
        table.replicas.filter((replica) => replica.status !== 'RESTORED' && replica.step !== 'none' && replica.step !== 'cleaning' && !(once && isGivenBack(replica))),
      limit: () => inFlightFor(this.state.limits.restore),
      work: async (table, picked) => {
        await this.all(table, picked, (replica) => this.reattach(replica, 'before'));
      },
    };
  }

  /** Abort: what has lost its nodes is restored and proved like any other. */
  rebuild(): Pass {
    return { ...this.restore('before'), regardless: true };
  }

  /** Phase 4, one host: run its restart strategy where it is needed. True when its tables can be attached. */
  async restartHost(host: HostSpec): Promise<boolean> {
    return !moves(host) || this.runRestart(host, `restart ${host.name}`, restartInput(this.state.spec, host));
  }

  /** Abort, one host whose old metadata was kept: back to its old place. True when its tables can be attached. */
  async returnHost(host: HostSpec): Promise<boolean> {
    return this.runRestart(host, `restart ${host.name} back`, returnInput(this.state.spec, host));
  }

  private async runRestart(host: HostSpec, name: string, input: RestartInput): Promise<boolean> {
    try {
      const restarted = this.activities.restartHost.executeWithOptions(
        { summary: name, activityId: name, taskQueue: host.taskQueue, heartbeatTimeout: '30s' },
        [input],
      );
      if (input.restart.strategy.kind !== 'manual') await this.counted(restarted);
      else if (patched(BY_HAND)) await this.sayByHand(input, restarted);
      await restarted;
      return true;
    } catch (error) {
      const { code, message } = failureOf(error);
      this.state.failedHosts.add(host.name);
      this.state.fail({ host: host.name, database: '', table: '' }, code, message);
      return false;
    }
  }

  /** A restart that runs is said to run still by a migration that is paused meanwhile; what somebody does by hand is not. */
  private async counted(restarted: Promise<unknown>): Promise<void> {
    if (!patched(RESTART_COUNTS)) return;
    this.state.inFlight += 1;
    try {
      await restarted;
    } finally {
      this.state.inFlight -= 1;
      this.state.touch();
    }
  }

  /** While somebody is waited for, the migration says so; a host that is where it should be already asks nobody. */
  private async sayByHand({ host, after, restart }: RestartInput, restarted: Promise<unknown>): Promise<void> {
    let over = false;
    const settled = restarted.then(
      () => (over = true),
      () => (over = true),
    );
    if (await condition(() => over, ASKED_AFTER)) return;
    this.state.byHand.set(host.name, byHandWords(host.name, after, restart.reconfigure === undefined));
    this.state.touch();
    await settled;
    this.state.byHand.delete(host.name);
    this.state.touch();
  }

  /** Abort where the old metadata was kept: the hosts that go back to it. */
  async returning(): Promise<readonly HostSpec[]> {
    const { reachable: spec } = this.state;
    const { back } = await this.activities.chooseReturn.executeWithOptions(
      { summary: 'which hosts can go back to their old place', taskQueue: spec.taskQueue },
      [{ hosts: spec.hosts.map((host) => restartInput(spec, host)) }],
    );
    return spec.hosts.filter(({ name }) => back.includes(name));
  }

  /** Where every host keeps its metadata now. */
  async located(): Promise<readonly ('before' | 'after' | 'elsewhere')[]> {
    return Promise.all(
      this.state.reachable.hosts.map(async (host) => {
        const { on } = await this.activities.locateHost.executeWithOptions(
          { summary: `where ${host.name} keeps its metadata`, taskQueue: host.taskQueue },
          [restartInput(this.state.spec, host)],
        );
        return on;
      }),
    );
  }

  private async detachReplicas(table: ReplicatedTable, picked: readonly ReplicaEntry[]): Promise<void> {
    await this.all(table, picked, async (replica) => {
      const host = this.hostOf(replica.host);
      const outcome = await this.begun.detachReplica.executeWithOptions(named('detach', replica, host.taskQueue), [
        { ...this.attachInput(host, replica, 'before'), limit: this.state.limits.detach },
      ]);
      this.runner.took(picked, outcome);
    });
  }

  private async cleanTable(whole: ReplicatedTable, keep: 'delete' | 'keep' | 'delete-old', takesBack = false): Promise<void> {
    const { spec } = this.state;
    const table = withoutGone(whole);
    const gone = whole.replicas.filter(({ step }) => step === 'gone').map(({ replicaName }) => replicaName);
    const input = {
      migration: spec.id,
      hosts: this.hostsOf(table, 'before'),
      table,
      zookeeper: zookeeperTarget(spec),
      allowMissingReplicas: [...spec.allowMissingReplicas, ...gone],
      limit: this.state.limits.clean,
      ...aborting(this.state),
      keep,
      ...(keep === 'delete-old' ? { newPlaces: this.hostsOf(table, 'after') } : {}),
      writable: spec.verify.writable,
      ...(takesBack ? { takesBack: true as const } : {}),
      ...(this.state.withoutHosts.length === 0 ? {} : { hostsGone: true, goneHosts: this.state.withoutHosts }),
    };
    const name = nameOf(table);
    // Where nothing is kept apart, nothing is awaited: the order of commands in histories of before stays as it was.
    const apart = table.sharers !== undefined && patched(SHARERS_APART);
    for (let returned = 0; ; returned += 1) {
      const cleaned = apart ? await this.enter(table, takesBack ? 'alone' : 'clean') : undefined;
      try {
        this.runner.took(table.replicas, await this.begun.cleanTable.executeWithOptions(named('clean', name, spec.taskQueue), [input]));
        return;
      } catch (error) {
        if (failureOf(error).code !== 'REPLICAS_DIFFER' || returned >= RETURNS) throw error;
        this.state.decide(`${name.database}.${name.table} goes back: ${failureOf(error).message}`, undefined, new Date().toISOString());
      } finally {
        cleaned?.();
      }
      const isBack = apart ? await this.enter(table, 'back') : undefined;
      try {
        this.runner.took(table.replicas, await this.begun.returnTable.executeWithOptions(named('return', name, spec.taskQueue), [input]));
        await this.detachReplicas(table, table.replicas);
      } finally {
        isBack?.();
      }
    }
  }

  /** Tables that keep their zero-copy locks under one id: none is attached while those of another are deleted. */
  private async enter(table: ReplicatedTable, use: Use): Promise<() => void> {
    const { hosts, database, table: name } = nameOf(table);
    return this.sharing.enter(table, use, (words) => {
      this.state.decide(`${database}.${name} of ${hosts.join(', ')} ${words}`, undefined, new Date().toISOString());
    });
  }

  private async attachReplica(replica: ReplicaEntry, where: 'before' | 'after'): Promise<void> {
    const host = this.hostOf(replica.host);
    const outcome = await this.begun.attachReplica.executeWithOptions(named('attach', replica, host.taskQueue), [
      { ...this.attachInput(host, replica, where), replica: where === 'after' ? frozen(replica) : placed(replica, where) },
    ]);
    this.runner.took([replica], outcome);
  }

  private async reattach(replica: ReplicaEntry, where: 'before' | 'after'): Promise<void> {
    const host = this.hostOf(replica.host);
    const outcome = await this.begun.reattachReplica.executeWithOptions(named('reattach', replica, host.taskQueue), [
      this.attachInput(host, replica, where),
    ]);
    this.runner.took([replica], outcome);
  }

  /** What is left out is attached as it is; where its server does not do so, it stays as it is, and holds up nobody. */
  private async attachLeftOut(replica: ReplicaEntry): Promise<void> {
    try {
      await this.reattach(replica, 'after');
    } catch (error) {
      const { code, message } = failureOf(error);
      if (code === 'ABORTED' || code === 'HELD' || code === 'INVARIANT' || !patched(SKIPPED_STAYS)) throw error;
      this.state.decide(`${replica.database}.${replica.table} on ${replica.host} is left out, and stays as it is: ${code}: ${message}`, undefined, new Date().toISOString());
    }
  }

  private attachInput(host: HostSpec, replica: ReplicaEntry, where: 'before' | 'after') {
    return {
      migration: this.state.spec.id,
      host: hostTarget(host, where),
      replica: placed(replica, replica.moved === true ? where : 'before'),
      zookeeper: zookeeperTarget(this.state.spec),
      limit: this.state.limits.restore,
      ...aborting(this.state),
      writable: this.state.spec.verify.writable,
    };
  }

  private async restoreTable(whole: ReplicatedTable, where: 'before' | 'after'): Promise<void> {
    const table = withoutGone(whole);
    if (!isOpen(table)) return this.startMerges(table, where);
    if (table.replicas.length === 1) {
      for (const replica of table.replicas) await this.restoreReplica(table, replica, where);
      return;
    }
    const { spec } = this.state;
    try {
      const elected = await this.begun.electFirst.executeWithOptions(named('elect', nameOf(table), spec.taskQueue), [
        { migration: spec.id, hosts: this.hostsOf(table, where), table: placedTable(table, where), zookeeper: zookeeperTarget(spec), ...aborting(this.state) },
      ]);
      const first = table.replicas.find(({ host }) => host === elected.first);
      if (first === undefined) throw new Error(`elected ${elected.first}, which has no replica of the table`);
      if (elected.note !== undefined) this.state.decide(`${first.database}.${first.table}: ${elected.note}`, undefined, new Date().toISOString());
      await this.restoreReplica(table, first, where);
      const others = table.replicas.filter((replica) => replica !== first);
      await this.all(table, others, (replica) => this.restoreReplica(table, replica, where, { replica: first, zeroCopy: elected.zeroCopy }));
    } finally {
      await this.startMerges(table, where);
    }
  }

  /** For as long as it takes: a table whose merges stay stopped fills up with parts. */
  private async startMerges(table: ReplicatedTable, where: 'before' | 'after'): Promise<void> {
    const { spec } = this.state;
    await this.activities.startMerges.executeWithOptions(named('start merges', nameOf(table), spec.taskQueue), [
      { migration: spec.id, hosts: this.hostsOf(table, where), table, zookeeper: zookeeperTarget(spec) },
    ]);
  }

  private async restoreReplica(
    table: ReplicatedTable,
    replica: ReplicaEntry,
    where: 'before' | 'after',
    after?: { readonly replica: ReplicaEntry; readonly zeroCopy: true | undefined },
  ): Promise<void> {
    const { spec } = this.state;
    const host = this.hostOf(replica.host);
    const first = after?.replica;
    const outcome = await this.begun.restoreReplica.executeWithOptions(named('restore', replica, host.taskQueue), [
      {
        migration: spec.id,
        host: hostTarget(host, where),
        replica: placed(replica, where),
        ...(first === undefined ? {} : { first: { host: hostTarget(this.hostOf(first.host), where), replica: placed(first, where) } }),
        zookeeper: zookeeperTarget(spec),
        writable: spec.verify.writable,
        blobs: spec.verify.blobs,
        limit: this.state.limits.restore,
        ...aborting(this.state),
        alone: table.replicas.length === 1,
        ...(table.sharers === undefined ? {} : { sharing: true as const }),
        ...(after?.zeroCopy === true ? { zeroCopy: true as const } : {}),
        ...(this.state.withoutHosts.length === 0 ? {} : { goneHosts: this.state.withoutHosts }),
        ...(spec.allowMissingReplicas.length === 0 ? {} : { allowMissingReplicas: spec.allowMissingReplicas }),
      },
    ]);
    this.runner.took([replica], outcome);
  }

  /** Every replica is tried, whatever becomes of the others; each failure is noted with its own host. */
  private async all(
    table: ReplicatedTable,
    replicas: readonly ReplicaEntry[],
    work: (replica: ReplicaEntry) => Promise<void>,
  ): Promise<void> {
    await Promise.all(
      replicas.map(async (replica) => {
        try {
          await work(replica);
        } catch (error) {
          this.runner.failed(table, replica, error);
        }
      }),
    );
  }
}

/** Until then what a retry left out failed it, where a server did not attach it. */
const SKIPPED_STAYS = 'what is left out and cannot be attached stays as it is';
/** Until then a table that went back made another one fail that shares the id of its zero-copy locks. */
const SHARERS_APART = 'tables that share the id of their zero-copy locks are kept apart';
/** Until then a paused migration said that nothing runs, whatever was being restarted. */
const RESTART_COUNTS = 'a restart is among what still runs';
/** Migrations that came to a restart by hand before they said so go on without. */
const BY_HAND = 'a restart by hand is waited for, and said';
/** Until then the activity has seen whether there is anything to wait for. */
const ASKED_AFTER = '2s';

/** Aborts that began before attached everything again in each run, and one whose history was full came to no end. */
const GIVEN_BACK_ONCE = 'what is attached again is passed by';

/**
 * An abort that left the replica's host out made the nodes anew for the others, which live on since: it was to lose its nodes with them, and
 * has what is older than theirs.
 */
function livedOnWithout({ replicas }: ReplicatedTable, { status, oldMetadata }: ReplicaEntry): boolean {
  return status === 'ZK_CLEANED' && oldMetadata !== 'kept' && replicas.some((other) => (other.status === 'INIT' || other.status === 'DETACHED') && other.step !== 'cleaning' && other.step !== 'gone');
}

/** Attached where its nodes are, or without them and waiting for its RESTORE. */
function isGivenBack({ attached, status, step, oldMetadata }: ReplicaEntry): boolean {
  return attached && (step === 'returned' || (status === 'ZK_CLEANED' && oldMetadata !== 'kept' && BASELINE_SAVED.has(step)));
}

/** Migrations that began before it was noted that merges go on again leave alone what is proved. */
const MERGES_TOO = 'merges that stayed stopped are started by a retry';

/** An abort leaves out what it found gone. */
function withoutGone(table: ReplicatedTable): ReplicatedTable {
  return table.replicas.every(({ step }) => step !== 'gone') ? table : { ...table, replicas: table.replicas.filter(({ step }) => step !== 'gone') };
}

function isOpen({ replicas }: ReplicatedTable): boolean {
  return replicas.some(({ status }) => status === 'ZK_CLEANED');
}

/** Proved, and cut short before its merges were started again. */
function mergesStopped({ replicas }: ReplicatedTable): boolean {
  return replicas.some(({ status, step }) => status === 'RESTORED' && step === 'restored');
}

/** The notes from which on a replica's baseline stands. */
const BASELINE_SAVED: ReadonlySet<string> = new Set(['baseline', 'restoring', 'repairing', 'restored', 'started']);

/** As the inventory froze it, with the place it will have. */
function frozen(replica: ReplicaEntry): InventoryReplica {
  const { host, database, table, uuid, zookeeperName, zookeeperPath, replicaName, rows, bytes, parts, after } = replica;
  return {
    ...{ host, database, table, uuid, zookeeperName, zookeeperPath, replicaName, rows, bytes, parts },
    ...(after === undefined ? {} : { after }),
  };
}

/** As its server has it: at its old path, or at the one that it gets. */
function placed(replica: ReplicaEntry, where: 'before' | 'after'): InventoryReplica {
  if (where === 'after') return settled(frozen(replica));
  const { after: _later, ...now } = frozen(replica);
  return now;
}

function placedTable(table: ReplicatedTable, where: 'before' | 'after'): ReplicatedTable {
  if (where === 'before' || table.replicas.every(({ after }) => after === undefined)) return table;
  const replicas = table.replicas.map((replica) => ({ ...replica, ...replica.after }));
  return { ...table, zookeeperPath: replicas[0]?.zookeeperPath ?? table.zookeeperPath, replicas };
}

/** The name of a table's first replica stands for it; its key keeps it apart from the tables of other shards with that name. */
function nameOf(table: ReplicatedTable): { hosts: string[]; database: string; table: string; key: string } {
  const [first] = table.replicas;
  return { hosts: table.replicas.map(({ host }) => host), database: first?.database ?? '', table: first?.table ?? table.zookeeperPath, key: table.key };
}
