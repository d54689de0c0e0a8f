import { randomUUID } from 'node:crypto';

import type { ClickHouseHost } from '../clickhouse/host';
import { quoteIdentifier, quoteString } from '../clickhouse/sql';
import { STORE_DATABASE } from '../clickhouse/store';
import { MigrationError } from '../domain/failure';
import type { EnsembleSpec } from '../domain/spec';
import type { Connections } from './deps';

const PROBE_PATH = '/ch-zk-migrate/probe';

/**
 * Finds out on which of the candidates a server really keeps its metadata: it makes a replicated table of our own there, we look where
 * its nodes turned up, and it is dropped again. What the server's configuration says is not asked: it is what the server does that
 * counts, and the question works on every version, with or without `system.zookeeper`.
 *
 * @returns the candidate, or undefined when the nodes are on none of them
 * @throws MigrationError when the server or ZooKeeper does not answer
 */
export async function probeRoot(
  connections: Connections,
  host: ClickHouseHost,
  candidates: readonly EnsembleSpec[],
  digestEnv: string | undefined,
): Promise<EnsembleSpec | undefined> {
  const sessions = await Promise.all(
    candidates.map(async (candidate) => ({ candidate, session: await connections.zookeeper(candidate, digestEnv) })),
  );
  return withProbe(host, async (path) => {
    for (const { candidate, session } of sessions) {
      if ((await session.exists(path)) !== undefined) return candidate;
    }
    return undefined;
  });
}

/** Whether a server reaches ZooKeeper, by what it does: it can make nodes there. False also where it cannot be asked. */
export async function makesNodes(host: ClickHouseHost): Promise<boolean> {
  try {
    return await withProbe(host, () => Promise.resolve(true));
  } catch (error) {
    if (error instanceof MigrationError) return false;
    throw error;
  }
}

/** Makes a replicated table of our own, runs `look` with its path, and drops the table again. */
async function withProbe<T>(host: ClickHouseHost, look: (path: string) => Promise<T>): Promise<T> {
  const id = randomUUID();
  const path = `${PROBE_PATH}/${id}`;
  const table = `${STORE_DATABASE}.${quoteIdentifier(`probe_${id}`)}`;
  await host.run(`CREATE DATABASE IF NOT EXISTS ${STORE_DATABASE}`, { doing: 'making its database' });
  try {
    await host.run(`CREATE TABLE ${table} (x UInt8) ENGINE = ReplicatedMergeTree(${quoteString(path)}, 'probe') ORDER BY x`, {
      doing: 'looking where it keeps its ZooKeeper metadata',
    });
    return await look(path);
  } finally {
    await host.run(`DROP TABLE IF EXISTS ${table} SYNC`, { doing: 'dropping its probe' });
  }
}

/** Drops probes that a killed worker left behind. */
export async function dropStaleProbes(host: ClickHouseHost): Promise<void> {
  const rows = await host.select<{ name: string }>(
    "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, 'probe_')",
    { params: { database: STORE_DATABASE }, doing: 'looking for probes left behind' },
  );
  for (const { name } of rows) {
    await host.run(`DROP TABLE IF EXISTS ${STORE_DATABASE}.${quoteIdentifier(name)} SYNC`, { doing: 'dropping a probe left behind' });
  }
}
