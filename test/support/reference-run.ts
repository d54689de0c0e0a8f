import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { stringify } from 'yaml';

import { quoteString, quoteTable } from '../../src/clickhouse/sql';
import { type Ground, run, sql } from './stack';
import { withZooKeeper } from './zookeeper';

/** What changes something on a server. */
export const CHANGES = /^\s*(DETACH|ATTACH|SYSTEM|ALTER|INSERT|CREATE|DROP)/u;

interface Entry {
  db: string;
  table: string;
  status: number | string;
  zk_path: string;
  [key: string]: unknown;
}

/** Does by plain statements what the reference does to one host, table by table, and keeps its status file. */
export class ReferenceRun {
  readonly entries: Entry[] = [];
  private readonly nodes = new Map<string, { path: string; replica: string }>();

  constructor(private readonly ground: Ground) {}

  get url(): string {
    return this.ground.firstHost.url;
  }

  async list(): Promise<void> {
    const rows = await sql<{ table: string; path: string; replica: string }>(
      this.url,
      `SELECT table, zookeeper_path AS path, replica_name AS replica FROM system.replicas WHERE database = ${quoteString(this.ground.database)} ORDER BY table`,
    );
    for (const { table, path, replica } of rows) {
      this.nodes.set(table, { path, replica });
      this.entries.push({ db: this.ground.database, table, status: 1, zk_path: path });
    }
  }

  name(table: string): string {
    return quoteTable({ database: this.ground.database, table });
  }

  pathOf(table: string): string {
    return this.nodes.get(table)?.path ?? assert.fail(table);
  }

  replicaNode(table: string): string {
    return `${this.pathOf(table)}/replicas/${this.nodes.get(table)?.replica ?? ''}`;
  }

  says(table: string, status: number | string): void {
    const entry = this.entries.find((one) => one.table === table) ?? assert.fail(table);
    entry.status = status;
  }

  async detach(table: string): Promise<void> {
    await run(this.url, `DETACH TABLE ${this.name(table)} SYNC`);
    this.says(table, 2);
  }

  async clean(table: string): Promise<void> {
    await this.detach(table);
    await withZooKeeper(this.ground.up, (session) => session.deleteTree(`${this.ground.from}${this.pathOf(table)}`));
    this.says(table, 3);
  }

  /** As the start of the server attaches it: readonly. */
  async attach(table: string): Promise<void> {
    await run(this.url, `ATTACH TABLE ${this.name(table)}`);
  }

  async restore(table: string): Promise<void> {
    await run(this.url, `SYSTEM RESTORE REPLICA ${this.name(table)}`);
    this.says(table, 4);
  }

  file(name = 'reference.yaml'): string {
    const file = join(this.ground.dir, name);
    writeFileSync(file, stringify(this.entries));
    return file;
  }
}
