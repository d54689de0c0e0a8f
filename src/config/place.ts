import type { EnsembleSpec } from '../domain/spec';
import { normalizeConnect, normalizeRoot, sameServers } from './ensemble';

/** What a `zookeeper:` block says about places, the common one or a host's own. */
export interface PlaceKeys {
  readonly connect?: string | undefined;
  readonly root?: string | undefined;
  readonly after?: { readonly connect?: string | undefined; readonly root?: string | undefined } | undefined;
}

/** Where a host's metadata is, and where it must be. */
export interface Places {
  readonly zookeeper: EnsembleSpec;
  readonly after: EnsembleSpec;
}

/**
 * A host's places: its own keys over the common ones, key by key; what `after` leaves out stays. `after` is written exactly as
 * `zookeeper` is where both are one place.
 */
export function resolvePlaces(own: PlaceKeys, common: PlaceKeys): Places {
  const connect = normalizeConnect(own.connect ?? common.connect ?? '');
  const root = normalizeRoot(own.root ?? common.root ?? '');
  const laterConnect = normalizeConnect(own.after?.connect ?? common.after?.connect ?? connect);
  const laterRoot = normalizeRoot(own.after?.root ?? common.after?.root ?? root);
  return {
    zookeeper: { connect, root },
    after: { connect: sameServers(connect, laterConnect) ? connect : laterConnect, root: laterRoot },
  };
}
