import fs from 'node:fs';

/**
 * The log of statements of a host: JSON lines, appended synchronously, so that a kill of the
 * process loses none.
 *
 * At a statement's start `{"time","queryId","text"}`, and after it
 * `{"time","queryId","done":true,"ms","code"}`; code 0 is success. The data of an INSERT is left out.
 */
export interface StatementLog {
  started(queryId: string, text: string): void;
  ended(queryId: string, ms: number, code: number): void;
}

/** Opens (and creates) the log for appending. */
export function openStatementLog(file: string): StatementLog {
  const fd = fs.openSync(file, 'a');
  const append = (line: object): void => {
    fs.writeSync(fd, `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
  };
  return {
    started: (queryId, text) => {
      append({ queryId, text });
    },
    ended: (queryId, ms, code) => {
      append({ queryId, done: true, ms, code });
    },
  };
}
