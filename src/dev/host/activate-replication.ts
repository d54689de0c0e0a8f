import fs from 'node:fs';

/**
 * Makes replicas of the embedded engine really active, for development only.
 *
 * The embedded engine never sets its interserver address (ClickHouse issue 78632), so
 * `Context::getInterserverIOAddress()` throws, and no replica ever leaves readonly; and where a
 * replica needs a part of another, it crashes for want of credentials. This writes replacements of
 * three small functions into this process's own memory: the address is `127.0.0.1:port`, the
 * credentials are empty, the scheme is `http`. Nothing on disk changes. interserver.ts answers there.
 */

/** Where a function lies, and its first bytes. */
interface Place {
  address: number;
  firstBytes: string;
}

/** The functions of `DB::Context` for each engine build this was tried on, by GNU build id. */
const KNOWN_BUILDS: Readonly<Record<string, { address: Place; credentials: Place; scheme: Place }>> = {
  // @chdb/lib-linux-x64-gnu 26.7.3-stable.1
  d3d8f5517577ad52775b52318a193784b2fb5317: {
    credentials: { address: 0x14_17_c9_40, firstBytes: '41574156534c8b3f' },
    address: { address: 0x14_17_c9_c0, firstBytes: '4156534883ec' },
    scheme: { address: 0x14_17_ca_c0, firstBytes: '488b0680b887010000' },
  },
};

const LIBRARY = 'libchdb';
const PT_NOTE = 4;
const NT_GNU_BUILD_ID = 3;

/** Whether replicas of this process can become active, and the reason in words. */
export interface Activation {
  active: boolean;
  note: string;
}

/**
 * Activates replication in this process. Call it after chdb has been imported (its library is
 * mapped then) and before the first session.
 *
 * Contract: never throws; with an unknown build, platform or a refused write nothing is changed
 * and the answer says why.
 *
 * @param port the interserver port that replicas register in ZooKeeper
 */
export function activateReplication(port: number): Activation {
  try {
    if (process.platform !== 'linux' || process.arch !== 'x64') {
      return inactive(`activation is known for linux-x64 only, this is ${process.platform}-${process.arch}`);
    }
    const library = mappedLibrary();
    const buildId = readBuildId(library.file);
    const known = KNOWN_BUILDS[buildId];
    if (known === undefined) {
      return inactive(`engine build ${buildId} is not known`);
    }
    patch(library.base, [
      { place: known.address, code: addressCode(port) },
      { place: known.credentials, code: credentialsCode() },
      { place: known.scheme, code: schemeCode() },
    ]);
    return { active: true, note: 'replicas are activated by a change to the engine in memory, for development only' };
  } catch (error) {
    return inactive(error instanceof Error ? error.message : String(error));
  }
}

function inactive(why: string): Activation {
  return { active: false, note: `replicas stay readonly: ${why}` };
}

/** The engine's library in this process: its file and where it begins in memory. */
function mappedLibrary(): { file: string; base: number } {
  const line = fs
    .readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((each) => each.includes(LIBRARY));
  if (line === undefined) {
    throw new Error(`${LIBRARY} is not loaded`);
  }
  return { file: line.slice(line.indexOf('/')), base: Number.parseInt(line, 16) };
}

/**
 * The GNU build id of a 64-bit little-endian ELF file, in hex.
 *
 * Source: the ELF specification, program headers and notes (`man 5 elf`).
 */
export function readBuildId(file: string): string {
  const fd = fs.openSync(file, 'r');
  try {
    const header = readAt(fd, 64, 0);
    const tableOffset = Number(header.readBigUInt64LE(32));
    const entrySize = header.readUInt16LE(54);
    for (let i = 0; i < header.readUInt16LE(56); i += 1) {
      const entry = readAt(fd, entrySize, tableOffset + i * entrySize);
      if (entry.readUInt32LE(0) === PT_NOTE) {
        const notes = readAt(fd, Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(8)));
        const id = findBuildId(notes);
        if (id !== undefined) return id;
      }
    }
  } finally {
    fs.closeSync(fd);
  }
  throw new Error(`${LIBRARY} has no build id`);
}

