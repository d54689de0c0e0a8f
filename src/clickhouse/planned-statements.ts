import type { PlannedTable, PlannedTakeOver } from '../domain/plan';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { statements } from './sql';

/** What a run would send for one table on one host, in order: SQL, and deletions in ZooKeeper as comment lines. */
export function plannedStatements(spec: MigrationSpec, host: HostSpec, planned: Omit<PlannedTable, 'statements'>): string[] {
  const table = { database: planned.db, table: planned.table };
  const [, name, path = planned.zk_path] = /^([^/]+):(\/.*)$/su.exec(planned.zk_path) ?? [];
  const ensemble = name === undefined ? host.zookeeper : (spec.auxiliary[name] ?? host.zookeeper);
  const count = planned.znodes === null ? '' : ` (${planned.znodes} nodes)`;
  const removal = `-- delete ${ensemble.root}${path}${count} in ZooKeeper ${ensemble.connect}`;
  const restored = [statements.restore(table), statements.startMerges(table)];
  const whole = [
    statements.stopMerges(table),
    statements.detach(table),
    ...(spec.clean === 'before-restore' ? [removal] : []),
    ...(spec.newPath === undefined
      ? [statements.attach(table)]
      : [statements.attachPlain(table), statements.stopMerges(table), statements.detach(table), statements.attachReplicated(table)]),
    ...restored,
    ...(spec.clean === 'after-verify' ? [`${removal}, after all is proved`] : []),
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
