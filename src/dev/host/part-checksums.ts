/**
 * Reads `checksums.txt` of a data part: the checksum of each of its files, so that they need not be
 * computed again.
 *
 * Source: ClickHouse's `src/Storages/MergeTree/MergeTreeDataPartChecksum.cpp` and
 * https://clickhouse.com/docs/data-compression/compression-in-clickhouse (compressed blocks),
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md.
 */

const HEADER = 'checksums format version: 4\n';
const BLOCK_CHECKSUM = 16;
const BLOCK_HEADER = 9;
const METHOD_NONE = 0x02;
const METHOD_LZ4 = 0x82;

/**
 * File name to its 16 bytes.
 *
 * @throws Error for a format this does not know
 */
export function readPartChecksums(content: Buffer): Map<string, Buffer> {
  if (content.toString('latin1', 0, HEADER.length) !== HEADER) {
    throw new Error('checksums.txt has an unknown format');
  }
  const reader = new Reader(decompress(content.subarray(HEADER.length)));
  const checksums = new Map<string, Buffer>();
  for (let left = reader.varint(); left > 0; left -= 1) {
    const name = reader.bytes(reader.varint()).toString('utf8');
    reader.varint();
    checksums.set(name, reader.bytes(16));
    const compressed = reader.bytes(1).readUInt8(0) === 1;
    if (compressed) {
      reader.varint();
      reader.bytes(16);
    }
  }
  return checksums;
}

/** ClickHouse's variable-length integers and strings. */
class Reader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  bytes(count: number): Buffer {
    this.#at += count;
    return this.#data.subarray(this.#at - count, this.#at);
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes(1).readUInt8(0);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
}

/** A sequence of compressed blocks. */
function decompress(content: Buffer): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < content.length; ) {
    const header = at + BLOCK_CHECKSUM;
    const method = content.readUInt8(header);
    const size = content.readUInt32LE(header + 1);
    const data = content.subarray(header + BLOCK_HEADER, header + size);
    if (method !== METHOD_LZ4 && method !== METHOD_NONE) {
      throw new Error(`checksums.txt is compressed by an unknown method ${method}`);
    }
    blocks.push(method === METHOD_NONE ? data : lz4(data, content.readUInt32LE(header + 5)));
    at = header + size;
  }
  return Buffer.concat(blocks);
}

function lz4(data: Buffer, size: number): Buffer {
  const out = Buffer.alloc(size);
  let from = 0;
  let to = 0;
  const length = (nibble: number): number => {
    let total = nibble;
    for (let byte = 255; nibble === 15 && byte === 255; total += byte) {
      byte = data.readUInt8(from);
      from += 1;
    }
    return total;
  };
  while (from < data.length) {
    const token = data.readUInt8(from);
    from += 1;
    const literals = length(token >> 4);
    to += data.copy(out, to, from, from + literals);
    from += literals;
    if (from >= data.length) break;
    const offset = data.readUInt16LE(from);
    from += 2;
    // Byte by byte: a match may reach into what it writes.
    for (let left = length(token & 15) + 4; left > 0; left -= 1, to += 1) {
      out.writeUInt8(out.readUInt8(to - offset), to);
    }
  }
  return out;
}
