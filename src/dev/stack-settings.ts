import fs from 'node:fs';
import path from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { HostConfig } from './host/config';

/** How an embedded stack was made; written once, in `DIR/stack.json`. Ports stay the same for its life. */
export interface StackSettings {
  version: 1;
  temporal: { port: number; uiPort: number; tuned: boolean };
  zookeeper: { port: number };
  zeroCopy: boolean;
  activate: boolean;
  /** `<default_replica_path>` of every host. */
  replicaPath: string;
  /** Of the user `default`; empty for none. */
  password: string;
  /** Users beside `default`. */
  users: StackUser[];
  hosts: HostSettings[];
}

/** A ClickHouse user with no rights but these. */
export interface StackUser {
  name: string;
  password: string;
  /** What follows GRANT: `SELECT ON *.*`. The name is made of letters, digits and `_`. */
  grants: string[];
}

export interface HostSettings {
  name: string;
  port: number;
  interserverPort: number;
  /** From 1. */
  shard: number;
  /** The macro: the host's name. */
  replica: string;
  /** The root it is first started on; where it is now is in its own configuration. */
  zkRoot: string;
}

/** The files of a stack. */
export const stackFiles = (dir: string) => ({
  settings: path.join(dir, 'stack.json'),
  lock: path.join(dir, 'run', 'stack.lock'),
  blobs: path.join(dir, 'blobs'),
  temporalDatabase: path.join(dir, 'temporal.db'),
  zookeeperData: path.join(dir, 'zookeeper'),
  part: (name: string) => ({
    lock: path.join(dir, 'run', `${name}.lock`),
    pid: path.join(dir, 'run', `${name}.pid`),
    /** What a host says of itself. */
    status: path.join(dir, 'run', `${name}.status.json`),
    /** A host's configuration, see host/config.ts. */
    config: path.join(dir, 'parts', `${name}.json`),
    log: path.join(dir, 'logs', `${name}.log`),
    statements: path.join(dir, 'logs', `${name}.statements.jsonl`),
    home: path.join(dir, 'hosts', name),
  }),
});

/** The settings of the stack in `dir`; undefined when there is none. */
export function readSettings(dir: string): StackSettings | undefined {
  return readJson<StackSettings>(stackFiles(dir).settings);
}

/** Like {@link readSettings}, for a stack that must be there. */
export function requireSettings(dir: string): StackSettings {
  const settings = readSettings(dir);
  if (settings === undefined) {
    throw new Error(`there is no embedded stack in ${dir}: make one with ch-zk-migrate dev up --dir ${dir}`);
  }
  return settings;
}

export function writeSettings(dir: string, settings: StackSettings): void {
  fs.mkdirSync(dir, { recursive: true });
  writeFileAtomic.sync(stackFiles(dir).settings, `${JSON.stringify(settings, null, 2)}\n`);
}

/** The present configuration of a host; undefined before it was first started. */
export function readPartConfig(dir: string, name: string): HostConfig | undefined {
  return readJson<HostConfig>(stackFiles(dir).part(name).config);
}

/** A JSON file that is always replaced as a whole; undefined when it does not exist. */
export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
