import assert from 'node:assert/strict';
import { cityHash128, fileHash } from '../../src/dev/host/city-hash';

/** Made with the C++ of CityHash 1.0.2: bytes 7 i + 1, seed (1, 2). */
const KNOWN: readonly (readonly [length: number, low: string, high: string])[] = [
  [0, '799922999140296290', '2989742228417784525'],
  [3, '11561127422687455355', '10908517282420919723'],
  [7, '5705734726232805024', '10340192767112870923'],
  [8, '1091824456201575068', '4218089593527565318'],
  [16, '10350817813450289353', '47862235672367070'],
  [17, '16033804487999824679', '7189844420118428772'],
  [40, '6214656818303975132', '10151627722420857356'],
  [127, '1064672692514427914', '11465651746887582220'],
  [128, '8888736266192011437', '5617191050012350619'],
  [200, '10705042916376568272', '4175066817523565012'],
  [300, '10108257414696947423', '5769954210541306554'],
  [2048, '2843855534180108275', '5945855956324485276'],
];

describe('the checksum of files that are sent between hosts', () => {
  for (const [length, low, high] of KNOWN) {
    it(`is CityHash 1.0.2 for ${length} bytes`, () => {
      const data = Buffer.from(Array.from({ length }, (_, i) => (7 * i + 1) % 256));
      assert.deepEqual(cityHash128(data, { low: 1n, high: 2n }), { low: BigInt(low), high: BigInt(high) });
    });
  }

  it('is chained over blocks of 2048 bytes, the low half first', () => {
    const data = Buffer.alloc(2049, 7);
    const first = cityHash128(data.subarray(0, 2048), { low: 0n, high: 0n });
    const both = cityHash128(data.subarray(2048), first);
    assert.equal(fileHash(data).readBigUInt64LE(0), both.low);
    assert.equal(fileHash(data).readBigUInt64LE(8), both.high);
  });
});
