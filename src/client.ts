/**
 * The typed way to migrations on a Temporal server: connecting, looking, starting. Needs no worker and no ClickHouse.
 * Each part is a module of its own under `client/`.
 */
export type { TemporalConfig, TemporalConnection, TemporalOptions } from './client/connect';
export { connectTemporal, temporalConfig } from './client/connect';
export type { DescribeOptions, MigrationDescription } from './client/describe';
export { describeMigration } from './client/describe';
export type { MigrationListing } from './client/list';
export { listMigrations } from './client/list';
export { isRunning } from './client/summary-of';
export type { ClientErrorCode } from './client/errors';
export { ClientError, errorText } from './client/errors';
export type { PendingActivity } from './client/pending';
export type { ResumeChoices } from './client/resume';
export { resumeInput, startResumed } from './client/resume';
export type { MigrationStartOptions, StartChoices } from './client/start-options';
export { initialSummary, migrationStartOptions } from './client/start-options';
export { escapeMarkdown } from './domain/markdown';
export type { WebUiOptions } from './client/web-ui';
export { webUiLink } from './client/web-ui';
