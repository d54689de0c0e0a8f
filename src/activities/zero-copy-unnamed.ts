import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';

import { clickHouseCode } from '../clickhouse/errors';
import type { ClickHouseHost } from '../clickhouse/host';
import { REFUSED } from '../clickhouse/pinned-settings';
import { MigrationError } from '../domain/failure';
import { NumberSet } from '../domain/number-set';
import { type BlobListing, type MigrationSpec, secretVariables } from '../domain/spec';
import { runForLines } from './command-lines';
import { type Connections, report } from './deps';
import type { Findings, InspectedHost } from './preflight';
import type { UnnamedBlobs } from './types';

const NAMES_SHOWN = 5;
/** Of the blobs that no host named before the listing so many are kept by name: some may be named after it. */
const NAMES_KEPT = 1_000;
const READ_TIMEOUT_MS = 3_600_000;
const TOLD_EVERY = 100_000;
const SLASH = 0x2f;

/** By six bytes of its SHA-256, a path is one of ten million others' by a chance of one in 28 million; it would not be reported then. */
const HASH_BYTES = 6;
const NAMED = `SELECT reinterpretAsUInt64(substring(SHA256(remote_path), 1, ${HASH_BYTES})) AS hash FROM system.remote_data_paths`;

export interface Listed {
  readonly hosts: readonly ClickHouseHost[];
  readonly listing: BlobListing;
  readonly secretEnvs: readonly string[];
}

/** One line of the listing that no host names. */
interface Candidates {
  readonly hashes: NumberSet;
  readonly names: { readonly name: string; readonly hash: number }[];
  readonly listed: number;
}

/**
 * The blobs that the spec's command lists and that no file of the hosts names, neither before the listing nor after it: what was written or
 * removed meanwhile is none of them. Nobody's, or somebody else's; they are told, and never removed.
 *
 * Memory: at most some 22 bytes for each path that the hosts name, and for each listed key that they do not (220 MB for ten million); keys
 * and paths themselves are not kept.
 *
 * @returns a fault in words when the command fails, or a host does not tell what it names: a report is no reason to stop
 * @throws MigrationError `ABORTED` when the activity was asked to stop
 */
export async function unnamedBlobs(connections: Connections, listed: Listed): Promise<UnnamedBlobs> {
  try {
    const found = await listUnnamed(connections, listed);
    if (typeof found === 'string') return { fault: found };
    const { hashes, names } = found;
    if (hashes.size === 0) return { blobs: 0, listed: found.listed, names: [] };
    const after = await namedBlobs(listed.hosts);
    const left = names.filter(({ hash }) => !after.has(hash)).map(({ name }) => name);
    const { redact } = connections.forCommand(listed.secretEnvs);
    return { blobs: await countMissing(hashes, after), listed: found.listed, names: left.sort().slice(0, NAMES_SHOWN).map(redact) };
  } catch (error) {
    if (error instanceof MigrationError && error.type === 'ABORTED') throw error;
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

/** What the command lists and no host named before; or what went wrong. */
async function listUnnamed(connections: Connections, { hosts, listing, secretEnvs }: Listed): Promise<Candidates | string> {
  const named = await namedBlobs(hosts);
  const hashes = new NumberSet();
  const names: Candidates['names'] = [];
  let listed = 0;
  let known = 0;
  report({ doing: 'listing the blobs of the object storage' });
  const fault = await runForLines(connections, { ...listing, secretEnvs }, (line) => {
    // The folder itself, as some storages list it, is no blob.
    if (line.length === 0 || line.at(-1) === SLASH) return;
    listed += 1;
    if (listed % TOLD_EVERY === 0) report({ doing: 'listing the blobs of the object storage', done: listed });
    const hash = createHash('sha256').update(listing.prefix).update(line).digest().readUIntLE(0, HASH_BYTES);
    if (named.has(hash)) {
      known += 1;
      return;
    }
    hashes.add(hash);
    if (names.length < NAMES_KEPT) names.push({ name: `${listing.prefix}${line.toString()}`, hash });
  });
  if (fault !== undefined) return `the command of zeroCopy.blobs failed: ${fault}`;
  if (known === 0 && named.size > 0) {
    return `of ${listed} keys that the command of zeroCopy.blobs lists not one is the remote_path of a file (system.remote_data_paths): look at what it lists, and at zeroCopy.blobs.prefix`;
  }
  return { hashes, names, listed };
}

async function countMissing(hashes: NumberSet, after: NumberSet): Promise<number> {
  let sum = 0;
  for (const some of hashes.missingIn(after)) {
    sum += some;
    await setImmediate();
  }
  return sum;
}

async function namedBlobs(hosts: readonly ClickHouseHost[]): Promise<NumberSet> {
  const named = new NumberSet();
  for (const host of hosts) {
    report({ doing: `reading which blobs ${host.name} names` });
    await readNamed(host, named);
  }
  return named;
}

/** What is frozen (`ALTER TABLE … FREEZE`) names blobs as well; a server that does not know the setting does not tell those. */
async function readNamed(host: ClickHouseHost, named: NumberSet): Promise<void> {
  const read = (settings: Record<string, number>): Promise<void> =>
    host.numbers(NAMED, { doing: 'reading which blobs its files name', timeoutMs: READ_TIMEOUT_MS, settings }, (hash) => {
      named.add(hash);
    });
  try {
    await read({ traverse_shadow_remote_data_paths: 1 });
  } catch (error) {
    if (!REFUSED.has(clickHouseCode(error) ?? 0)) throw error;
    await read({});
  }
}

/** Warns of blobs that no host names, where the spec has them listed. Their count goes on to the end of the run. */
export async function checkUnnamed(connections: Connections, spec: MigrationSpec, hosts: readonly InspectedHost[], found: Findings): Promise<number | undefined> {
  const listing = spec.zeroCopy?.blobs;
  // Those of a host that does not answer would count as nobody's.
  if (listing === undefined || hosts.length < spec.hosts.length) return undefined;
  const unnamed = await unnamedBlobs(connections, { hosts: hosts.map(({ server }) => server), listing, secretEnvs: secretVariables(spec) });
  if ('fault' in unnamed) {
    found.warn('ZERO_COPY_BLOBS_UNKNOWN', { host: '' }, `whether there are blobs that no host names is not known: ${unnamed.fault}`, 'nothing else depends on it; to try the command, run it where the worker runs, as the user that it has');
    return undefined;
  }
  const { blobs, listed, names } = unnamed;
  if (blobs > 0) {
    found.warn('ZERO_COPY_BLOBS_LEAKED', { host: '' }, `${blobs} of ${listed} listed blobs are named by no file of any host of the spec: ${names.join(', ')}${blobs > names.length ? ', …' : ''}`, 'left alone: they are nobody\'s, or of a server outside the spec, or of a part that is being written; see docs/zero-copy.md before you remove any');
  }
  return blobs;
}
