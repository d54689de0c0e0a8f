import type { Command } from 'commander';

import type { TemporalConnection } from '../client';
import type { GlobalOptions } from './common';

export interface Session extends TemporalConnection {
  readonly json: boolean;
}

/** Connects as the command's options say, and closes the connection whatever happens. */
export async function withTemporal<T>(command: Command, use: (session: Session) => Promise<T>): Promise<T> {
  const { address, namespace, profile, json } = command.optsWithGlobals<GlobalOptions>();
  const { connectTemporal } = await import('../client.js');
  const connection = await connectTemporal({
    ...(address === undefined ? {} : { address }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(profile === undefined ? {} : { profile }),
  });
  try {
    return await use({ ...connection, json: json === true });
  } finally {
    await connection.close();
  }
}
