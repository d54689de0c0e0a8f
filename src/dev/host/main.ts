import fs from 'node:fs';
import { parseArgs } from 'node:util';
import writeFileAtomic from 'write-file-atomic';
import { spawnPart } from '../spawn-part';
import { activateReplication } from './activate-replication';
import { readHostConfig, type HostConfig, type HostStatus } from './config';
import { EngineError, isFatal, loadEngine, openEngine, type Engine } from './engine';
import { createHttpServer } from './http-server';
import { createInterserver } from './interserver';
import { openStatementLog } from './statement-log';

/** How long running statements and tables may take to finish when the host is told to end. */
const DRAIN_MS = 5000;
const WATCH_EVERY_MS = 2000;

/**
 * One embedded ClickHouse host: `node main.js --config FILE`.
 *
 * It is ready when `/ping` answers. SIGTERM closes the engine and ends the process; SYSTEM SHUTDOWN
 * does the same, and a new process takes its place where the configuration says so.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) {
    throw new Error('--config FILE is missing');
  }
  const configFile = values.config;
  const config = readHostConfig(configFile);
  Object.assign(process.env, config.environment);
  fs.mkdirSync(config.dataDir, { recursive: true });
  const native = loadEngine();
  const activation = config.activate
    ? activateReplication(config.interserverPort)
    : { active: false, note: 'replicas stay readonly: activation is off' };
  const engine = await openEngine(native, config.dataDir, config.configFile);

  const server = createHttpServer({
    engine,
    log: openStatementLog(config.statementLog),
    users: config.users,
    shutdown: () => {
      end(config.respawn).catch(() => endUnclean(config.respawn));
    },
    fatal: die,
  });
  const watcher = setInterval(() => void watch(engine), WATCH_EVERY_MS);
  let ending = false;
  const end = async (again: boolean): Promise<void> => {
    if (ending) return;
    ending = true;
    clearInterval(watcher);
    server.close();
    server.closeIdleConnections();
    setTimeout(() => {
      endUnclean(again);
    }, DRAIN_MS);
    await engine.idle();
    await engine.close();
    if (again) respawn(config, configFile);
    process.exit(0);
  };
  /** The engine cannot be closed under a running statement: it then ends as if killed. */
  const endUnclean = (again: boolean): void => {
    if (again) respawn(config, configFile);
    process.kill(process.pid, 'SIGKILL');
  };
  process.on('SIGTERM', () => void end(false).catch(() => endUnclean(false)));
  process.on('SIGINT', () => void end(false).catch(() => endUnclean(false)));
  const version = await engine.run({ sql: 'SELECT version()', insert: false, queryId: 'start', format: 'TSVRaw', settings: {} });
  const status: HostStatus = {
    pid: process.pid,
    active: activation.active,
    activationNote: activation.note,
    version: Buffer.from(version.bytes).toString('utf8').trim(),
  };
  writeFileAtomic.sync(config.statusFile, `${JSON.stringify(status)}\n`);
  if (activation.active) createInterserver(engine).listen(config.interserverPort, '127.0.0.1');
  server.listen(config.port, '127.0.0.1');
}

/** Ends the process when the engine has failed although nobody asks it anything. */
async function watch(engine: Engine): Promise<void> {
  try {
    await engine.run({ sql: 'SELECT 1', insert: false, queryId: 'watch', format: 'Null', settings: {} });
  } catch (error) {
    if (error instanceof EngineError && isFatal(error)) die(error);
  }
}

function die(error: EngineError): void {
  process.stderr.write(`the engine has failed, the host ends: ${error.message}\n`);
  process.kill(process.pid, 'SIGKILL');
}

/** The service manager's part: the port is free once this process has ended, so the new one waits for that. */
function respawn(config: HostConfig, configFile: string): void {
  spawnPart({
    command: process.execPath,
    args: [...process.execArgv, __filename, '--config', configFile],
    environment: {},
    logFile: config.logFile,
    pidFile: config.pidFile,
    afterPid: process.pid,
  });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
