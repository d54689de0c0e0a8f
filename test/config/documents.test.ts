import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Ajv2020 } from 'ajv/dist/2020';
import { parse } from 'yaml';

import { loadSpec } from '../../src/config/load-spec';
import { SPEC_DEFAULTS, specJsonSchema } from '../../src/config/schema';
import { faultsOf, ROOT, specOf, specText } from './helpers';

const EXAMPLES = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.yaml'));
const PAGE = readFileSync(join(ROOT, 'docs/spec.md'), 'utf8');
const FENCES = [...PAGE.matchAll(/```yaml\n([^]*?)```/g)].map((match) => match[1] ?? '');
const validate = new Ajv2020({ strict: false }).compile(specJsonSchema());

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly default?: string | number;
}

function keysOf(schema: Schema): [string, Schema][] {
  const own = Object.entries(schema.properties ?? {});
  return [...own, ...own.flatMap(([, child]) => [...keysOf(child), ...keysOf(child.items ?? {})])];
}

describe('examples', () => {
  it('are at least five', () => {
    assert.ok(EXAMPLES.length >= 5);
  });

  for (const name of EXAMPLES) {
    it(`${name} is accepted, by the loader and by the JSON schema`, async () => {
      const { spec, source } = await loadSpec(join(ROOT, 'examples', name));
      assert.ok(spec.hosts.length > 0);
      assert.match(source.text, /^# /, 'begins with what it is for');
      assert.ok(validate(parse(source.text)), JSON.stringify(validate.errors));
    });
  }
});

describe('docs/spec.md', () => {
  it('has complete specs', () => {
    assert.ok(FENCES.filter((text) => text.startsWith('id:')).length >= 2);
  });

  for (const [index, text] of FENCES.entries()) {
    it(`block ${String(index + 1)} is ${text.startsWith('id:') ? 'an accepted spec' : 'readable YAML'}`, () => {
      if (text.startsWith('id:')) specOf(text);
      else parse(text);
    });
  }

  it('names every key, and no default but the real one', () => {
    for (const [key, schema] of keysOf(specJsonSchema())) {
      assert.match(PAGE, new RegExp(`^\\| \`${key}(: true)?\` \\|`, 'm'), `${key} has no row`);
      if (schema.default === undefined || schema.default === '') continue;
      const documented = new RegExp(`^\\| \`${key}\` \\| \`(\\{ ${key}: )?${String(schema.default)}( \\})?\` \\|`, 'm');
      assert.match(PAGE, documented, `the default of ${key} is ${String(schema.default)}`);
    }
  });
});

describe('the JSON schema', () => {
  it('refuses what the loader refuses for its shape', () => {
    for (const parts of [
      { rest: 'zzz: 1' },
      { restart: '{ sql: false }' },
      { rest: 'parallel: { clean: 0 }' },
      { rest: 'holdOnFailure: soon' },
      { host: '{ name: a b, url: "http://a" }' },
    ]) {
      const text = specText(parts);
      assert.ok(faultsOf(text).length > 0);
      assert.equal(validate(parse(text)), false, text);
    }
  });

  it('takes what the loader takes', () => {
    assert.ok(validate(parse(specText())), JSON.stringify(validate.errors));
  });

  it('says what every default is', () => {
    const defaults = keysOf(specJsonSchema()).map(([, schema]) => schema.default);
    for (const value of [SPEC_DEFAULTS.user, SPEC_DEFAULTS.timeout, SPEC_DEFAULTS.clean, SPEC_DEFAULTS.taskQueue])
      assert.ok(defaults.includes(value), value);
  });
});
