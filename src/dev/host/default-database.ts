import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/**
 * The engine opens with a database `default` of its own kind (Overlay, over the folder that
 * `metadata/default` links to), in which no table can become replicated. A server's is Atomic, so
 * one is put in its place, over the same folder, at each start.
 */

/**
 * Writes what an Atomic database has on disk, where it is missing; before the engine opens.
 * Contract: may be repeated after a kill at any point.
 */
export function prepareDefault(dataDir: string): void {
  const metadata = path.join(dataDir, 'metadata');
  const statement = path.join(metadata, 'default.sql');
  const link = path.join(metadata, 'default');
  fs.mkdirSync(metadata, { recursive: true });
  if (!fs.existsSync(statement)) {
    fs.writeFileSync(`${statement}.tmp`, `ATTACH DATABASE _ UUID '${randomUUID()}'\nENGINE = Atomic\n`);
    fs.renameSync(`${statement}.tmp`, statement);
  }
  const uuid = /UUID '([0-9a-f-]{36})'/.exec(fs.readFileSync(statement, 'utf8'))?.[1];
  if (uuid === undefined) {
    throw new Error(`${statement} names no UUID`);
  }
  const folder = path.join('store', uuid.slice(0, 3), uuid);
  fs.mkdirSync(path.join(dataDir, folder), { recursive: true });
  if (!fs.existsSync(link)) fs.symlinkSync(path.join('..', folder), link);
}

/** Puts the Atomic database in the place of the engine's. Contract: on the only connection, for none opens while there is no `default`. */
export async function makeDefaultAtomic(run: (sql: string) => Promise<unknown>): Promise<void> {
  await run('DETACH DATABASE default SYNC');
  await run('ATTACH DATABASE default');
}
