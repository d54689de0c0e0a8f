import { compileGlob } from '../config/table-filter';
import type { ReplicaRef } from '../domain/inventory';

/** Whether a replica's `database.table` is matched by one of the globs; one that cannot be read matches nothing. */
export function skippedBy(globs: readonly string[]): (replica: ReplicaRef) => boolean {
  const matchers = globs.flatMap(compiled);
  if (matchers.length === 0) return () => false;
  return ({ database, table }) => matchers.some((matches) => matches(`${database}.${table}`));
}

function compiled(glob: string): ((text: string) => boolean)[] {
  try {
    return [compileGlob(glob)];
  } catch {
    return [];
  }
}
