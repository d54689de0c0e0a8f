import type picocolors from 'picocolors';
import prettyMs from 'pretty-ms';
import { counted } from './words';

import type { Plan, PlannedHost, PlannedRemoteDisk, PlannedZeroCopy } from '../domain/plan';
import type { Finding } from '../domain/summary';

type Paint = ReturnType<typeof picocolors.createColors>;

/** A plan as text: host by host, table by table, every statement; what stands against it last, where it is seen. */
export function planText(plan: Plan, paint: Paint): string {
  const tables = plan.hosts.flatMap((host) => host.tables);
  const sum = (of: (table: (typeof tables)[number]) => number): number => tables.reduce((total, table) => total + of(table), 0);
  const lines = [
    `${paint.bold('plan')} ${printable(plan.id)}: nothing was changed`,
    ...plan.hosts.flatMap((host) => hostText(host, paint)),
    '',
    `${counted(tables.length, 'replica')} on ${counted(plan.hosts.length, 'host')}, ${sum(({ rows }) => rows)} rows, ${bytesText(sum(({ bytes }) => bytes))}, ${sum(({ parts }) => parts)} parts`,
    `estimate: ${prettyMs(plan.estimate.seconds * 1000)} (${plan.estimate.how})`,
    ...findingsText('warning', plan.warnings, paint.yellow),
    ...findingsText('refusal', plan.refusals, paint.red),
  ];
  return `${lines.join('\n')}\n`;
}

function hostText(host: PlannedHost, paint: Paint): string[] {
  return [
    '',
    `${paint.bold(host.name)} ClickHouse ${host.version === '' ? '(did not answer)' : host.version}`,
    `  metadata: ${host.from}${host.from !== host.to ? ` -> ${host.to}` : host.tables.some((table) => table.zk_path_after !== undefined) ? ', at other paths' : ', made anew in place'}`,
    `  restart:  ${host.restart}`,
    ...(host.abort === undefined ? [] : [`  abort:    ${host.abort}`]),
    ...host.tables.flatMap((table) => [
      '',
      `  ${paint.cyan(printable(`${table.db}.${table.table}`))}: ${table.rows} rows, ${bytesText(table.bytes)}, ${table.parts} parts`,
      `    path ${printable(table.zk_path)}, replica ${printable(table.replica)}, ${table.znodes === null ? 'nodes not counted' : `${table.znodes} nodes`}`,
      ...(table.takenOver === undefined ? [] : [`    status file: ${table.takenOver.said}; found: ${table.takenOver.found}${table.takenOver.attached ? '' : ', not attached'}`]),
      ...(table.zk_path_after === undefined ? [] : [`    path afterwards ${printable(table.zk_path_after)}, replica ${printable(table.replica_after ?? table.replica)}`]),
      ...remoteDiskText(table.remote_disk),
      ...zeroCopyText(table.zero_copy),
      ...table.statements.map((statement) => `    ${printable(statement)}`),
    ]),
  ];
}

function remoteDiskText(remote: PlannedRemoteDisk | undefined): string[] {
  if (remote === undefined) return [];
  const word = (on: boolean | null): string => (on === null ? 'not set' : on ? 'on' : 'off');
  const settings = `allow_remote_fs_zero_copy_replication: server ${word(remote.server_setting)}, table ${word(remote.table_setting)}`;
  const disks = printable(remote.disks.join(', ') || 'no disk yet');
  return [remote.zero_copy ? `    zero-copy on ${disks} (${settings})` : `    remote disk ${disks}, not zero-copy (${settings}): each replica has its own blobs`];
}

function zeroCopyText(shared: PlannedZeroCopy | undefined): string[] {
  if (shared === undefined) return [];
  const legacy = shared.legacy_locks === 0 ? '' : `, ${shared.legacy_locks} copies below the path`;
  const kinds = shared.lock_kinds.length === 0 ? '' : ` (${printable(shared.lock_kinds.join(', '))})`;
  const counts = shared.lock_counts.map(({ replicas, parts }) => `${parts} by ${counted(replicas, 'replica')}`).join(', ');
  return [
    `    shared id ${printable(shared.shared_id)}`,
    `    locks of this replica under ${printable(shared.lock_root)}${kinds}: ${shared.locks}${legacy}; parts without: ${shared.parts_without_lock}; locks of nobody: ${shared.leaked_locks}; of replicas outside the spec: ${shared.foreign_locks}`,
    ...(counts === '' ? [] : [`    its parts are locked: ${counts}`]),
    ...(shared.shared_with.length === 0 ? [] : [`    the id is shared with ${printable(shared.shared_with.join(', '))}`]),
  ];
}

/** Findings as text, each with what to do. */
export function findingsText(what: string, findings: readonly Finding[], color: (text: string) => string): string[] {
  if (findings.length === 0) return [];
  return [
    '',
    color(`${counted(findings.length, what)}:`),
    ...findings.map(({ code, host, db, table, message, fix }) => {
      const where = [host, db === undefined ? '' : `${db}${table === undefined ? '' : `.${table}`}`].filter((word) => word !== '').join(' ');
      return `  ${[color(code), printable(where)].filter((word) => word !== '').join(' ')}: ${printable(message)}\n    -> ${printable(fix)}`;
    }),
  ];
}

/** Control characters of a name shown as escapes, so that a name cannot write over a terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => JSON.stringify(character).slice(1, -1).replace('\u007f', '\\u007f'));
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? String(value) : value.toFixed(1)} ${UNITS[power] ?? 'B'}`;
}
