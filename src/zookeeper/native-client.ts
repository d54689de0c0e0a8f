import ZooKeeper from 'zookeeper';

/** A node's stat as the binding gives it: zxids as doubles, the owner in hex, `'0'` for a persistent node. */
export interface NativeStat {
  czxid: number;
  mzxid: number;
  pzxid: number;
  version: number;
  cversion: number;
  numChildren: number;
  ephemeralOwner: string;
  dataLength: number;
  /** Milliseconds since 1970, as a date or a number. */
  ctime: Date | number;
}

/**
 * The binding underneath the package's class. We call it directly: the package's own methods format every call's arguments for a log
 * that is switched off, which cost a third of the client's time in the deletion of many nodes.
 *
 * Each request method returns 0 when the request was queued, after which its callback is called exactly once; with any other
 * result it never is.
 */
export interface NativeClient {
  init(config: NativeConfig): unknown;
  close(): void;
  /** See {@link isCutOff}. */
  readonly state: number;
  readonly client_id: string;
  readonly client_password: string;
  a_create(path: string, data: Buffer | string, flags: number, callback: (rc: number, error: string, path: string) => void): number;
  a_exists(path: string, watch: boolean, callback: (rc: number, error: string, stat: NativeStat | null) => void): number;
  a_get(path: string, watch: boolean, callback: (rc: number, error: string, stat: NativeStat | null, data: Buffer | null) => void): number;
  a_get_children(path: string, watch: boolean, callback: (rc: number, error: string, children: string[] | null) => void): number;
  a_get_children2(
    path: string,
    watch: boolean,
    callback: (rc: number, error: string, children: string[] | null, stat: NativeStat | null) => void,
  ): number;
  a_set(path: string, data: Buffer | string, version: number, callback: (rc: number, error: string, stat: NativeStat | null) => void): number;
  a_delete_(path: string, version: number, callback: (rc: number, error: string) => void): number;
  a_sync(path: string, callback: (rc: number, error: string, path: string) => void): number;
  add_auth(scheme: string, auth: string, callback: (rc: number, error: string) => void): number;
}

export interface NativeConfig {
  connect: string;
  timeout: number;
  debug_level: number;
  host_order_deterministic: boolean;
  response_counter_limit: number;
  client_id?: string;
  client_password?: string;
}

/**
 * True when the client has no connection and is about to make one by itself: 0 after it found one broken, 999
 * (`ZOO_NOTCONNECTED_STATE`) after it could not send on one, of which it tells nobody (`nonblocking_send` in zookeeper.c).
 */
export function isCutOff(client: NativeClient): boolean {
  return client.state === 0 || client.state === 999;
}

export const ephemeralFlag = 1;

export interface NativeEvents {
  /** Connected, with a session. */
  onConnect: () => void;
  /** The connection was lost; every outstanding request is about to get a lost reply. */
  onConnecting: () => void;
  /** The client is dead, by our own close or with the code of an expired or refused session. */
  onClose: (code: number) => void;
}

/** A native client that is not connected yet: call `init` on it. */
export function createNativeClient(events: NativeEvents): NativeClient {
  const client = new ZooKeeper({});
  client.on('connect', events.onConnect);
  client.on('connecting', events.onConnecting);
  client.on('close', (_client: unknown, code: number) => {
    events.onClose(code);
  });
  return client.native as NativeClient;
}
