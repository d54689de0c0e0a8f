import assert from 'node:assert/strict';

import { NO_COUNTS } from '../../src/domain/status';
import { phaseProgress, RateMeter, stageDone } from '../../src/domain/progress';
import { statusDocument } from '../../src/report/status-document';
import { nextCommand, statusText } from '../../src/report/status-text';
import type { ReplicaRecord } from '../../src/history/fold';
import { stateWords, statusLine } from '../../src/report/words';
import { liveLines } from '../../src/cli/watch-screen';
import { description, summary } from './summaries';

const same = (text: string) => text;
const PLAIN = { bold: same, dim: same, red: same, green: same, yellow: same, cyan: same };
const OPTIONS = { paint: PLAIN, now: Date.parse('2026-01-01T01:00:00.000Z'), ui: 'http://ui' };

describe('status', () => {
  it('the bars count what was proved, and leave out what is skipped', () => {
    const progress = phaseProgress(
      summary({ replicas: 10, counts: { ...NO_COUNTS, INIT: 1, DETACHED: 2, ZK_CLEANED: 3, RESTORED: 2, SKIPPED: 2 } }),
    );
    assert.deepEqual(
      progress.map(({ phase, done, total }) => [phase, done, total]),
      [
        ['detach', 7, 8],
        ['clean', 5, 8],
        ['restart', 0, 8],
        ['restore', 2, 8],
      ],
    );
  });

  it('the rate is that of the last half minute, and begins anew with another phase', () => {
    const meter = new RateMeter();
    assert.equal(meter.rate(), undefined);
    for (let second = 0; second <= 120; second += 1) meter.add('detach', second * 1000, second < 60 ? 0 : (second - 60) * 5);
    assert.equal(meter.rate(), 5);
    assert.equal(meter.remainingMs(400), 20_000);
    meter.add('clean', 121_000, 400);
    assert.equal(meter.rate(), undefined);
    meter.add('clean', 122_000, 0);
    assert.equal(meter.remainingMs(10), undefined);
  });

  it('without hosts in the summary the phase itself is counted', () => {
    assert.deepEqual(stageDone(summary({ hosts: [{ host: 'a', done: 1, failed: 1, total: 5 }] })), { done: 2, total: 5 });
    assert.equal(stageDone(summary({}))?.total, 4);
    assert.equal(stageDone(summary({ phase: 'finish' })), undefined);
  });

  it('the status line always gives the reason: waiting, retries, no worker, why it closed', () => {
    const meter = new RateMeter();
    const waiting = description(
      { outcome: 'waiting', waitingFor: { reason: 'at the gate', gate: 'clean' } },
      { reasons: ['no worker polls'] },
    );
    assert.equal(statusLine(waiting, meter), 'm: detach 0/4 (0.0%), waiting: at the gate; no worker polls');
    assert.equal(
      stateWords(description({ outcome: 'failed' }, { closedBecause: 'terminated by a\nb: c' })),
      'failed: terminated by a b: c',
    );
    assert.equal(stateWords(description({ outcome: 'running', aborting: true })), 'aborting');
  });

  it('each state names the command to type next', () => {
    const next = (change: Parameters<typeof description>[0]) => nextCommand(description(change));
    assert.equal(next({}), 'ch-zk-migrate watch m');
    assert.equal(next({ outcome: 'waiting', waitingFor: { reason: '', gate: 'clean' } }), 'ch-zk-migrate approve m clean');
    assert.equal(next({ outcome: 'waiting', paused: true }), 'ch-zk-migrate resume m');
    assert.equal(next({ outcome: 'waiting', failuresTotal: 1 }), 'ch-zk-migrate retry m');
    assert.match(next({ outcome: 'failed' }) ?? '', /^ch-zk-migrate retry m/);
    assert.equal(next({ outcome: 'failed', aborting: true }), 'ch-zk-migrate abort m');
    assert.equal(next({ outcome: 'aborted' }), undefined);
  });

  it('names from servers cannot move the cursor or tear a line', () => {
    const evil = 'a\u001b[2Jb\nc\u202e';
    const failure = { host: evil, database: evil, table: evil, phase: 'detach' as const, code: 'HELD' as const, message: evil };
    const seen = description(
      {
        failures: [failure],
        failuresTotal: 1,
        hosts: [
          { host: evil, done: 0, failed: 1, total: 1 },
          { host: 'b', done: 0, failed: 0, total: 1 },
        ],
      },
      { reasons: [evil] },
    );
    const lines = liveLines(seen, new RateMeter(), OPTIONS.now);
    for (const line of [...lines, ...statusText(seen, OPTIONS).split('\n'), statusLine(seen, new RateMeter())]) {
      // eslint-disable-next-line no-control-regex
      assert.doesNotMatch(line, /\u001b|\n|\u202e/, JSON.stringify(line));
    }
  });

  it('an abort that is through says of each table what became of it', () => {
    const record = { database: 'd', zookeeperPath: '/p', replica: 'r', parts: 1, updated: 'x', oldMetadata: 'kept' } as const;
    const replicas: ReplicaRecord[] = [
      { ...record, host: 'ch-1', table: 'a', status: 'INIT', rows: 1 },
      { ...record, host: 'ch-1', table: 'b', status: 'INIT', rows: 2, note: 'it is attached again, and readonly' },
      { ...record, host: 'ch-1', table: 'c', status: 'RESTORED', rows: 3 },
      { ...record, host: 'ch-2', table: 'a', status: 'DETACHED', rows: 4, error: 'HOST_UNREACHABLE: ch-2' },
    ];
    const lines = statusText(description({ outcome: 'aborted', withoutHosts: ['ch-2'] }), { ...OPTIONS, replicas }).split('\n');
    const said = (table: string): string => lines.find((line) => line.includes(table)) ?? '';
    assert.match(said('ch-1 '), /d\.a\W+INIT\W+1\W+1\W*$/u);
    assert.match(said('d.b'), /INIT.*attached again, and readonly/u);
    assert.match(said('d.c'), /RESTORED/u);
    assert.match(said('ch-2'), /left out with its host/u);
    assert.ok(lines.some((line) => line.startsWith('INIT: attached, its metadata as it was. RESTORED: ')), lines.join('\n'));
    assert.ok(!statusText(description({ outcome: 'completed' }), { ...OPTIONS, replicas }).includes('INIT: attached'));
  });

  it('the document has null, not nothing, where a script looks', () => {
    const document = statusDocument(description({ phases: [{ phase: 'detach', started: 'x' }] }), 'http://ui');
    assert.deepEqual(document.phases, [{ phase: 'detach', started: 'x', ended: null }]);
    assert.equal(document.waitingFor, null);
    assert.equal('replicas' in document, false);
  });
});
