import { createTableFilter, type FilterTable } from '../config/table-filter';
import { entriesById } from '../domain/take-over';
import type { MigrationSpec } from '../domain/spec';

/**
 * Which tables a migration takes: what the spec selects, and, of what a status file to take over names, also those without a part on
 * the spec's disk: a table that is half way lost is not left out for having no part.
 */
export function selectionOf(spec: MigrationSpec): (table: FilterTable) => boolean {
  const selects = createTableFilter(spec.tables);
  if (spec.takeOver === undefined || spec.tables.disk === undefined) return selects;
  const { disk: _disk, ...onAnyDisk } = spec.tables;
  const selectsName = createTableFilter(onAnyDisk);
  const named = entriesById(spec.takeOver);
  return (table) => selects(table) || (named.has(JSON.stringify([table.host, table.database, table.table])) && selectsName(table));
}
