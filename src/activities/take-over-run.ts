import type { ClickHouseHost } from '../clickhouse/host';
import { statements } from '../clickhouse/sql';
import { FIRST_NOTE, type ReplicaNote, takeManifest } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import { type InventoryReplica, type ReplicaEntry, type ReplicaRef, type ReplicatedTable, replicaLabel } from '../domain/inventory';
import type { HostSpec, MigrationSpec, TakeOverEntry } from '../domain/spec';
import { MAX_FINDINGS_SHOWN } from '../domain/summary';
import { judge, type SeenReplica } from '../domain/take-over';
import { hostTarget, zookeeperTarget } from '../workflows/targets';
import { startBackground, stopBackground } from './background';
import { type Connections, report, sleep, stopIfCancelled } from './deps';
import { knownHere, loadPage, tally } from './inventory';
import { lookAtReplica } from './look';
import { Findings } from './preflight';
import { proveAsItIs } from './restore';
import { send, statementId } from './statement';
import { absentState, entryOf, wordOnDetached } from './take-over';
import { readFacts } from './zero-copy-facts';
import { proveZeroCopy } from './zero-copy-proof';
import { currentSetting } from './zero-copy-storage';
import { lookAtHost, seeReplica, type TakeOverHost } from './take-over-look';
import type { AttachTakenOutcome, JudgeTakenOutcome, PreflightInput, RestoreInput } from './types';

const TABLES_A_PAGE = 200;
const WORDS_SHOWN = 20;
const ACTIVE_WITHIN_MS = 60_000;

/**
 * Attaches every table that the status file names and that is detached on a host which does not know the migration yet: only an attached
 * table can be read, and taken into the inventory. Right before, it is looked once more whether the record in ZooKeeper is whole or gone: on
 * one that is half deleted an ATTACH costs parts.
 */
export async function attachTakenOver(connections: Connections, { spec, letGo }: PreflightInput): Promise<AttachTakenOutcome> {
  if (letGo === true) {
    await startTakenOver(connections, spec);
    return { attached: 0, refusals: [], refusalsTotal: 0 };
  }
  const found = new Findings();
  let attached = 0;
  for (const host of spec.hosts) {
    const entries = (spec.takeOver?.entries ?? []).filter((entry) => entry.host === host.name);
    if (entries.length === 0 || (await knownHere(connections, spec, host))) continue;
    const done = await Promise.all(
      entries.map((entry) =>
        connections.slots.run(`attach ${host.name}`, spec.parallel.restore, () => attachEntry(connections, spec, host, entry, found)),
      ),
    );
    attached += done.filter(Boolean).length;
  }
  return { attached, refusals: found.refusals.slice(0, MAX_FINDINGS_SHOWN), refusalsTotal: found.refusals.length };
}

/** True when it was detached, and is attached now. */
async function attachEntry(connections: Connections, spec: MigrationSpec, host: HostSpec, entry: TakeOverEntry, found: Findings): Promise<boolean> {
  stopIfCancelled();
  const target = hostTarget(host, 'before');
  const server = connections.host(target);
  if ((await lookAtReplica(server, entry)).attached) return false;
  const state = await absentState(connections, spec, host, entry, found);
  if (state === undefined) return false;
  report({ doing: `attaching ${entry.database}.${entry.table} to read it` });
  const sent = await send(server, statements.attach(entry), {
    queryId: statementId(spec.id, entry, 'take-over'),
    doing: `attaching ${replicaLabel(entry)} to read it`,
  });
  if (sent.end !== 'refused') await stopAtOnce(server, entry);
  if (!(await lookAtReplica(server, entry)).attached) {
    if (sent.end !== 'refused') throw new MigrationError('STILL_RUNNING', `${replicaLabel(entry)} is not attached after ATTACH`);
    const gone = sent.error.type === 'UNKNOWN_TABLE' || sent.code === CANNOT_GET_CREATE_TABLE_QUERY;
    if (gone) found.refuse('TAKE_OVER_UNKNOWN', entry, `the status file names it, and ${entry.host} has no such table: ${sent.error.message}`, 'take it out of the status file, once you know what became of it');
    else found.refuse('TAKE_OVER_NOT_ATTACHED', entry, `it cannot be attached: ${sent.error.message}`, 'see what the server says of it');
    return false;
  }
  if (state.nodes > 0) await untilWritable(connections, host, entry);
  return true;
}

/**
 * Between the ATTACH and its manifest nothing of a table is to change: what is merged away may take along blobs that nobody holds a lock on.
 * A server lets nobody stop the merges of a table that is not attached yet.
 */
async function stopAtOnce(server: ClickHouseHost, table: ReplicaRef): Promise<void> {
  try {
    await server.run(statements.stopMerges(table), { doing: `stopping merges of ${replicaLabel(table)}` });
    await stopBackground(server, table, await zeroCopyOf(server, table));
  } catch (error) {
    // That it is not attached is told by what is looked at next.
    if (!(error instanceof MigrationError) || error.type !== 'UNKNOWN_TABLE') throw error;
  }
}

