import type { PlannedTable } from '../domain/plan';
import type { HostSpec, MigrationSpec } from '../domain/spec';
import { statements } from './sql';

/** What a run would send for one table on one host, in order: SQL, and deletions in ZooKeeper as comment lines. */
export function plannedStatements(spec: MigrationSpec, host: HostSpec, planned: Omit<PlannedTable, 'statements'>): string[] {
  const table = { database: planned.db, table: planned.table };
  const [, name, path = planned.zk_path] = /^([^/]+):(\/.*)$/su.exec(planned.zk_path) ?? [];
  const ensemble = name === undefined ? host.zookeeper : (spec.auxiliary[name] ?? host.zookeeper);
  const count = planned.znodes === null ? '' : ` (${planned.znodes} nodes)`;
  const removal = `-- delete ${ensemble.root}${path}${count} in ZooKeeper ${ensemble.connect}`;
  return [
    statements.stopMerges(table),
    statements.detach(table),
    ...(spec.clean === 'before-restore' ? [removal] : []),
    ...(spec.newPath === undefined
      ? [statements.attach(table)]
      : [statements.attachPlain(table), statements.stopMerges(table), statements.detach(table), statements.attachReplicated(table)]),
    statements.restore(table),
    statements.startMerges(table),
    ...(spec.clean === 'after-verify' ? [`${removal}, after all is proved`] : []),
    ...(spec.clean === 'never' ? [`-- ${ensemble.root}${path}${count} stays in ZooKeeper ${ensemble.connect}`] : []),
  ];
}
