import { condition, patched, setCurrentDetails, upsertMemo } from '@temporalio/workflow';

import { RateMeter, stageDone } from '../domain/progress';
import { SUMMARY_MEMO_KEY } from '../domain/summary';
import { mirrorActivities } from './activities';
import { detailsText } from './details';
import type { MigrationState } from './state';

/** No more often than this while a migration goes on. */
const EVERY_MS = 2_000;
const MEMO_APART = 'the memo does not wait for the status file';

/** Keeps memo and status file up to date while something changes; both are copies, the history is the truth. */
export class Mirror {
  private stopped = false;
  private running: Promise<void> | undefined;
  /** By the workflow's own time, so that a replay finds the same. */
  private readonly meter = new RateMeter();

  constructor(private readonly state: MigrationState) {}

  start(): void {
    this.running = patched(MEMO_APART) ? this.loops() : this.loop();
  }

  /** Ends the loop, and waits for a write that is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  /** Writes the memo and the Web UI's details now. */
  memo(): void {
    const at = Date.now();
    const summary = this.state.summary(new Date(at).toISOString());
    const stage = stageDone(summary);
    if (stage !== undefined) this.meter.add(JSON.stringify([summary.phase, summary.aborting]), at, stage.done);
    upsertMemo({ [SUMMARY_MEMO_KEY]: summary });
    setCurrentDetails(detailsText(summary, this.meter));
  }

  /** Writes the status file now. */
  async file(): Promise<void> {
    if (!this.state.frozen) return;
    const { spec } = this.state;
    const { id, phase, outcome, waitingFor } = this.state.summary(new Date().toISOString());
    try {
      const { error } = await mirrorActivities.mirrorStatus.executeWithOptions({ summary: `status file ${spec.statusFile}`, taskQueue: spec.taskQueue }, [
        { migration: spec.id, statusFile: spec.statusFile, now: { id, phase, outcome, waitingFor } },
      ]);
      this.said(error);
    } catch (error) {
      this.said(error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : String(error));
    }
  }

  private said(error: string | undefined): void {
    if (error === this.state.statusFileError) return;
    this.state.statusFileError = error;
    this.state.touch();
  }

  /** A status file that takes long, or waits for a worker, holds up nobody who looks. */
  private async loops(): Promise<void> {
    const memo = (): Promise<void> => Promise.resolve(this.memo());
    await Promise.all([this.whenever(memo), this.whenever(() => this.file())]);
  }

  /** As it was in migrations that began before {@link MEMO_APART}. */
  private async loop(): Promise<void> {
    await this.whenever(async () => {
      this.memo();
      await this.file();
    });
  }

  /** Copies once after each change, and no more often than every {@link EVERY_MS}. */
  private async whenever(copy: () => Promise<void>): Promise<void> {
    for (let seen = -1; !this.stopped; ) {
      await condition(() => this.state.changes !== seen || this.stopped);
      if (this.stopped) return;
      seen = this.state.changes;
      await copy();
      await condition(() => this.stopped, EVERY_MS);
    }
  }
}