/** As {@link stopBackground} takes it, of an attached table that nothing is noted of. */
async function zeroCopyOf(server: ClickHouseHost, table: ReplicaRef): Promise<{ zeroCopy: object | null }> {
  const setting = await currentSetting(server, table);
  return { zeroCopy: setting?.remote === true && setting.on ? setting : null };
}

/** What was stopped to read the tables that the status file names goes on again: nothing will be done to them. */
async function startTakenOver(connections: Connections, spec: MigrationSpec): Promise<void> {
  for (const entry of spec.takeOver?.entries ?? []) {
    const host = spec.hosts.find(({ name }) => name === entry.host);
    if (host === undefined || (await knownHere(connections, spec, host))) continue;
    const server = connections.host(hostTarget(host, 'before'));
    if ((await lookAtReplica(server, entry)).attached) await startBackground(server, entry, await zeroCopyOf(server, entry));
  }
}

/** What an ATTACH of a table that the server does not have is answered with, beside UNKNOWN_TABLE. */
const CANNOT_GET_CREATE_TABLE_QUERY = 390;

/** A table with metadata starts readonly and becomes active by itself; one that does not in this time is judged as it is. */
async function untilWritable(connections: Connections, host: HostSpec, table: TakeOverEntry): Promise<void> {
  const end = Date.now() + ACTIVE_WITHIN_MS;
  while ((await lookAtReplica(connections.host(hostTarget(host, 'before')), table)).readonly && Date.now() < end) {
    report({ doing: `waiting until ${replicaLabel(table)} is active` });
    await sleep(100);
  }
}

/**
 * Looks at every replica that the status file names, saves its manifest, and notes what it was found to be. A replica that this migration has
 * noted something of is left alone: the note was made by this program, and knows more than the file.
 */
export async function judgeTakenOver(connections: Connections, { spec }: PreflightInput): Promise<JudgeTakenOutcome> {
  const words: string[] = [];
  const hosts = new Map(await Promise.all(spec.hosts.map(async (host) => [host.name, await lookAtHost(connections, host)] as const)));
  let after: string | undefined;
  do {
    const page = await loadPage(connections, {
      migration: spec.id,
      hosts: spec.hosts.map((host) => hostTarget(host, 'before')),
      limit: TABLES_A_PAGE,
      ...(after === undefined ? {} : { after }),
    });
    await Promise.all(page.tables.flatMap((table) => judgeTable(connections, spec, hosts, table, words)));
    after = page.next;
  } while (after !== undefined);
  const { counts } = await tally(connections, spec);
  const summary = Object.entries(counts).flatMap(([status, n]) => (n === 0 ? [] : [`${n} ${status}`]));
  const more = words.length > WORDS_SHOWN ? [`… and ${words.length - WORDS_SHOWN} more`] : [];
  return { counts, words: [`took over from ${spec.takeOver?.file ?? ''}: ${summary.join(', ')}`, ...words.slice(0, WORDS_SHOWN), ...more] };
}

function judgeTable(
  connections: Connections,
  spec: MigrationSpec,
  hosts: ReadonlyMap<string, TakeOverHost>,
  table: ReplicatedTable,
  words: string[],
): Promise<void>[] {
  return table.replicas.map(async (replica) => {
    const entry = entryOf(spec, replica);
    const host = hosts.get(replica.host);
    if (entry === undefined || host === undefined || replica.step !== 'none') return;
    const said = await connections.slots.run(`detach ${replica.host}`, spec.parallel.detach, () =>
      new Judge(connections, spec, host, replica, entry).run(table.replicas.length === 1),
    );
    if (said !== undefined) words.push(`${replicaLabel(replica)}: ${said}`);
  });
}

/** One replica of the file, after it is held. */
class Judge {
  private readonly replica: InventoryReplica;
  private staysStopped = false;

  constructor(
    private readonly connections: Connections,
    private readonly spec: MigrationSpec,
    private readonly host: TakeOverHost,
    entry: ReplicaEntry,
    private readonly said: TakeOverEntry,
  ) {
    const { status: _status, oldMetadata: _old, attached: _attached, step: _step, ...replica } = entry;
    this.replica = replica;
  }

  /** Answers what there is to say, where there is something. */
  async run(alone: boolean): Promise<string | undefined> {
    stopIfCancelled();
    const { host, replica } = this;
    // Somebody took it away again since it was listed: the detach phase says so, for this table alone.
    if (!(await lookAtReplica(host.server, replica)).attached) return undefined;
    report({ doing: `saving the manifest of ${replicaLabel(replica)}` });
    const background = await zeroCopyOf(host.server, replica);
    await stopBackground(host.server, replica, background);
    try {
      return await this.stopped(alone);
    } finally {
      // From here on the phases stop it when they come to the replica, as with any other.
      if (!this.staysStopped) await startBackground(host.server, replica, background);
    }
  }

