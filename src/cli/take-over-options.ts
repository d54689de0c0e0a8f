import type { Command } from 'commander';

import type { TakeOverChoices } from '../config/take-over';
import { collect } from './common';

export interface TakeOverOptions {
  readonly takeOver?: string;
  readonly takeOverHost?: string;
  readonly attachDetached?: readonly string[];
  readonly leaveDetached?: readonly string[];
}

/** The options of a command that may resume a half-finished run. */
export function addTakeOverOptions(command: Command): Command {
  return command
    .option('--take-over <file>', 'resume a half-finished run of the reference (or of this program) from its status file')
    .option('--take-over-host <name>', 'the host whose status file it is, where the file names none and the spec has several')
    .option('--attach-detached <glob>', 'attach the parts that a RESTORE left in detached/ of these tables (database.table); again for more', collect)
    .option('--leave-detached <glob>', 'what lies in detached/ of these tables is not missing in them: leave it there; again for more', collect);
}

/** What of them is for the spec. */
export function takeOverChoices({ takeOver, takeOverHost, attachDetached, leaveDetached }: TakeOverOptions): { takeOver?: TakeOverChoices } {
  if ([takeOver, takeOverHost, attachDetached, leaveDetached].every((option) => option === undefined)) return {};
  return { takeOver: { file: takeOver, host: takeOverHost, attachDetached, leaveDetached } };
}
