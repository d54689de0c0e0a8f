import assert from 'node:assert/strict';

import { damagesSharedBlobs, knowsRestoreReplica } from '../../src/domain/versions';

describe('versions', () => {
  it('before 21.7 do not know RESTORE REPLICA', () => {
    for (const version of ['18.16.1', '20.8.19.4', '21.6.9.7', '', 'no version']) assert.equal(knowsRestoreReplica(version), false, version);
    for (const version of ['21.7.1.7283', '21.7', '21.12.4.1', '26.7.2.1', '22.3.2.2-lts']) assert.equal(knowsRestoreReplica(version), true, version);
  });

  it('some of 25.8, 25.10 and 25.11, all of 25.12 and 26.1, and no other, delete blobs that zero-copy replicas share', () => {
    const bad = ['25.12.1.649', '25.12.5.44', '25.12.8.9', '25.12.8.9-altinity', '25.8.15.35', '25.8.28.1', '25.10.5.35', '25.11.7.33', '26.1.1.700', '26.1.2.11', '25.8.16.10001.altinitystable'];
    for (const version of bad) assert.equal(damagesSharedBlobs(version), true, version);
    const good = ['25.11.2.24', '25.1.12.3', '25.8.14.17', '25.9.3.48', '25.10.4.1', '26.2.1.1', '26.7.2.1', '2.5.12', '', '25.8.28.10001.altinitystable', '25.8.30.10000.altinitystable'];
    for (const version of good) assert.equal(damagesSharedBlobs(version), false, version);
  });
});
