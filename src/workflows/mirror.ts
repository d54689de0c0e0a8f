import { condition, setCurrentDetails, upsertMemo } from '@temporalio/workflow';

import { SUMMARY_MEMO_KEY } from '../domain/summary';
import { mirrorActivities } from './activities';
import { detailsText } from './details';
import type { MigrationState } from './state';

/** No more often than this while a migration goes on. */
const EVERY_MS = 2_000;

/** Keeps memo and status file up to date while something changes; both are copies, the history is the truth. */
export class Mirror {
  private stopped = false;
  private running: Promise<void> | undefined;

  constructor(private readonly state: MigrationState) {}

  start(): void {
    this.running = this.loop();
  }

  /** Ends the loop, and waits for a write that is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  /** Writes the memo and the Web UI's details now. */
  memo(): void {
    const summary = this.state.summary(new Date().toISOString());
    upsertMemo({ [SUMMARY_MEMO_KEY]: summary });
    setCurrentDetails(detailsText(summary));
  }

  /** Writes the status file now. */
  async file(): Promise<void> {
    if (!this.state.frozen) return;
    const { spec } = this.state;
    try {
      const { error } = await mirrorActivities.mirrorStatus.executeWithOptions({ summary: `status file ${spec.statusFile}`, taskQueue: spec.taskQueue }, [
        { migration: spec.id, statusFile: spec.statusFile },
      ]);
      this.state.statusFileError = error;
    } catch (error) {
      this.state.statusFileError = error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : String(error);
    }
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      await condition(() => this.state.dirty || this.stopped);
      if (this.stopped) return;
      this.state.dirty = false;
      this.memo();
      await this.file();
      await condition(() => this.stopped, EVERY_MS);
    }
  }
}
