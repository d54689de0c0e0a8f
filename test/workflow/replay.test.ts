/**
 * Histories replay against the workflow as it is now. A history that was recorded once is kept in `histories/`: the change that breaks it
 * would break every migration that runs while a worker is upgraded. `RECORD_HISTORY=1` records it again.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { Client, Connection } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { Worker } from '@temporalio/worker';

import { WORKFLOW_BUNDLE } from '../../src/bundle';
import { Ground, someTables } from '../support/stack';

const HISTORIES = resolve(__dirname, '../../../test/workflow/histories');

const { History } = temporal.api.history.v1;

/** The part of a history's JSON that tests change. */
interface HistoryJson {
  events: { eventId: string; eventType: string; activityTaskScheduledEventAttributes?: { activityType: { name: string } } }[];
}

async function replay(history: unknown): Promise<void> {
  await Worker.runReplayHistory({ workflowBundle: { codePath: WORKFLOW_BUNDLE } }, History.fromObject(history as object), 'replayed');
}

function recorded(): { name: string; read: () => HistoryJson }[] {
  return readdirSync(HISTORIES)
    .filter((name) => name.endsWith('.json'))
    .map((name) => ({ name, read: () => JSON.parse(readFileSync(join(HISTORIES, name), 'utf8')) as HistoryJson }));
}

describe('replay', function () {
  this.timeout(300_000);

  it('has recorded histories to replay', () => {
    assert.ok(recorded().length > 0);
  });

  for (const { name, read } of recorded()) {
    it(`of the recorded history ${name} finds the workflow as it was`, async () => {
      await replay(read());
    });

    it(`of ${name} fails when the workflow would do something else`, async () => {
      const history = read();
      const scheduled = history.events.filter(({ activityTaskScheduledEventAttributes: attributes }) => attributes?.activityType.name === 'restoreReplica');
      assert.ok(scheduled.length > 0);
      for (const { activityTaskScheduledEventAttributes: attributes } of scheduled) if (attributes !== undefined) attributes.activityType.name = 'detachReplica';
      await assert.rejects(replay(history), /[Nn]ondeterminis|[Dd]eterminism/u);
    });
  }

  it('of a migration that has just run finds the workflow as it was, with every signal and gate', async () => {
    const ground = await Ground.on('replay');
    const connection = await Connection.connect({ address: ground.up.temporal.address });
    try {
      await ground.seed(someTables(ground.database, 1).filter(({ name }) => name === 't0' || name === 'empty'));
      ground.worker();
      const spec = ground.spec((document) => {
        document['pauseBefore'] = ['restore'];
        if (process.env['RECORD_HISTORY'] !== undefined) document.statusFile = '/tmp/ch-zk-migrate-replay/status.yaml';
      });
      assert.equal((await ground.cli('start', spec, '--execute', '--watch')).code, 4);
      await ground.cli('pause', ground.id, '--reason', 'a look');
      await ground.cli('approve', ground.id, 'restore');
      await ground.cli('resume', ground.id);
      const watched = await ground.cli('watch', ground.id);
      assert.equal(watched.code, 0, watched.stderr);
      const history = await new Client({ connection }).workflow.getHandle(ground.id).fetchHistory();
      const json = JSON.stringify(History.toObject(History.fromObject(history), { longs: String, enums: String, bytes: String }), undefined, 1);
      await replay(JSON.parse(json));
      if (process.env['RECORD_HISTORY'] !== undefined) writeFileSync(join(HISTORIES, 'two-tables-two-replicas.json'), `${json}\n`);
    } finally {
      await connection.close();
      await ground.end();
    }
  });
});
