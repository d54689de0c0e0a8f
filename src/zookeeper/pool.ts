import { ZooKeeperSession, type ZooKeeperOptions } from './session';

export type ZooKeeperPoolOptions = Omit<ZooKeeperOptions, 'connect' | 'root'>;

export interface ZooKeeperPool {
  /**
   * A view of the one session with this ensemble, under this root. Do not close it, and do not keep it longer than a task: after a failure for good the
   * next call opens another.
   *
   * @throws ZooKeeperError `UNREACHABLE`, `NO_AUTH`, `BAD_ARGUMENTS`
   */
  session(connect: string, root: string): Promise<ZooKeeperSession>;
  /** Ends all sessions. Always returns. */
  close(): Promise<void>;
}

/** Keeps one session per connect string, shared by concurrent callers; a session reconnects and reopens by itself. */
export function createZooKeeperPool(options: ZooKeeperPoolOptions = {}): ZooKeeperPool {
  const sessions = new Map<string, Promise<ZooKeeperSession>>();

  const open = (connect: string): Promise<ZooKeeperSession> => {
    const opening = ZooKeeperSession.open({ ...options, connect, root: '' });
    sessions.set(connect, opening);
    // A session that could not be opened is not kept; the caller gets the error.
    opening.catch(() => {
      if (sessions.get(connect) === opening) sessions.delete(connect);
    });
    return opening;
  };

  return {
    async session(connect, root) {
      let session = await (sessions.get(connect) ?? open(connect));
      if (session.fatal !== undefined) {
        sessions.delete(connect);
        await session.close();
        session = await (sessions.get(connect) ?? open(connect));
      }
      return session.withRoot(root);
    },
    async close() {
      const all = [...sessions.values()];
      sessions.clear();
      await Promise.allSettled(all.map(async (opening) => (await opening).close()));
    },
  };
}
