import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** A server process to start in the background. */
export interface PartCommand {
  command: string;
  args: readonly string[];
  /** Added to this process's own environment. */
  environment: Readonly<Record<string, string>>;
  /** Takes stdout and stderr, appended. */
  logFile: string;
  /** Where the process's id and start time go, see {@link readPid}. */
  pidFile: string;
  workDir?: string;
  /** Start only once this process has ended. */
  afterPid?: number;
}

/**
 * The process writes its own pid file before it becomes the server, so that a starter which is
 * killed in between leaves nothing behind that cannot be found.
 * Fields of /proc/PID/stat: `man 5 proc`; the 22nd is the start time in clock ticks since boot.
 */
const SCRIPT = `
printf '%s %s\\n' "$$" "$(cut -d' ' -f22 "/proc/$$/stat")" > "$PART_PID_FILE.$$" && mv "$PART_PID_FILE.$$" "$PART_PID_FILE" || exit 1
if [ -n "$PART_AFTER_PID" ]; then
  while [ -d "/proc/$PART_AFTER_PID" ] && ! grep -q '^State:.Z' "/proc/$PART_AFTER_PID/status" 2>/dev/null; do sleep 0.05; done
fi
unset PART_PID_FILE PART_AFTER_PID
exec "$@"
`;

/**
 * Starts a server that outlives this process, in a session of its own. Returns at once; whether it
 * came up is for the caller to see.
 *
 * @throws Error when the log cannot be opened or no process can be made
 */
export function spawnPart(part: PartCommand): void {
  fs.mkdirSync(path.dirname(part.logFile), { recursive: true });
  fs.mkdirSync(path.dirname(part.pidFile), { recursive: true });
  const log = fs.openSync(part.logFile, 'a');
  try {
    const child = spawn('/bin/sh', ['-c', SCRIPT, 'dev-part', part.command, ...part.args], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: part.workDir ?? path.dirname(part.logFile),
      env: {
        ...process.env,
        ...part.environment,
        PART_PID_FILE: part.pidFile,
        PART_AFTER_PID: part.afterPid === undefined ? '' : String(part.afterPid),
      },
    });
    child.unref();
  } finally {
    fs.closeSync(log);
  }
}
