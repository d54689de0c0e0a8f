import assert from 'node:assert/strict';

import { blobOfPath, countLocks, hasPart, isAmbiguous, kindsOf, locksOf, outermostParts, type PartBlobs, sortLocks, tableSetting, versionFault, type ZeroCopyLock } from '../../src/domain/zero-copy';

function lock(part: string, blob: string, replica: string): ZeroCopyLock {
  return { top: '/locks/id', part, blob, replica, legacy: false };
}

describe('zero-copy locks', () => {
  const locks = [lock('0_0_0_0', 'a', 'r1'), lock('0_0_0_0', 'a', 'r2'), lock('0_0_0_0', 'b', 'r1'), lock('1_0_0_0', 'c', 'r1'), lock('1_0_0_0', 'c', 'r10')];

  const onDisk: PartBlobs = new Map([['a', new Set(['0_0_0_0'])], ['c', new Set(['detached/1_0_0_0'])], ['d', new Set(['2_0_0_0', 'detached/ignored_3_0_0_0'])]]);

  it('of a replica are those on its parts, and of no other replica or part', () => {
    assert.deepEqual(locksOf(locks, 'r1', new Set(['1_0_0_0']), undefined), [lock('1_0_0_0', 'c', 'r1')]);
    assert.deepEqual(locksOf(locks, 'r2', new Set(['1_0_0_0']), undefined), []);
    assert.deepEqual(locksOf(locks, 'r1', new Set(), onDisk), []);
  });

  it('are told apart by the blobs on the host, also where the own lock is the one that is missing', () => {
    const own = locksOf(locks, 'r1', new Set(['0_0_0_0', '1_0_0_0']), undefined);
    assert.ok(isAmbiguous(own));
    assert.ok(!isAmbiguous(locksOf(locks, 'r2', new Set(['0_0_0_0']), undefined)));
    assert.deepEqual(locksOf(locks, 'r1', new Set(['0_0_0_0', '1_0_0_0']), onDisk), [lock('0_0_0_0', 'a', 'r1'), lock('1_0_0_0', 'c', 'r1')]);
    assert.deepEqual(locksOf([lock('0_0_0_0', 'b', 'r1')], 'r1', new Set(['0_0_0_0']), onDisk), []);
  });

  it('are of a part on the very blob that it has, whatever reason stands before its name in detached/', () => {
    assert.ok(hasPart(onDisk, { part: '3_0_0_0', blob: 'd' }));
    assert.ok(hasPart(onDisk, { part: '2_0_0_0', blob: 'd' }));
    assert.ok(!hasPart(onDisk, { part: '0_0_0_0', blob: 'd' }));
    assert.ok(!hasPart(onDisk, { part: '0_0_0', blob: 'a' }));
  });

  it("that none of the replicas needs are another shard's, perhaps another shard's, or nobody's", () => {
    const holders = [{ replica: 'r1', parts: new Set(['0_0_0_0', '1_0_0_0', '2_0_0_0', '3_0_0_0']), blobs: onDisk }, { replica: 'r2', parts: new Set(['0_0_0_0']), blobs: undefined }];
    const stale = lock('9_9_9_0', 'a', 'r1');
    const renamed = lock('1_0_0_0', 'a', 'r1');
    assert.deepEqual(sortLocks([...locks, stale, renamed, lock('0_0_0_0', 'x', 'r2'), lock('7_0_0_0', 'x', 'r2')], holders), {
      foreign: [lock('1_0_0_0', 'c', 'r10')],
      doubtful: [lock('0_0_0_0', 'b', 'r1')],
      leaked: [stale, renamed, lock('7_0_0_0', 'x', 'r2')],
    });
  });

  it('are counted for each part on the blob that the host has, by any replica', () => {
    assert.deepEqual(countLocks(locks, ['0_0_0_0', '1_0_0_0', '2_0_0_0'], onDisk), [{ replicas: 2, parts: 2 }, { replicas: 0, parts: 1 }]);
    assert.deepEqual(countLocks(locks, ['0_0_0_0'], new Map([['b', new Set(['0_0_0_0'])]])), [{ replicas: 1, parts: 1 }]);
    assert.deepEqual(countLocks(locks, ['0_0_0_0'], undefined), [{ replicas: 2, parts: 1 }]);
    assert.deepEqual(countLocks(locks, [], onDisk), []);
  });

  it('lie in a node for each kind of disk', () => {
    const at = (top: string, legacy = false): ZeroCopyLock => ({ ...lock('0_0_0_0', 'a', 'r1'), top, legacy });
    assert.deepEqual(kindsOf([at('/x/zero_copy_s3/id'), at('/x/zero_copy_hdfs/id'), at('/x/zero_copy_s3/id'), at('/table/zero_copy_old/shared', true)]), ['zero_copy_hdfs', 'zero_copy_s3']);
  });

  it('name a blob by its path', () => {
    assert.equal(blobOfPath('bucket/abc/def'), 'bucket_abc_def');
  });
});

describe('parts to be brought back', () => {
  it('are not those that another one contains', () => {
    assert.deepEqual(outermostParts(['all_1_1_0', 'all_2_2_0', 'all_1_2_1', 'all_3_3_0']), ['all_1_2_1', 'all_3_3_0']);
    assert.deepEqual(outermostParts(['0_0_0_0', '0_0_0_0_1', '1_0_0_0']), ['0_0_0_0_1', '1_0_0_0']);
  });

  it('have the name of a part', () => {
    assert.deepEqual(outermostParts(['broken_all_1_1_0', 'all_1_1_0', 'tmp', 'all_1_1']), ['all_1_1_0']);
  });
});

describe("a table's own setting", () => {
  const name = 'allow_remote_fs_zero_copy_replication';

  it('is read from its SETTINGS alone', () => {
    assert.equal(tableSetting(`CREATE TABLE d.t (x UInt8) ENGINE = ReplicatedMergeTree('/p', 'r') ORDER BY x SETTINGS a = 1, ${name} = 0`, name), '0');
    assert.equal(tableSetting(`CREATE TABLE d.t (x UInt8 COMMENT 'SETTINGS ${name} = 1') ENGINE = MergeTree ORDER BY x`, name), undefined);
    assert.equal(tableSetting(`CREATE TABLE d.t (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS a = 1 COMMENT '${name} = 1'`, name), undefined);
    assert.equal(tableSetting("CREATE TABLE d.t (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS b = 'it''s', remote_fs_zero_copy_zookeeper_path = '/other'", 'remote_fs_zero_copy_zookeeper_path'), '/other');
  });
});

describe('versions', () => {
  it('that delete shared blobs are known', () => {
    assert.equal(versionFault('25.12.3.21'), 'deletes-shared-blobs');
    assert.equal(versionFault('24.8.1.1'), 'deletes-unlocked-blobs');
    for (const version of ['25.1.1.1', '25.11.6.9', '26.2.1.1', '26.7.2']) assert.equal(versionFault(version), undefined, version);
  });
});
