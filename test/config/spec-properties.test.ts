import assert from 'node:assert/strict';

import fc from 'fast-check';
import { stringify } from 'yaml';

import { parseSpec, SpecError } from '../../src/config/load-spec';
import { specOf, specText } from './helpers';

const root = fc.oneof(
  fc.constantFrom('', '/'),
  fc.array(fc.stringMatching(/^[a-z][a-z0-9_.-]{0,8}$/), { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join('/')}`),
);
const server = fc
  .tuple(fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/), fc.option(fc.integer({ min: 1, max: 65_535 })))
  .map(([host, port]) => (port === null ? host : `${host}:${String(port)}`));
const connect = fc
  .uniqueArray(server, { minLength: 1, maxLength: 3, selector: (text) => (text.includes(':') ? text : `${text}:2181`) })
  .map((servers) => servers.join(','));
const after = fc.record({ root, connect }, { requiredKeys: [] });
const argument = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => text.replace(/[{}\0@]/g, '_')),
  fc.constantFrom('{host}', 'a{host}b'),
);
const duration = fc.constantFrom('1s', '90s', '2h', '1h30m', '500ms', '7d');
const count = fc.integer({ min: 1, max: 1000 });
const strategy = fc.oneof(
  fc.record({ command: fc.array(argument, { minLength: 1, maxLength: 4 }) }),
  fc.constantFrom({ sql: true }, { manual: true }),
);
const restart = fc
  .tuple(strategy, fc.record({ timeout: duration, reconfigure: fc.array(argument, { minLength: 1 }) }, { requiredKeys: [] }))
  .map(([a, b]) => ({ ...a, ...b }));
const variable = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,10}$/);
const host = fc.record(
  {
    user: fc.string({ minLength: 1 }),
    passwordEnv: variable,
    restart,
    zookeeper: fc.record({ root, connect, after }, { requiredKeys: [] }),
    taskQueue: fc.stringMatching(/^[a-z]{1,10}$/),
  },
  { requiredKeys: [] },
);

/** Specs that must be accepted. */
const spec = fc.record(
  {
    id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9 /_-]{0,20}[A-Za-z0-9]$/),
    clickhouse: fc.tuple(fc.array(host, { minLength: 1, maxLength: 4 }), restart, fc.option(count)).map(([hosts, common, wave]) => ({
      hosts: hosts.map((each, index) => ({ name: `ch-${String(index)}`, url: `http://ch-${String(index)}:8123`, ...each })),
      restart: { ...common, ...(wave === null ? {} : { wave }) },
    })),
    zookeeper: fc
      .tuple(
        fc.record({ connect }),
        fc.record(
          {
            root,
            after,
            digestEnv: variable,
            auxiliary: fc.dictionary(fc.stringMatching(/^zk[a-z0-9]{1,5}$/), fc.record({ connect, root })),
          },
          { requiredKeys: [] },
        ),
      )
      .map(([a, b]) => ({ ...a, ...b })),
    pauseBefore: fc.uniqueArray(fc.constantFrom('detach', 'clean', 'restart', 'restore')),
    parallel: fc.record({ detach: count, clean: count, restore: count }, { requiredKeys: [] }),
    onFailure: fc.constantFrom('stop', 'continue'),
    holdOnFailure: duration,
    preflight: fc.record({ wait: duration }, { requiredKeys: [] }),
    zeroCopy: fc.record({ blobs: fc.record({ command: fc.constantFrom(['find', '/b'], ['aws', '{Key: Key}']), prefix: fc.constantFrom('', 'b/'), timeout: fc.constantFrom('1s', '12h') }, { requiredKeys: ['command'] }) }, { requiredKeys: [] }),
    verify: fc.record({ writable: fc.constantFrom('required', 'report'), blobs: fc.constantFrom('full', 'read', 'locks') }, { requiredKeys: [] }),
  },
  { requiredKeys: ['id', 'clickhouse', 'zookeeper'] },
);

function onlySpecErrors(text: string): void {
  try {
    parseSpec(text);
  } catch (error) {
    assert.ok(error instanceof SpecError, `${String(error)} for ${JSON.stringify(text)}`);
    assert.ok(error.faults.length > 0, `no fault for ${JSON.stringify(text)}`);
    for (const fault of error.faults)
      assert.ok((fault.line ?? 1) >= 1 && fault.message !== '' && !fault.message.includes('undefined'), JSON.stringify(fault));
  }
}