function findBuildId(notes: Buffer): string | undefined {
  const padded = (length: number): number => (length + 3) & ~3;
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameLength = notes.readUInt32LE(at);
    const valueLength = notes.readUInt32LE(at + 4);
    const value = at + 12 + padded(nameLength);
    if (notes.readUInt32LE(at + 8) === NT_GNU_BUILD_ID) {
      return notes.subarray(value, value + valueLength).toString('hex');
    }
    at = value + padded(valueLength);
  }
  return undefined;
}

function readAt(fd: number, length: number, position: number): Buffer {
  const buffer = Buffer.alloc(length);
  fs.readSync(fd, buffer, 0, length, position);
  return buffer;
}

interface Replacement {
  place: Place;
  code: Buffer;
}

/** All or nothing: no byte is written unless every function begins as expected. */
function patch(base: number, replacements: readonly Replacement[]): void {
  const memory = fs.openSync('/proc/self/mem', 'r+');
  try {
    for (const { place } of replacements) {
      const found = readAt(memory, place.firstBytes.length / 2, base + place.address).toString('hex');
      if (found !== place.firstBytes) {
        throw new Error(`the engine's code is not the expected one (${found})`);
      }
    }
    for (const { place, code } of replacements) {
      fs.writeSync(memory, code, 0, code.length, base + place.address);
    }
  } finally {
    fs.closeSync(memory);
  }
}

/** `std::pair<std::string, UInt16>` returned through rdi: a libc++ short string, its length in the 24th byte, then the port. */
function addressCode(port: number): Buffer {
  const host = Buffer.from('127.0.0.1');
  return Buffer.concat([
    Buffer.from([0x48, 0xb8]), // mov rax, "127.0.0."
    host.subarray(0, 8),
    Buffer.from([0x48, 0x89, 0x07]), // mov [rdi], rax
    Buffer.from([0x48, 0xc7, 0x47, 0x08]), // mov qword [rdi+8], "1"
    host.subarray(8),
    Buffer.from([0, 0, 0]),
    Buffer.from([0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, host.length]), // mov rax, length << 56
    Buffer.from([0x48, 0x89, 0x47, 0x10]), // mov [rdi+16], rax
    Buffer.from([0x66, 0xc7, 0x47, 0x18, port & 0xff, port >> 8]), // mov word [rdi+24], port
    Buffer.from([0x48, 0x89, 0xf8, 0xc3]), // mov rax, rdi; ret
  ]);
}

/** `std::shared_ptr<const InterserverCredentials>` in rax and rdx: an object whose user and password are empty strings (zeros), not counted. */
function credentialsCode(): Buffer {
  const emptyObject = Buffer.alloc(72);
  return Buffer.concat([
    Buffer.from([0x48, 0x8d, 0x05, 0x09, 0, 0, 0]), // lea rax, [rip+9]: the object below
    Buffer.from([0x31, 0xd2, 0xc3]), // xor edx, edx; ret
    Buffer.alloc(6, 0xcc), // up to a multiple of 16
    emptyObject,
  ]);
}

/** `std::string` returned through rdi: the short string "http". */
function schemeCode(): Buffer {
  return Buffer.from([
    ...[0x48, 0xc7, 0x07, ...Buffer.from('http')], // mov qword [rdi], "http"
    ...[0x48, 0xc7, 0x47, 0x08, 0, 0, 0, 0], // mov qword [rdi+8], 0
    ...[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 4], // mov rax, 4 << 56
    ...[0x48, 0x89, 0x47, 0x10], // mov [rdi+16], rax
    ...[0x48, 0x89, 0xf8, 0xc3], // mov rax, rdi; ret
  ]);
}
