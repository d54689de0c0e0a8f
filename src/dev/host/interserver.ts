import fs from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileHash } from './city-hash';
import type { Engine } from './engine';
import { readPartChecksums } from './part-checksums';

/**
 * The server's side of fetching a part from another replica, which the embedded engine lacks (it
 * has the client's side): the engine of another host asks here for a part, and gets its files.
 * A part on an object storage is sent as it is there (zero-copy) to a replica that asks for that,
 * else with its contents.
 *
 * Source: ClickHouse's `src/Storages/MergeTree/DataPartsExchange.cpp`, protocol version 8.
 */
export function createInterserver(engine: Engine): http.Server {
  return http.createServer({ requestTimeout: 0 }, (request, response) => {
    request.resume();
    answer(engine, new URL(request.url ?? '/', 'http://127.0.0.1'), response).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });
}

/** With part type, UUID, projections and metadata version: what 21.8 and later understand. */
const PROTOCOL = 8;
const NO_TTL = 'ttl format version: 1\n{}';
/** Written by the replica itself, and for itself only. */
const NOT_SENT = new Set(['txn_version.txt']);
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

interface Part {
  path: string;
  part_type: string;
  uuid: string;
  /** 1 where the part's files on this host only say where their blobs are. */
  remote: number;
}

async function answer(engine: Engine, url: URL, response: http.ServerResponse): Promise<void> {
  const endpoint = url.searchParams.get('endpoint') ?? '';
  const part = await findPart(engine, endpoint, url.searchParams.get('part') ?? '');
  // The kinds of disk on which the asking replica has zero-copy, by name.
  const zeroCopy = part.remote === 1 ? url.searchParams.get('remote_fs_metadata')?.split(', ')[0] : undefined;
  const body = await encodePart(part, zeroCopy !== undefined);
  response.writeHead(200, {
    'set-cookie': [`server_protocol_version=${PROTOCOL}`, ...(zeroCopy === undefined ? [] : [`remote_fs_metadata=${zeroCopy}`])],
    'content-length': body.byteLength,
  });
  response.end(body);
}

/** The endpoint names a replica in ZooKeeper: `DataPartsExchange:<path>/replicas/<name>`. */
async function findPart(engine: Engine, endpoint: string, name: string): Promise<Part> {
  const [, table, replica] = /^DataPartsExchange:[^/]*(\/.+)\/replicas\/([^/]+)$/.exec(endpoint) ?? [];
  if (table === undefined || replica === undefined) {
    throw new Error(`unknown endpoint ${endpoint}`);
  }
  const result = await engine.run({
    sql: `SELECT p.path AS path, p.part_type AS part_type, toString(p.uuid) AS uuid, d.type = 'ObjectStorage' AS remote
      FROM system.parts AS p
      INNER JOIN system.replicas AS r ON p.database = r.database AND p.table = r.table
      LEFT JOIN system.disks AS d ON d.name = p.disk_name
      WHERE r.zookeeper_path = {table:String} AND r.replica_name = {replica:String} AND p.name = {name:String}`,
    ...{ insert: false, queryId: 'interserver', format: 'JSONEachRow' },
    settings: { param_table: escape(table), param_replica: escape(replica), param_name: escape(name) },
  });
  const [line] = Buffer.from(result.bytes).toString('utf8').split('\n');
  if (line === undefined || line === '') {
    throw new Error(`Code: 232. DB::Exception: No part ${name} in table. (NO_SUCH_DATA_PART)`);
  }
  return JSON.parse(line) as Part;
}

/** Query parameters are read as tab-separated values. */
function escape(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n');
}

async function encodePart(part: Part, zeroCopy: boolean): Promise<Buffer> {
  const { files, projections } = await readFolder(part.path);
  const contents = part.remote === 1 ? await readBlobs(files) : files;
  const ttl = contents.get('ttl.txt')?.toString('utf8') ?? NO_TTL;
  const total = [...contents.values()].reduce((sum, content) => sum + content.length, 0);
  const encode = async (own: Files): Promise<Buffer> => {
    if (zeroCopy) return encodeFiles(new Map([...own].map(([name, content]) => [name, unshared(content)])), new Map());
    const sent = part.remote === 1 ? await readBlobs(own) : own;
    return encodeFiles(sent, readPartChecksums(sent.get('checksums.txt') ?? Buffer.alloc(0)));
  };
  const encoded = projections.map(async ({ name, files: own }) => Buffer.concat([text(name), await encode(own)]));
  return Buffer.concat([
    ...[uint64(total), text(ttl), text(part.part_type), Buffer.from(part.uuid === '' ? NIL_UUID : part.uuid), uint64(projections.length)],
    // What zero-copy knows a part by: the blob of its checksums.
    ...(zeroCopy ? [text(parseBlobs(files.get('checksums.txt'))[0] ?? '')] : []),
    ...(await Promise.all(encoded)),
    await encode(files),
  ]);
}

type Files = ReadonlyMap<string, Buffer>;

/** A part's files, and those of its projections, which lie in folders below it. */
async function readFolder(folder: string): Promise<{ files: Files; projections: { name: string; files: Files }[] }> {
  const files = new Map<string, Buffer>();
  const projections: { name: string; files: Files }[] = [];
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    const below = path.join(folder, entry.name);
    if (entry.isDirectory()) projections.push({ name: path.basename(entry.name, '.proj'), files: (await readFolder(below)).files });
    else if (!NOT_SENT.has(entry.name)) files.set(entry.name, await fs.readFile(below));
  }
  return { files, projections };
}

function encodeFiles(files: Files, checksums: ReadonlyMap<string, Buffer>): Buffer {
  const encoded = [...files].flatMap(([name, content]) => [text(name), uint64(content.length), content, checksums.get(name) ?? fileHash(content)]);
  return Buffer.concat([uint64(files.size), ...encoded]);
}

/**
 * A file on an object storage, as it is on the host: version, "count, size", a line "size, blob" for
 * each blob, the number of further hard links, whether it is read-only.
 * Source: ClickHouse's `src/Disks/DiskObjectStorage/MetadataStorages/Local/DiskObjectStorageMetadata.cpp`.
 */
function parseBlobs(metadata: Buffer | undefined): string[] {
  const [, counts = '0', ...lines] = (metadata ?? Buffer.alloc(0)).toString('utf8').split('\n');
  return lines.slice(0, Number.parseInt(counts, 10)).map((line) => line.slice(line.indexOf('\t') + 1));
}

/** The same metadata with no further hard links: those are this host's own. */
function unshared(metadata: Buffer): Buffer {
  const lines = metadata.toString('utf8').split('\n');
  lines[2 + parseBlobs(metadata).length] = '0';
  return Buffer.from(lines.join('\n'));
}

async function readBlobs(files: Files): Promise<Files> {
  const contents = new Map<string, Buffer>();
  for (const [name, metadata] of files) {
    contents.set(name, Buffer.concat(await Promise.all(parseBlobs(metadata).map((blob) => fs.readFile(blob)))));
  }
  return contents;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** A string with its length before it, seven bits a byte. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  const length: number[] = [];
  for (let left = bytes.length; ; left = Math.floor(left / 128)) {
    if (left < 128) {
      return Buffer.concat([Buffer.from([...length, left]), bytes]);
    }
    length.push((left % 128) | 0x80);
  }
}
