import assert from 'node:assert/strict';

import { entry, LATER, pageOf, Story, TIME } from './facts';

describe('history fold', () => {
  const a = entry('ch-1', 'a');
  const b = entry('ch-2', 'b');

  it('a replica has the status that was said last', () => {
    const story = new Story().page(a, b).update(a, 'DETACHED').update(a, 'ZK_CLEANED').update(b, 'DETACHED');
    assert.deepEqual(story.statuses, ['ch-1 a ZK_CLEANED', 'ch-2 b DETACHED']);
  });

  it('an update changes only what it names', () => {
    const story = new Story().page(a).update(a, 'ZK_CLEANED', { oldMetadata: 'deleted' }).update(a, 'RESTORED', { rows: 12 });
    const [record] = story.replicas;
    assert.deepEqual(record, {
      host: 'ch-1',
      database: 'shop',
      table: 'a',
      status: 'RESTORED',
      zookeeperPath: '/clickhouse/a',
      replica: 'r-ch-1',
      rows: 12,
      parts: 2,
      updated: LATER,
      oldMetadata: 'deleted',
    });
  });

  it('a later page moves a status backward too: what the hosts say wins', () => {
    const story = new Story()
      .page(a)
      .update(a, 'RESTORED')
      .page(entry('ch-1', 'a', { status: 'ZK_CLEANED' }));
    assert.deepEqual(story.statuses, ['ch-1 a ZK_CLEANED']);
  });

  it('a page that was being read while an outcome was recorded does not undo it', () => {
    const story = new Story().page(a);
    const reading = story.schedule('loadPage', {});
    story.update(a, 'DETACHED').complete(reading, pageOf([a]));
    assert.deepEqual(story.statuses, ['ch-1 a DETACHED']);
    story.page(a);
    assert.deepEqual(story.statuses, ['ch-1 a INIT']);
  });

  it('a page of the next run counts, although its event ids begin again', () => {
    const story = new Story()
      .page(a)
      .update(a, 'DETACHED')
      .update(a, 'ZK_CLEANED')
      .run()
      .page(entry('ch-1', 'a', { status: 'DETACHED' }));
    assert.deepEqual(story.statuses, ['ch-1 a DETACHED']);
  });

  it('a final failure is an error with its code, until the same step or another outcome succeeds', () => {
    const story = new Story().page(a);
    story.fail(story.detach(a), 'HELD', 'by another');
    assert.equal(story.replicas[0]?.error, 'HELD: by another');
    story.complete(story.schedule('electFirst', { table: { replicas: [a] } }), { first: 'ch-1' });
    assert.equal(story.replicas[0]?.error, 'HELD: by another');
    story.update(a, 'DETACHED');
    assert.equal(story.replicas[0]?.error, undefined);
  });

  it("a failure of a table's activity is the error of each of its replicas", () => {
    const story = new Story().page(a, b);
    story.fail(story.schedule('cleanTable', { table: { replicas: [a, b] } }), 'REPLICA_LIVE', 'ch-2 is active');
    assert.deepEqual(
      story.replicas.map(({ error }) => error),
      ['REPLICA_LIVE: ch-2 is active', 'REPLICA_LIVE: ch-2 is active'],
    );
    story.complete(story.schedule('cleanTable', { table: { replicas: [a, b] } }), { updates: [] });
    assert.deepEqual(
      story.replicas.map(({ error }) => error),
      [undefined, undefined],
    );
  });

  it('what was not begun, since the migration was paused or aborted, failed at nothing', () => {
    const story = new Story().page(a);
    story.fail(story.detach(a), 'RECALLED', 'not begun');
    assert.equal(story.replicas[0]?.error, undefined);
  });

  it('what is left out on purpose is SKIPPED, in whatever run that was said, but not what was proved before', () => {
    const story = new Story().page(a, b, entry('ch-3', 'x/y')).update(b, 'RESTORED');
    story.run({ resume: { skip: ['shop.a'] } as never }, 'run');
    assert.deepEqual(story.statuses, ['ch-1 a SKIPPED', 'ch-2 b RESTORED', 'ch-3 x/y INIT']);
    story.tell({ kind: 'message', form: 'update', name: 'retry', payload: { skip: ['shop.*'] }, time: TIME });
    assert.deepEqual(story.statuses, ['ch-1 a SKIPPED', 'ch-2 b RESTORED', 'ch-3 x/y SKIPPED']);
    story.tell({ kind: 'message', form: 'update', name: 'retry', payload: { unskip: ['shop.a'] }, time: TIME });
    assert.deepEqual(story.statuses, ['ch-1 a INIT', 'ch-2 b RESTORED', 'ch-3 x/y SKIPPED']);
    story.run({ resume: { skip: ['shop.*', { unskip: 'shop.a' }] } as never }, 'run');
    assert.deepEqual(story.statuses, ['ch-1 a INIT', 'ch-2 b RESTORED', 'ch-3 x/y SKIPPED']);
    story.tell({ kind: 'message', form: 'signal', name: 'abort', payload: undefined, time: TIME });
    assert.deepEqual(story.statuses, ['ch-1 a INIT', 'ch-2 b RESTORED', 'ch-3 x/y INIT']);
  });

  it('records keep their identity while nothing is said of them, so that they are rendered once', () => {
    const story = new Story().page(a, b);
    const [first, second] = story.replicas;
    story.update(b, 'DETACHED').page(a);
    assert.equal(story.replicas[0], first);
    assert.notEqual(story.replicas[1], second);
  });

  it('the order is host, database, table by code units, whatever the order of the events', () => {
    const tables = ['é', 'Z', 'a', 'a.b', '_', '😀'];
    const story = new Story().page(...tables.map((table) => entry('ch-1', table)), entry('CH-0', 'z'));
    assert.deepEqual(story.statuses, ['CH-0 z INIT', ...[...tables].sort().map((table) => `ch-1 ${table} INIT`)]);
  });

  it('an auxiliary ensemble stands before the path', () => {
    const story = new Story().page(entry('ch-1', 'a', { zookeeperName: 'zk2' }));
    assert.equal(story.replicas[0]?.zookeeperPath, 'zk2:/clickhouse/a');
  });

  it('names that only look alike are different replicas', () => {
    const names = [
      ['a', 'b.c'],
      ['a.b', 'c'],
      ['a', 'b"c'],
      ['a"', 'b'],
    ] as const;
    const story = new Story().page(...names.map(([database, table]) => entry('ch-1', table, { database })));
    assert.equal(story.replicas.length, names.length);
  });

  it('events that a reset copied change nothing, but what they left open ends in the new run', () => {
    const story = new Story().page(a, b).update(a, 'RESTORED');
    const { fold } = story;
    fold.apply(1, { kind: 'run started', time: TIME, runId: 'reset', reset: true });
    fold.applyCopied(2, { kind: 'activity scheduled', time: TIME, eventId: 2, activityId: '2', activity: 'loadPage', input: {} });
    fold.applyCopied(3, { kind: 'activity completed', time: TIME, scheduledEventId: 2, result: pageOf([a, b]) });
    fold.applyCopied(4, {
      kind: 'activity scheduled',
      time: TIME,
      eventId: 4,
      activityId: '4',
      activity: 'detachReplica',
      input: { replica: b },
    });
    assert.deepEqual(story.statuses, ['ch-1 a RESTORED', 'ch-2 b INIT']);
    fold.apply(9, { kind: 'activity failed', time: TIME, scheduledEventId: 4, failure: { code: 'HELD', message: 'no' } });
    assert.equal(story.replicas[1]?.error, 'HELD: no');
  });

  it('the audit tells durations, attempts and why the attempt before failed', () => {
    const story = new Story({ audit: true }).page(a);
    const scheduledEventId = story.detach(a);
    story.tell({
      kind: 'activity started',
      time: LATER,
      scheduledEventId,
      attempt: 3,
      lastFailure: { code: 'HOST_UNREACHABLE', message: 'gone' },
    });
    story.complete(scheduledEventId, { updates: [] });
    const activity = story.fold.audit()?.activities.at(-1);
    assert.equal(activity?.phase, 'detach');
    assert.equal(activity.host, 'ch-1');
    assert.equal(activity.attempts, 3);
    assert.equal(activity.started, LATER);
    assert.deepEqual(activity.retriedAfter, { code: 'HOST_UNREACHABLE', message: 'gone' });
    assert.deepEqual(activity.replicas, [{ host: 'ch-1', database: 'shop', table: 'a' }]);
  });
});