  private async stopped(alone: boolean): Promise<string | undefined> {
    const { connections, spec, host, replica } = this;
    const seen = await seeReplica(connections, spec, host, replica, alone);
    const { found, suspicious } = judge(this.said.status, seen);
    const attached = suspicious && wordOnDetached(spec.takeOver, replica) === 'attach' ? await this.attachLeft(seen) : 0;
    const words = attached === 0 ? [] : [`${attached} parts were attached from detached/, by --attach-detached`];
    switch (found) {
      case 'RESTORED':
        words.push(await this.restored(seen));
        break;
      case 'ZK_CLEANED':
        await this.note({ status: 'ZK_CLEANED', step: 'cleaned', oldMetadata: 'deleted' });
        break;
      case 'INIT':
      case 'DETACHED':
        await this.note({ status: 'INIT', step: 'manifest', zeroCopy: await this.facts() });
        break;
      default:
        found satisfies never;
    }
    return words.length === 0 ? undefined : words.join('; ');
  }

  /** The parts that the operator said are the table's own go back into it, in their order. */
  private async attachLeft({ left, place }: SeenReplica): Promise<number> {
    const { host, spec, replica } = this;
    if (left.stuck.length > 0 || place === 'none') {
      throw new MigrationError('NEEDS_HAND', `${replicaLabel(replica)}: what lies in its detached/ cannot be attached; ch-zk-migrate plan says why`);
    }
    await takeManifest(host.server, spec.id, replica, 'detach');
    for (const [done, part] of left.plain.entries()) {
      report({ doing: `attaching the parts left in detached/ of ${replicaLabel(replica)}`, done, total: left.plain.length });
      const sent = await send(host.server, statements.attachPart(replica, part), {
        queryId: statementId(spec.id, replica, `take-over-part-${part}`),
        doing: `attaching the part ${part} of ${replicaLabel(replica)}`,
      });
      if (sent.end === 'refused') throw sent.error;
    }
    return left.plain.length;
  }

  /**
   * Restored by another's hand: RESTORED is noted only when what is registered in ZooKeeper is exactly what is active, and it is writable. Where
   * that cannot be proved it is left to the phases: at the new place to the restore, in place to the whole way.
   */
  private async restored(seen: SeenReplica): Promise<string> {
    const { connections, spec, host, replica } = this;
    const manifest = await takeManifest(host.server, spec.id, replica, 'detach');
    const base: ReplicaNote = {
      ...FIRST_NOTE,
      seq: 1,
      status: 'RESTORED',
      step: 'started',
      detachTake: manifest.take,
      baselineTake: manifest.take,
      oldMetadata: 'deleted',
      rows: manifest.rows,
      parts: manifest.parts,
      zeroCopy: await this.facts(seen),
    };
    try {
      await proveAsItIs(connections, this.restoreInput(seen), base);
      await proveZeroCopy(connections, this.restoreInput(seen), base);
    } catch (error) {
      if (!(error instanceof MigrationError) || (error.type !== 'PROOF_FAILED' && error.type !== 'NOT_CAUGHT_UP')) throw error;
      const next: Partial<ReplicaNote> =
        seen.place === 'after' ? { status: 'ZK_CLEANED', step: 'restoring' } : { status: 'INIT', step: 'manifest', baselineTake: '', oldMetadata: 'kept' };
      // Of a zero-copy replica whose locks are not proved nothing may remove parts before its restore.
      this.staysStopped = base.zeroCopy !== null && next.status === 'ZK_CLEANED';
      await connections.notes(hostTarget(host.spec, 'before')).write(spec.id, replica, { ...base, ...next });
      return `it was restored before, and that is not proved (${error.message}): it goes on as ${next.status ?? ''}`;
    }
    await connections.notes(hostTarget(host.spec, 'before')).write(spec.id, replica, base);
    return 'restored before: proved by what is registered, nothing from before vouches for its rows';
  }

  /** What is known of its zero-copy locks, where it lives now. */
  private async facts(seen?: SeenReplica): Promise<ReplicaNote['zeroCopy']> {
    const { connections, spec, host, replica } = this;
    const target = hostTarget(host.spec, seen?.place === 'after' ? 'after' : 'before');
    return readFacts(connections, { migration: spec.id, host: target, replica, zookeeper: zookeeperTarget(spec) }, FIRST_NOTE);
  }

  private restoreInput({ place }: SeenReplica): RestoreInput {
    const { spec, host, replica } = this;
    return {
      migration: spec.id,
      host: hostTarget(host.spec, place === 'after' ? 'after' : 'before'),
      replica,
      zookeeper: zookeeperTarget(spec),
      writable: spec.verify.writable,
      blobs: spec.verify.blobs,
      limit: spec.parallel.restore,
      alone: true,
    };
  }

  private async note(what: Partial<ReplicaNote>): Promise<void> {
    const { connections, spec, host, replica } = this;
    const manifest = await takeManifest(host.server, spec.id, replica, 'detach');
    const note: ReplicaNote = { ...FIRST_NOTE, seq: 1, detachTake: manifest.take, rows: manifest.rows, parts: manifest.parts, ...what };
    await connections.notes(hostTarget(host.spec, 'before')).write(spec.id, replica, note);
  }
}

