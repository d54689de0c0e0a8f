/** What went wrong between this program and Temporal, or with a migration that was asked for. */
export type ClientErrorCode =
  | 'TEMPORAL_CONFIG'
  | 'TEMPORAL_UNREACHABLE'
  | 'TEMPORAL_REFUSED'
  | 'NAMESPACE_NOT_FOUND'
  | 'NOT_FOUND'
  | 'NOT_A_MIGRATION'
  | 'ALREADY_RUNNING'
  | 'NOT_RUNNING'
  | 'NO_ANSWER'
  | 'DRY_RUN_FAILED'
  | 'REJECTED';

/** Thrown by everything under `client`: the message says what and where, `next` is the command to type. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly next?: string;

  constructor(
    readonly code: ClientErrorCode,
    message: string,
    options: { readonly next?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.next !== undefined) this.next = options.next;
  }
}

/** The words of any thrown thing, without a stack. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const details = (error as { details?: unknown }).details;
  return typeof details === 'string' && details !== '' ? details : error.message;
}
