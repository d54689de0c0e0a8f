import type { PlannedTable, PlannedTakeOver } from '../domain/plan';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { BACKGROUND, statements } from './sql';

/** What a run would send for one table on one host, in order: SQL, and deletions in ZooKeeper as comment lines. */
export function plannedStatements(spec: MigrationSpec, host: HostSpec, planned: Omit<PlannedTable, 'statements'>): string[] {
  const table = { database: planned.db, table: planned.table };
  const [, name, path = planned.zk_path] = /^([^/]+):(\/.*)$/su.exec(planned.zk_path) ?? [];
  const ensemble = name === undefined ? host.zookeeper : (spec.auxiliary[name] ?? host.zookeeper);
  const count = planned.znodes === null ? '' : ` (${planned.znodes} nodes)`;
  const locks = planned.zero_copy;
  const background = locks === undefined ? [] : BACKGROUND;
  const removal = `-- delete ${ensemble.root}${path}${count} in ZooKeeper ${ensemble.connect}`;
  const removals = [removal, ...lockRemoval(planned)];
  const restored = [
    statements.restore(table),
    ...(locks?.attach ?? []).map((part) => statements.attachPart(table, part)),
    statements.startMerges(table),
    ...background.map((what) => statements.startBackground(table, what)),
  ];
  const whole = [
    statements.stopMerges(table),
    ...background.map((what) => statements.stopBackground(table, what)),
    statements.detach(table),
    ...(spec.clean === 'before-restore' ? removals : []),
    ...(spec.newPath === undefined
      ? [statements.attach(table)]
      : [statements.attachPlain(table), statements.stopMerges(table), statements.detach(table), statements.attachReplicated(table)]),
    ...restored,
    ...(spec.clean === 'after-verify' ? removals.map((one) => `${one}, after all is proved`) : []),
    ...(spec.clean === 'never' ? [`-- ${ensemble.root}${path}${count} stays in ZooKeeper ${ensemble.connect}`] : []),
  ];
  return planned.takenOver === undefined ? whole : takenOverStatements(planned.takenOver, statements.attach(table), whole, restored);
}

/** Of a table that a status file to take over names: it is attached where it is not, and goes on from what was found. */
function takenOverStatements({ found, attached }: PlannedTakeOver, attach: string, whole: readonly string[], restored: readonly string[]): string[] {
  const first = attached ? [] : [attach];
  if (found === 'RESTORED') return first;
  return [...first, ...(found === 'ZK_CLEANED' ? restored : whole)];
}

function lockRemoval({ zero_copy: locks, replica }: Omit<PlannedTable, 'statements'>): string[] {
  if (locks === undefined || locks.locks + locks.attach.length === 0) return [];
  return [`-- delete the ${locks.locks + locks.attach.length} zero-copy locks of ${replica} under ${locks.lock_root}/…/${locks.shared_id}, and no others`];
}
