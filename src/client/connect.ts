import { Client, Connection, isGrpcServiceError } from '@temporalio/client';
import type { ClientConnectConfig } from '@temporalio/envconfig';
import { loadClientConnectConfig } from '@temporalio/envconfig';

import { ClientError, errorText } from './errors';

/** Where Temporal is, as the flags say it; what is absent comes from `TEMPORAL_*` or the profile file. */
export interface TemporalOptions {
  /** `host:port`. */
  readonly address?: string;
  readonly namespace?: string;
  /** A profile of Temporal's own configuration file; `default` when absent. */
  readonly profile?: string;
  /** Who connects, as histories name it. @default the process and its host */
  readonly identity?: string;
  /** @default 5000 */
  readonly connectTimeoutMs?: number;
}

/** What a client and a worker connect with: pass the namespace to both. */
export interface TemporalConfig {
  readonly connectionOptions: ClientConnectConfig['connectionOptions'];
  readonly address: string;
  readonly namespace: string;
}

export interface TemporalConnection {
  readonly client: Client;
  readonly connection: Connection;
  readonly address: string;
  readonly namespace: string;
  /** Base address of the Web UI, where somebody knows it. */
  readonly ui?: string;
  close(): Promise<void>;
}

const GRPC_NOT_FOUND = 5;
const GRPC_PERMISSION_DENIED = 7;
const GRPC_UNAUTHENTICATED = 16;
const DEFAULT_ADDRESS = 'localhost:7233';
const DEFAULT_NAMESPACE = 'default';

/**
 * The connection's configuration from flags, `TEMPORAL_*` variables and the profile file, in this order. Contacts nothing.
 *
 * @throws {ClientError} TEMPORAL_CONFIG when the file or the profile cannot be read
 * @see https://docs.temporal.io/develop/environment-configuration
 */
export function temporalConfig(options: TemporalOptions = {}): TemporalConfig {
  const loaded = loadConfig(options.profile);
  const address = options.address ?? loaded.connectionOptions.address ?? DEFAULT_ADDRESS;
  return {
    connectionOptions: { ...loaded.connectionOptions, address },
    address,
    namespace: options.namespace ?? loaded.namespace ?? DEFAULT_NAMESPACE,
  };
}

/**
 * A client that has been seen to reach the server and the namespace.
 *
 * @throws {ClientError} within `connectTimeoutMs` (and as much again for the namespace) when it does not
 */
export async function connectTemporal(options: TemporalOptions = {}): Promise<TemporalConnection> {
  const { connectionOptions, address, namespace } = temporalConfig(options);
  const timeoutMs = options.connectTimeoutMs ?? 5000;
  const connection = await connect(connectionOptions, address, timeoutMs);
  try {
    await checkNamespace(connection, address, namespace, timeoutMs);
  } catch (error) {
    await connection.close();
    throw error;
  }
  const client = new Client({ connection, namespace, ...(options.identity === undefined ? {} : { identity: options.identity }) });
  return { client, connection, address, namespace, close: () => connection.close() };
}

function loadConfig(profile: string | undefined): ClientConnectConfig {
  try {
    return loadClientConnectConfig(profile === undefined ? {} : { profile });
  } catch (error) {
    // An empty file makes the loader stumble (envconfig 1.24.0): it says nothing, so it changes nothing.
    if (error instanceof TypeError && profile === undefined) return loadClientConnectConfig({ disableFile: true });
    throw new ClientError('TEMPORAL_CONFIG', `Temporal's connection settings cannot be read: ${errorText(error)}`, {
      next: 'look at TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE, or name the server with --address',
      cause: error,
    });
  }
}

async function connect(options: TemporalConfig['connectionOptions'], address: string, timeoutMs: number): Promise<Connection> {
  try {
    return await Connection.connect({ ...options, connectTimeout: timeoutMs });
  } catch (error) {
    throw refusal(error, address) ?? unreachable(error, address);
  }
}

async function checkNamespace(connection: Connection, address: string, namespace: string, timeoutMs: number): Promise<void> {
  try {
    await connection.withDeadline(Date.now() + timeoutMs, () => connection.workflowService.describeNamespace({ namespace }));
  } catch (error) {
    if (isGrpcServiceError(error) && Number(error.code) === GRPC_NOT_FOUND) {
      throw new ClientError('NAMESPACE_NOT_FOUND', `Temporal at ${address} has no namespace ${JSON.stringify(namespace)}`, {
        next: 'name another one with --namespace, or create it: temporal operator namespace create -n NAME',
        cause: error,
      });
    }
    throw refusal(error, address) ?? unreachable(error, address);
  }
}

function refusal(error: unknown, address: string): ClientError | undefined {
  if (!isGrpcServiceError(error)) return undefined;
  const code = Number(error.code);
  if (code !== GRPC_PERMISSION_DENIED && code !== GRPC_UNAUTHENTICATED) return undefined;
  return new ClientError('TEMPORAL_REFUSED', `Temporal at ${address} refuses this client: ${errorText(error)}`, {
    next: 'look at TEMPORAL_API_KEY, TEMPORAL_TLS_* and the profile file',
    cause: error,
  });
}

function unreachable(error: unknown, address: string): ClientError {
  return new ClientError('TEMPORAL_UNREACHABLE', `Temporal does not answer at ${address}: ${errorText(error)}`, {
    next: 'start it (ch-zk-migrate dev up has one), or name it with --address or TEMPORAL_ADDRESS',
    cause: error,
  });
}
