import assert from 'node:assert/strict';

import { renderReport } from '../../src/report/html';
import { reportData } from '../../src/report/report-data';
import { escapeHtml, markup } from '../../src/report/safe-html';
import { entry, LATER, Story, TIME } from '../history/facts';
import { summary } from './summaries';

const HOSTILE = '<script>alert(1)</script>"\'`&\u202e\n';

function page(): string {
  const evil = entry(HOSTILE, HOSTILE, { database: HOSTILE, zookeeperPath: HOSTILE, replicaName: HOSTILE });
  const story = new Story({ audit: true }).page(evil).update(evil, 'DETACHED', { note: HOSTILE });
  story.fail(story.detach(evil), HOSTILE, HOSTILE);
  story.tell({
    kind: 'message',
    form: 'signal',
    name: HOSTILE,
    payload: { by: HOSTILE, reason: HOSTILE, phase: HOSTILE },
    time: LATER,
    identity: HOSTILE,
  });
  const finding = { code: HOSTILE, host: HOSTILE, db: HOSTILE, table: HOSTILE, message: HOSTILE, fix: HOSTILE };
  const view = {
    id: HOSTILE,
    runId: HOSTILE,
    status: 'FAILED' as const,
    closedBecause: HOSTILE,
    replicas: story.replicas,
    skipped: [HOSTILE],
    gone: HOSTILE,
    audit: story.fold.audit() ?? { runs: [], activities: [], messages: [] },
    summary: summary({
      outcome: 'failed',
      refusals: [finding],
      warnings: [finding],
      phases: [{ phase: 'detach', started: TIME, ended: LATER }],
    }),
  };
  return renderReport(reportData(view, { ui: `http://ui/${HOSTILE}`, now: new Date(LATER) }));
}

describe('report', function () {
  this.timeout(300_000);

  it('no name, message or reason becomes markup, wherever it stands', () => {
    const text = page();
    assert.doesNotMatch(text, /<script/);
    assert.doesNotMatch(text, /\u202e/);
    const attributes = [...text.matchAll(/\s(?:title|href|class|content)="([^"]*)"/g)].map(([, value]) => value ?? '');
    for (const value of attributes) assert.doesNotMatch(value, /[<>]/);
  });

  it('loads nothing: a policy forbids it, and no element asks for it', () => {
    const text = page();
    assert.match(text, /http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/);
    assert.doesNotMatch(text, /<(?:link|img|iframe|object|embed|script)\b|\ssrc=|@import|url\(/);
  });

  it('tells failures, decisions, phases and tables', () => {
    const text = page();
    for (const title of ['Timeline', 'Phases', 'Who did what', 'Failures and retries', 'Refusals', 'Warnings', 'Tables (1)', 'Runs'])
      assert.ok(text.includes(`<h2>${title}</h2>`), title);
  });

  it('of a migration that has not begun is a page too', () => {
    const view = {
      id: 'm',
      runId: 'r',
      status: 'RUNNING' as const,
      replicas: [],
      skipped: [],
      summary: summary({}),
      audit: { runs: [], activities: [], messages: [] },
    };
    assert.match(renderReport(reportData(view, { ui: 'http://ui', now: new Date(LATER) })), /<h1>m /);
  });

  it('what cannot be seen is shown: names that differ look different', () => {
    assert.equal(escapeHtml('a\u200bb\u202e\ud800\u0000'), 'a\\u{200b}b\\u{202e}\\u{d800}\\u{0}');
    assert.equal(markup`<i>${['<', undefined, 1, markup`<b></b>`]}</i>`.text, '<i>&lt;1<b></b></i>');
  });
});
