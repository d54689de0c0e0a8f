import fs from 'node:fs';

/**
 * Makes replicas of the embedded engine really active, for development only.
 *
 * The embedded engine never sets its interserver address (ClickHouse issue 78632), so
 * `Context::getInterserverIOAddress()` throws, and no replica ever leaves readonly. This writes a
 * replacement of that one function into this process's own memory: it answers `127.0.0.1:port`.
 * Nothing on disk changes. What still does not work afterwards is a fetch of a part from another
 * replica.
 */

/** Where the function lies, and its first bytes, for each engine build this was tried on. */
const KNOWN_BUILDS: Readonly<Record<string, { address: number; firstBytes: string }>> = {
  // @chdb/lib-linux-x64-gnu 26.7.3-stable.1
  d3d8f5517577ad52775b52318a193784b2fb5317: { address: 0x14_17_c9_c0, firstBytes: '4156534883ec' },
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
 * @param port the interserver port that replicas register in ZooKeeper; nothing listens on it
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
    patch(library.base + known.address, known.firstBytes, port);
    return { active: true, note: 'replicas are activated in memory, for development only; fetches between hosts do not work' };
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

function patch(at: number, firstBytes: string, port: number): void {
  const memory = fs.openSync('/proc/self/mem', 'r+');
  try {
    const found = readAt(memory, firstBytes.length / 2, at).toString('hex');
    if (found !== firstBytes) {
      throw new Error(`the engine's code is not the expected one (${found})`);
    }
    const code = replacement(port);
    fs.writeSync(memory, code, 0, code.length, at);
  } finally {
    fs.closeSync(memory);
  }
}

/** `std::pair<std::string, UInt16>` returned through rdi: a libc++ short string, its length in the 24th byte, then the port. */
function replacement(port: number): Buffer {
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
