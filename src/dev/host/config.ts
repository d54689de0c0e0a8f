import fs from 'node:fs';

/** What one host process is started with: the file behind `--config`. */
export interface HostConfig {
  name: string;
  /** Port of the HTTP interface, on 127.0.0.1. */
  port: number;
  /** Port that activated replicas register in ZooKeeper, and where others fetch parts. */
  interserverPort: number;
  dataDir: string;
  /** ClickHouse's main configuration file. */
  configFile: string;
  /** Values for the `from_env` attributes in the configuration. */
  environment: Readonly<Record<string, string>>;
  /** JSON lines of every statement. */
  statementLog: string;
  logFile: string;
  /** This process's id and start time, written by whoever starts it: a shell before `exec`. */
  pidFile: string;
  /** What the host says of itself once it is up. */
  statusFile: string;
  /** Make replicas active, see activate-replication.ts. */
  activate: boolean;
  /** Start the host again after SYSTEM SHUTDOWN, as a service manager does. */
  respawn: boolean;
  /** Names, passwords, and the engine's role whose rights they have; no role: all rights. */
  users: readonly HostUser[];
}

export interface HostUser {
  name: string;
  password: string;
  role?: string;
}

/** What a host says of itself, in its `statusFile`. */
export interface HostStatus {
  pid: number;
  active: boolean;
  activationNote: string;
  version: string;
}

/** Reads a host's configuration file; it was written by the stack. */
export function readHostConfig(file: string): HostConfig {
  return JSON.parse(fs.readFileSync(file, 'utf8')) as HostConfig;
}
