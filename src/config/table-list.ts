import { z } from 'zod';

import type { TableSelection } from '../domain/spec';
import type { KeyPath } from './key-path';
import { nameFault } from './field-checks';
import { shapeFaults } from './shape-faults';
import { readYaml, type PathFault } from './yaml-source';

type TableList = NonNullable<TableSelection['list']>;

const name = z.string().refine((text) => nameFault(text) === undefined, { error: 'must not be empty' });

/** The status file's form. What a status file says beside the names is allowed and not looked at. */
const listSchema = z
  .array(
    z.strictObject({
      db: name,
      table: name,
      host: name.optional(),
      status: z.unknown().optional(),
      zk_path: z.unknown().optional(),
      replica: z.unknown().optional(),
      rows: z.unknown().optional(),
      parts: z.unknown().optional(),
      updated: z.unknown().optional(),
      old_metadata: z.unknown().optional(),
      error: z.unknown().optional(),
    }),
  )
  .min(1, 'the list is empty');

/**
 * Reads a list of tables (`tables.from`). Paths in the faults are within the list, lines within its text.
 *
 * @param hosts the hosts of the spec; `undefined` where they are not known, and a host in the list is not looked at
 */
export function parseTableList(text: string, hosts: readonly string[] | undefined): { list: TableList; faults: PathFault[] } {
  const source = readYaml(text);
  if (source.value === undefined) return { list: [], faults: [...source.faults] };
  const parsed = listSchema.safeParse(source.value);
  const shape = shapeFaults(listSchema, source.value);
  const list = parsed.success
    ? parsed.data.map(({ db, table, host }) => ({ ...(host === undefined ? {} : { host }), database: db, table }))
    : [];
  const faults = [...source.faults, ...shape, ...unknownHosts(list, hosts)];
  return { list: withoutRepeats(list), faults: faults.map((fault) => ({ ...fault, line: fault.line ?? source.lineOf(fault.path) })) };
}

function unknownHosts(list: TableList, hosts: readonly string[] | undefined): PathFault[] {
  return list.flatMap(({ host }, index): { path: KeyPath; message: string }[] => {
    const known = hosts === undefined || host === undefined || hosts.includes(host);
    return known
      ? []
      : [{ path: [index, 'host'], message: `no host of the spec has this name; they are ${hosts.slice(0, 10).join(', ')}` }];
  });
}

function withoutRepeats(list: TableList): TableList {
  return [...new Map(list.map((entry) => [JSON.stringify([entry.host ?? null, entry.database, entry.table]), entry])).values()];
}
