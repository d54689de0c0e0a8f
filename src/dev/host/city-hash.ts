/**
 * CityHash128 with a seed, version 1.0.2: the checksum that ClickHouse sends after each file of a
 * part. Slow (some MB a second), for development only.
 *
 * Source: the algorithm of Google's CityHash 1.0.2 (Geoff Pike, Jyrki Alakuijala), as ClickHouse
 * uses it. Later versions give other values.
 */
export interface Hash128 {
  low: bigint;
  high: bigint;
}

const K0 = 0xc3a5c85c97cb3127n;
const K1 = 0xb492b66fbe98f273n;
const K2 = 0x9ae16a3b2f90404fn;
const K3 = 0xc949d7c7509e6557n;
const K_MUL = 0x9ddfea08eb382d69n;

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const rotate = (value: bigint, by: bigint): bigint => (by === 0n ? value : (value >> by) | u64(value << (64n - by)));
const shiftMix = (value: bigint): bigint => value ^ (value >> 47n);

function hash16(first: bigint, second: bigint): bigint {
  const a = shiftMix(u64((first ^ second) * K_MUL));
  return u64(shiftMix(u64((second ^ a) * K_MUL)) * K_MUL);
}

/** A text of up to 16 bytes. */
function hashShort(data: Buffer): bigint {
  const length = BigInt(data.length);
  if (data.length > 8) {
    const first = data.readBigUInt64LE(0);
    const last = data.readBigUInt64LE(data.length - 8);
    return hash16(first, rotate(u64(last + length), length)) ^ last;
  }
  if (data.length >= 4) {
    return hash16(length + (BigInt(data.readUInt32LE(0)) << 3n), BigInt(data.readUInt32LE(data.length - 4)));
  }
  if (data.length === 0) return K2;
  const y = BigInt(data.readUInt8(0) + (data.readUInt8(data.length >> 1) << 8));
  const z = BigInt(data.length + (data.readUInt8(data.length - 1) << 2));
  return u64(shiftMix(u64(y * K2) ^ u64(z * K3)) * K2);
}

/** Mixes 32 bytes into a pair. */
function mix32(data: Buffer, at: number, first: bigint, second: bigint): [bigint, bigint] {
  const [w, x, y, z] = [0, 8, 16, 24].map((offset) => data.readBigUInt64LE(at + offset)) as [bigint, bigint, bigint, bigint];
  const a = u64(first + w);
  const b = rotate(u64(second + a + z), 21n);
  const sum = u64(a + x + y);
  return [u64(sum + z), u64(b + rotate(sum, 44n) + a)];
}

/** Fewer than 128 bytes. */
function murmur(data: Buffer, seed: Hash128): Hash128 {
  const length = BigInt(data.length);
  let a = seed.low;
  let b = seed.high;
  let c: bigint;
  let d: bigint;
  if (data.length <= 16) {
    a = u64(shiftMix(u64(a * K1)) * K1);
    c = u64(b * K1 + hashShort(data));
    d = shiftMix(u64(a + (data.length >= 8 ? data.readBigUInt64LE(0) : c)));
  } else {
    c = hash16(u64(data.readBigUInt64LE(data.length - 8) + K1), a);
    d = hash16(u64(b + length), u64(c + data.readBigUInt64LE(data.length - 16)));
    a = u64(a + d);
    for (let at = 0, left = data.length - 16; left > 0; at += 16, left -= 16) {
      a = u64((a ^ u64(shiftMix(u64(data.readBigUInt64LE(at) * K1)) * K1)) * K1);
      b ^= a;
      c = u64((c ^ u64(shiftMix(u64(data.readBigUInt64LE(at + 8) * K1)) * K1)) * K1);
      d ^= c;
    }
  }
  a = hash16(a, c);
  b = hash16(d, b);
  return { low: a ^ b, high: hash16(b, a) };
}

/** Hashes a whole text, starting from a seed. */
export function cityHash128(data: Buffer, seed: Hash128): Hash128 {
  if (data.length < 128) return murmur(data, seed);
  let x = seed.low;
  let y = seed.high;
  let z = u64(BigInt(data.length) * K1);
  let v0 = u64(rotate(y ^ K1, 49n) * K1 + data.readBigUInt64LE(0));
  let v1 = u64(rotate(v0, 42n) * K1 + data.readBigUInt64LE(8));
  let w0 = u64(rotate(u64(y + z), 35n) * K1 + x);
  let w1 = u64(rotate(u64(x + data.readBigUInt64LE(88)), 53n) * K1);
  const rounds = Math.floor(data.length / 128) * 2;
  for (let round = 0, at = 0; round < rounds; round += 1, at += 64) {
    x = u64(rotate(u64(x + y + v0 + data.readBigUInt64LE(at + 16)), 37n) * K1) ^ w1;
    y = u64(rotate(u64(y + v1 + data.readBigUInt64LE(at + 48)), 42n) * K1) ^ v0;
    z = rotate(z ^ w0, 33n);
    [v0, v1] = mix32(data, at, u64(v1 * K1), u64(x + w0));
    [w0, w1] = mix32(data, at + 32, u64(z + w1), y);
    [x, z] = [z, x];
  }
  y = u64(y + rotate(w0, 37n) * K0 + z);
  x = u64(x + rotate(u64(v0 + z), 49n) * K0);
  for (let done = 0, left = data.length % 128; done < left; ) {
    done += 32;
    y = u64(rotate(u64(y - x), 42n) * K0 + v1);
    w0 = u64(w0 + data.readBigUInt64LE(data.length - done + 16));
    x = u64(rotate(x, 49n) * K0 + w0);
    w0 = u64(w0 + v0);
    [v0, v1] = mix32(data, data.length - done, v0, v1);
  }
  x = hash16(x, v0);
  y = hash16(y, w0);
  return { low: u64(hash16(u64(x + v1), w1) + y), high: hash16(u64(x + w1), u64(y + v1)) };
}

/** Blocks of this many bytes are hashed one after the other, each with the hash before it as its seed. */
const BLOCK = 2048;

/** The checksum of a file as ClickHouse's HashingWriteBuffer makes it: 16 bytes, the low half first. */
export function fileHash(data: Buffer): Buffer {
  let hash: Hash128 = { low: 0n, high: 0n };
  for (let at = 0; at < data.length; at += BLOCK) {
    hash = cityHash128(data.subarray(at, at + BLOCK), hash);
  }
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(hash.low, 0);
  bytes.writeBigUInt64LE(hash.high, 8);
  return bytes;
}
