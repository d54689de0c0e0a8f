import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createClient, ClickHouseLogLevel, type ClickHouseClient } from '@clickhouse/client';
import { stackDown, stackUp, type StackDescription, type StackOptions } from '../../src/dev/stack';

/** A real stack in a directory of its own, and clients for its hosts; `remove` leaves nothing behind. */
export interface Sandbox {
  stack: StackDescription;
  /** A host by its number, from 1. */
  host: (number: number) => ClickHouseClient;
  rows: <T>(number: number, query: string, parameters?: Record<string, unknown>) => Promise<T[]>;
  run: (number: number, query: string) => Promise<void>;
  remove: () => Promise<void>;
}

export async function makeSandbox(options: Omit<StackOptions, 'dir'>): Promise<Sandbox> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ch-zk-migrate-test-'));
  const stack = await stackUp({ dir, remember: false, ...options });
  const clients = stack.hosts.map((host) => createClient({ url: host.url, log: { level: ClickHouseLogLevel.OFF } }));
  const host = (number: number): ClickHouseClient => {
    const client = clients[number - 1];
    if (client === undefined) throw new Error(`no host ${number}`);
    return client;
  };
  return {
    stack,
    host,
    rows: async <T>(number: number, query: string, parameters: Record<string, unknown> = {}) =>
      (await host(number).query({ query, query_params: parameters, format: 'JSONEachRow' })).json<T>(),
    run: async (number, query) => {
      await host(number).command({ query });
    },
    remove: async () => {
      await Promise.all(clients.map((client) => client.close()));
      await stackDown(dir, { deleteData: true });
    },
  };
}
