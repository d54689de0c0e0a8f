/** What went wrong, by the client's numeric code (see {@link errorFromCode}), never by its text. */
export const ZooKeeperErrorCode = {
  /** No session could be opened in time: nothing listens, the name does not resolve, or nothing answers. */
  unreachable: 'UNREACHABLE',
  /** The connection was lost and did not come back in time. Whether the request was carried out is not known. */
  connectionLoss: 'CONNECTION_LOSS',
  /** The session has expired: its ephemeral nodes are gone. */
  sessionExpired: 'SESSION_EXPIRED',
  /** Connected, but no answer in time. Whether the request was carried out is not known. */
  timeout: 'TIMEOUT',
  noAuth: 'NO_AUTH',
  noNode: 'NO_NODE',
  nodeExists: 'NODE_EXISTS',
  notEmpty: 'NOT_EMPTY',
  badVersion: 'BAD_VERSION',
  /** A request above what the server reads (`jute.maxbuffer`). */
  packetTooBig: 'PACKET_TOO_BIG',
  badArguments: 'BAD_ARGUMENTS',
  /** Somebody else still works below the tree that is being deleted. */
  live: 'LIVE',
  other: 'OTHER',
} as const;
export type ZooKeeperErrorCode = (typeof ZooKeeperErrorCode)[keyof typeof ZooKeeperErrorCode];

const transientCodes: ReadonlySet<ZooKeeperErrorCode> = new Set<ZooKeeperErrorCode>([
  'UNREACHABLE',
  'CONNECTION_LOSS',
  'SESSION_EXPIRED',
  'TIMEOUT',
]);

/** The only error the functions of this folder throw (besides an abort signal's reason). Its message holds no secret. */
export class ZooKeeperError extends Error {
  override readonly name = 'ZooKeeperError';
  readonly code: ZooKeeperErrorCode;
  /** The full path on the ensemble, with the session's root. */
  readonly path: string | undefined;
  /** True when the same call may succeed later with nothing changed by an operator. */
  readonly transient: boolean;

  constructor(code: ZooKeeperErrorCode, message: string, options: { path?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.path = options.path;
    this.transient = transientCodes.has(code);
  }
}

/** The client's return codes: `enum ZOO_ERRORS` in the C client's zookeeper.h. The npm package exports only some of them. */
export const returnCode = {
  ok: 0,
  connectionLoss: -4,
  marshallingError: -5,
  operationTimeout: -7,
  badArguments: -8,
  invalidState: -9,
  noNode: -101,
  noAuth: -102,
  badVersion: -103,
  noChildrenForEphemerals: -108,
  nodeExists: -110,
  notEmpty: -111,
  sessionExpired: -112,
  authFailed: -115,
  closing: -116,
  sessionMoved: -118,
} as const;

/**
 * True for a code after which nobody knows whether the request was carried out: look again, then decide.
 */
export function isLostReply(rc: number): boolean {
  switch (rc) {
    case returnCode.connectionLoss:
    case returnCode.operationTimeout:
    case returnCode.invalidState:
    case returnCode.sessionExpired:
    case returnCode.closing:
    case returnCode.sessionMoved:
      return true;
    default:
      return false;
  }
}

/** The error for a return code of the client; `what` says what was tried, in words without secrets. */
export function errorFromCode(rc: number, what: string, path: string): ZooKeeperError {
  const [code, reason] = describe(rc);
  return new ZooKeeperError(code, `${what} ${path}: ${reason}`, { path });
}

function describe(rc: number): [ZooKeeperErrorCode, string] {
  switch (rc) {
    case returnCode.connectionLoss:
    case returnCode.invalidState:
    case returnCode.closing:
    case returnCode.sessionMoved:
      return ['CONNECTION_LOSS', 'the connection was lost'];
    case returnCode.operationTimeout:
      return ['TIMEOUT', 'the server did not answer'];
    case returnCode.sessionExpired:
      return ['SESSION_EXPIRED', 'the session has expired'];
    case returnCode.noAuth:
    case returnCode.authFailed:
      return ['NO_AUTH', 'not permitted by the access list of this node or its parent'];
    case returnCode.noNode:
      return ['NO_NODE', 'no such node, or its parent is missing'];
    case returnCode.nodeExists:
      return ['NODE_EXISTS', 'the node exists'];
    case returnCode.notEmpty:
      return ['NOT_EMPTY', 'the node has children'];
    case returnCode.badVersion:
      return ['BAD_VERSION', 'the node was changed meanwhile'];
    case returnCode.badArguments:
      return ['BAD_ARGUMENTS', 'not a valid path'];
    case returnCode.noChildrenForEphemerals:
      return ['BAD_ARGUMENTS', 'the parent is ephemeral and can have no children'];
    default:
      return ['OTHER', `the client answered ${String(rc)}`];
  }
}
