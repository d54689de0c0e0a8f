import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';

import {
  type EnsembleSpec,
  type HostSpec,
  type MigrationSpec,
  PHASES,
  type RestartSpec,
  type RestartStrategy,
  type TableSelection,
  type TakeOverSpec,
  type TlsSpec,
} from '../domain/spec';
import { parseDuration } from './durations';
import { normalizeConnect, normalizeRoot } from './ensemble';
import { fillIn } from './field-checks';
import type { SpecOverrides } from './overrides';
import { resolvePlaces } from './place';
import { type HostFile, SPEC_DEFAULTS, type SpecFile } from './schema';

type RestartFile = NonNullable<HostFile['restart']>;
type TlsFile = NonNullable<HostFile['tls']>;

/**
 * A spec without faults, filled in with its defaults.
 *
 * @param file the spec's own file: paths of certificates are relative to it, and absolute afterwards
 * @param list what `tables.from` lists, where it is written
 * @param takeOver the run that is resumed, where one is
 */
export function resolveSpec(
  raw: SpecFile,
  file: string,
  overrides: SpecOverrides,
  list?: TableSelection['list'],
  takeOver?: TakeOverSpec,
): MigrationSpec {
  const { id, clickhouse, zookeeper } = raw;
  const gates = new Set([...(raw.pauseBefore ?? []), ...(overrides.pauseBefore ?? [])]);
  return {
    id,
    hosts: clickhouse.hosts.map((host) => resolveHost(host, raw, dirname(resolve(file)))),
    ...(zookeeper.digestEnv === undefined ? {} : { digestEnv: zookeeper.digestEnv }),
    auxiliary: Object.fromEntries(Object.entries(zookeeper.auxiliary ?? {}).map(([name, ensemble]) => [name, resolveEnsemble(ensemble)])),
    clean: zookeeper.clean ?? SPEC_DEFAULTS.clean,
    ...(zookeeper.after?.path === undefined ? {} : { newPath: zookeeper.after.path }),
    tables: resolveTables(raw, list),
    wave: clickhouse.restart?.wave ?? SPEC_DEFAULTS.wave,
    pauseBefore: PHASES.filter((phase) => gates.has(phase)),
    parallel: resolveParallel(raw.parallel),
    onFailure: raw.onFailure ?? SPEC_DEFAULTS.onFailure,
    holdOnFailureMs: parseDuration(raw.holdOnFailure ?? SPEC_DEFAULTS.holdOnFailure),
    preflight: { waitMs: parseDuration(raw.preflight?.wait ?? SPEC_DEFAULTS.preflightWait) },
    verify: { writable: raw.verify?.writable ?? SPEC_DEFAULTS.writable, blobs: raw.verify?.blobs ?? SPEC_DEFAULTS.blobs },
    ...resolveZeroCopy(raw),
    taskQueue: raw.taskQueue ?? SPEC_DEFAULTS.taskQueue,
    statusFile: overrides.statusFile ?? raw.statusFile ?? `status/${fileName(id)}.yaml`,
    allowMissingReplicas: [...new Set(overrides.allowMissingReplicas ?? [])],
    ...(takeOver === undefined ? {} : { takeOver }),
  };
}

function resolveHost(host: HostFile, { clickhouse, zookeeper, taskQueue }: SpecFile, directory: string): HostSpec {
  const passwordEnv = host.passwordEnv ?? clickhouse.passwordEnv;
  const tls = resolveTls({ ...clickhouse.tls, ...host.tls }, directory);
  return {
    name: host.name,
    url: new URL(host.url).origin,
    user: host.user ?? clickhouse.user ?? SPEC_DEFAULTS.user,
    ...(passwordEnv === undefined ? {} : { passwordEnv }),
    ...(tls === undefined ? {} : { tls }),
    restart: resolveRestart(host.restart ?? {}, clickhouse.restart ?? {}, host.name),
    ...resolvePlaces(host.zookeeper ?? {}, zookeeper),
    taskQueue: host.taskQueue ?? taskQueue ?? SPEC_DEFAULTS.taskQueue,
  };
}

function resolveRestart(own: RestartFile, common: RestartFile, host: string): RestartSpec {
  const strategy = strategyOf(own, host) ?? strategyOf(common, host) ?? { kind: 'none' };
  const filled = (command: readonly string[] | undefined) => command?.map((argument) => fillIn(argument, host));
  const reconfigure = filled(own.reconfigure ?? common.reconfigure);
  const reconfigureBack = filled(own.reconfigureBack ?? common.reconfigureBack);
  return {
    strategy,
    ...(reconfigure === undefined || strategy.kind === 'none' ? {} : { reconfigure }),
    ...(reconfigureBack === undefined || strategy.kind === 'none' ? {} : { reconfigureBack }),
    timeoutMs: parseDuration(own.timeout ?? common.timeout ?? SPEC_DEFAULTS.timeout),
  };
}

function strategyOf(restart: RestartFile, host: string): RestartStrategy | undefined {
  if (restart.command !== undefined) return { kind: 'command', command: restart.command.map((argument) => fillIn(argument, host)) };
  return (['sql', 'manual', 'none'] as const).filter((kind) => restart[kind] === true).map((kind) => ({ kind }))[0];
}

function resolveTls(tls: TlsFile, directory: string): TlsSpec | undefined {
  const files = Object.entries(tls).flatMap(([key, file]) => (file === undefined ? [] : [[key, resolve(directory, file)] as const]));
  return files.length === 0 ? undefined : Object.fromEntries(files);
}

function resolveEnsemble({ connect, root }: { connect: string; root?: string | undefined }): EnsembleSpec {
  return { connect: normalizeConnect(connect), root: normalizeRoot(root ?? SPEC_DEFAULTS.root) };
}

function resolveTables({ tables = {} }: SpecFile, list: TableSelection['list']): TableSelection {
  const { include, exclude, disk, zkPath } = tables;
  return {
    include: include ?? [],
    exclude: exclude ?? [],
    ...(disk === undefined ? {} : { disk }),
    ...(zkPath === undefined ? {} : { zkPath }),
    ...(list === undefined ? {} : { list }),
  };
}

function resolveZeroCopy({ zeroCopy }: SpecFile): Pick<MigrationSpec, 'zeroCopy'> {
  const blobs = zeroCopy?.blobs;
  if (blobs === undefined) return {};
  const { listingPrefix, listingTimeout } = SPEC_DEFAULTS;
  return { zeroCopy: { blobs: { command: blobs.command, prefix: blobs.prefix ?? listingPrefix, timeoutMs: parseDuration(blobs.timeout ?? listingTimeout) } } };
}

function resolveParallel(parallel: SpecFile['parallel']): MigrationSpec['parallel'] {
  const { detach, clean, restore } = SPEC_DEFAULTS.parallel;
  return { detach: parallel?.detach ?? detach, clean: parallel?.clean ?? clean, restore: parallel?.restore ?? restore };
}

/** An id as a file's name: as it is where every file system takes it, else made safe, with a part of its hash so that no two ids share one. */
function fileName(id: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(id)) return id;
  const hash = createHash('sha256').update(id).digest('hex').slice(0, 12);
  return `${id.replace(/[^A-Za-z0-9_-]+/g, '_').slice(0, 100)}-${hash}`;
}