describe('any text', function () {
  this.timeout(300_000);

  it('is a spec, or a SpecError with faults', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), onlySpecErrors), { numRuns: 500 });
  });

  it('of what YAML is made of, too', () => {
    const token = fc.constantFrom(
      'id',
      'clickhouse',
      'hosts',
      'zookeeper',
      ':',
      ': ',
      '\n',
      '\n  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      ',',
      '"',
      "'",
      '&a ',
      '*a',
      '!t ',
      '|',
      '>',
      '#',
      '---',
      '...',
      '%',
      '? ',
      '<<',
      '\t',
      '1',
      'null',
      '~',
    );
    fc.assert(
      fc.property(
        fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join('')),
        onlySpecErrors,
      ),
      { numRuns: 1000 },
    );
  });

  it('of any data, too', () => {
    fc.assert(
      fc.property(
        fc.jsonValue().map((value) => stringify(value)),
        onlySpecErrors,
      ),
      { numRuns: 500 },
    );
  });

  it('of a spec with any value anywhere, too', () => {
    const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('{host}', '/', 'x'));
    const key = fc.constantFrom(
      'id',
      'clickhouse',
      'zookeeper',
      'tables',
      'pauseBefore',
      'parallel',
      'verify',
      'zeroCopy',
      'blobs',
      'restart',
      'hosts',
      'auxiliary',
      'after',
      'command',
      'tls',
      '0',
    );
    const put = (target: unknown, [first, ...rest]: readonly string[], what: unknown): unknown => {
      if (first === undefined) return what;
      const copy: Record<string, unknown> = typeof target === 'object' && target !== null ? { ...target } : {};
      return { ...copy, [first]: put(copy[first], rest, what) };
    };
    fc.assert(
      fc.property(spec, fc.array(key, { minLength: 1, maxLength: 4 }), value, (sound, path, what) => {
        onlySpecErrors(stringify(put(sound, path, what)));
      }),
      { numRuns: 400 },
    );
  });

  it('of a spec with a piece cut out, too', () => {
    const text = specText({ rest: 'tables: { include: ["a.*"] }\npauseBefore: [clean]' });
    fc.assert(
      fc.property(fc.nat(text.length), fc.nat(20), (at, length) => {
        onlySpecErrors(text.slice(0, at) + text.slice(at + length));
      }),
      { numRuns: 500 },
    );
  });
});

describe('an accepted spec', function () {
  this.timeout(300_000);

  it('is the same as block YAML, flow YAML and JSON, and survives JSON unchanged', () => {
    fc.assert(
      fc.property(spec, (sound) => {
        const resolved = specOf(stringify(sound));
        assert.deepEqual(specOf(stringify(sound, { collectionStyle: 'flow' })), resolved);
        assert.deepEqual(specOf(JSON.stringify(sound)), resolved);
        assert.deepEqual(JSON.parse(JSON.stringify(resolved)), resolved);
      }),
      { numRuns: 150 },
    );
  });

  it('resolves to the same when what it resolved to is written out', () => {
    fc.assert(
      fc.property(spec, (sound) => {
        const { hosts, wave, holdOnFailureMs, preflight, clean, verify, zeroCopy, digestEnv, ...rest } = specOf(stringify(sound));
        const written = {
          id: rest.id,
          clickhouse: {
            hosts: hosts.map(({ restart: { strategy, timeoutMs, reconfigure }, zookeeper, after: later, ...own }) => ({
              ...own,
              restart: {
                ...(strategy.kind === 'command' ? { command: strategy.command } : { [strategy.kind]: true }),
                timeout: `${String(timeoutMs)}ms`,
                ...(reconfigure ? { reconfigure } : {}),
              },
              zookeeper: { ...zookeeper, after: later },
            })),
            restart: { wave },
          },
          zookeeper: { connect: 'unused', clean, auxiliary: rest.auxiliary, ...(digestEnv === undefined ? {} : { digestEnv }) },
          pauseBefore: rest.pauseBefore,
          parallel: rest.parallel,
          onFailure: rest.onFailure,
          holdOnFailure: `${String(holdOnFailureMs)}ms`,
          preflight: { wait: `${String(preflight.waitMs)}ms` },
          verify,
          ...(zeroCopy === undefined ? {} : { zeroCopy: { blobs: { command: zeroCopy.blobs.command, prefix: zeroCopy.blobs.prefix, timeout: `${String(zeroCopy.blobs.timeoutMs)}ms` } } }),
          taskQueue: rest.taskQueue,
          statusFile: rest.statusFile,
        };
        assert.deepEqual(specOf(stringify(written)), specOf(stringify(sound)));
      }),
      { numRuns: 150 },
    );
  });
});
