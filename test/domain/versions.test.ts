import assert from 'node:assert/strict';

import { damagesSharedBlobs, knowsRestoreReplica } from '../../src/domain/versions';

describe('versions', () => {
  it('before 21.7 do not know RESTORE REPLICA', () => {
    for (const version of ['18.16.1', '20.8.19.4', '21.6.9.7', '', 'no version']) assert.equal(knowsRestoreReplica(version), false, version);
    for (const version of ['21.7.1.7283', '21.7', '21.12.4.1', '26.7.2.1', '22.3.2.2-lts']) assert.equal(knowsRestoreReplica(version), true, version);
  });

  it('25.12, and no other, deletes blobs that zero-copy replicas share', () => {
    for (const version of ['25.12.1.649', '25.12.5.44', '25.12.8.9', '25.12.8.9-altinity']) assert.equal(damagesSharedBlobs(version), true, version);
    for (const version of ['25.11.2.24', '25.1.12.3', '26.1.2.11', '26.7.2.1', '2.5.12', '']) assert.equal(damagesSharedBlobs(version), false, version);
  });
});
