import type { PlannedTable } from '../domain/plan';
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
  return [
    statements.stopMerges(table),
    ...background.map((what) => statements.stopBackground(table, what)),
    statements.detach(table),
    ...(spec.clean === 'before-restore' ? removals : []),
    statements.attach(table),
    statements.restore(table),
    ...(locks?.attach ?? []).map((part) => statements.attachPart(table, part)),
    statements.startMerges(table),
    ...background.map((what) => statements.startBackground(table, what)),
    ...(spec.clean === 'after-verify' ? removals.map((one) => `${one}, after all is proved`) : []),
  ];
}

function lockRemoval({ zero_copy: locks, replica }: Omit<PlannedTable, 'statements'>): string[] {
  if (locks === undefined || locks.locks + locks.attach.length === 0) return [];
  return [`-- delete the ${locks.locks + locks.attach.length} zero-copy locks of ${replica} under ${locks.lock_root}/…/${locks.shared_id}, and no others`];
}
