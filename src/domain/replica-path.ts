/** How a server fills in a replica's path: its `default_replica_path`, its macros, and the table itself. */

export interface PathNames {
  readonly database: string;
  readonly table: string;
  readonly uuid: string;
}

/** A macro's value may name others; a server goes this deep. */
const DEEPEST = 10;

/**
 * A pattern with its `{macros}` filled in, as ClickHouse does it.
 *
 * Source: https://clickhouse.com/docs/operations/server-configuration-parameters/settings#default_replica_path
 */
export function fillInPath(
  pattern: string,
  macros: Readonly<Record<string, string>>,
  names: PathNames,
): { readonly path: string } | { readonly unknown: string } {
  const values: Readonly<Record<string, string>> = { ...macros, ...names };
  let path = pattern;
  for (let depth = 0; depth < DEEPEST; depth += 1) {
    const unknown = [...path.matchAll(/\{([^{}]*)\}/gu)].map(([, name = '']) => name).find((name) => !Object.hasOwn(values, name));
    if (unknown !== undefined) return { unknown };
    const filled = path.replace(/\{([^{}]*)\}/gu, (_, name: string) => values[name] ?? '');
    if (filled === path) break;
    path = filled;
  }
  return { path };
}
