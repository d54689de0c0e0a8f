/** What is known of one host when a migration that kept the old metadata is aborted. */
export interface ReturningHost {
  readonly name: string;
  /** The keys of its replicated tables, see `tableOrderKey`. */
  readonly tables: readonly string[];
  /** Those of them of which a RESTORE was begun on this host. */
  readonly begun: readonly string[];
  /** Whether there is a way back: it is still at its old place, or the spec says how it gets there. */
  readonly canReturn: boolean;
}

/**
 * The hosts that an abort returns to their old place. A table whose RESTORE was begun on any host has parts with new names, which its
 * old metadata does not know: its hosts stay. All replicas of a path are at one place, so that hosts which share a table with one that
 * stays, stay too.
 */
export function hostsThatReturn(hosts: readonly ReturningHost[]): readonly string[] {
  const stuck = new Set(hosts.flatMap(({ begun }) => begun));
  let returning = [...hosts];
  for (;;) {
    const staying = returning.filter(({ tables, canReturn }) => !canReturn || tables.some((table) => stuck.has(table)));
    if (staying.length === 0) return returning.map(({ name }) => name);
    for (const { tables } of staying) for (const table of tables) stuck.add(table);
    returning = returning.filter((host) => !staying.includes(host));
  }
}
