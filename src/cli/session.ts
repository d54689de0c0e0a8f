import type { Command } from 'commander';

import type { TemporalConnection } from '../client';
import { embeddedUi } from './embedded-ui';
import { type GlobalOptions, whoami } from './common';

export interface Session extends TemporalConnection {
  readonly json: boolean;
}

/** Connects as the command's options say, and closes the connection whatever happens. */
export async function withTemporal<T>(command: Command, use: (session: Session) => Promise<T>): Promise<T> {
  const { address, namespace, profile, json } = command.optsWithGlobals<GlobalOptions>();
  const { connectTemporal } = await import('../client.js');
  const connection = await connectTemporal({
    identity: whoami(),
    ...(address === undefined ? {} : { address }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(profile === undefined ? {} : { profile }),
  });
  try {
    const ui = process.env['TEMPORAL_UI_ADDRESS'] === undefined ? await embeddedUi(connection.address) : undefined;
    return await use({ ...connection, ...(ui === undefined ? {} : { ui }), json: json === true });
  } finally {
    await connection.close();
  }
}
