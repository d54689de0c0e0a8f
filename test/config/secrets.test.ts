import assert from 'node:assert/strict';

import { MissingVariableError, missingVariables, resolveSecret, withoutSecrets, withoutVariables } from '../../src/config/secrets';
import { specOf } from './helpers';

const SPEC = specOf(`
id: a
clickhouse:
  passwordEnv: COMMON
  hosts:
    - { name: ch-1, url: "http://ch-1" }
    - { name: ch-2, url: "http://ch-2", passwordEnv: OWN }
    - { name: ch-3, url: "http://ch-3" }
zookeeper: { connect: zk, digestEnv: DIGEST }
`);

describe('secrets', () => {
  it('the error has a code that scripts can rely on', () => {
    assert.equal(new MissingVariableError('A').code, 'MISSING_VARIABLE');
  });

  it('a secret is read from the variable that the spec names', () => {
    assert.equal(resolveSecret('COMMON', { COMMON: ' hunter2 ' }), ' hunter2 ');
  });

  for (const env of [{}, { COMMON: '' }, { COMMON: undefined }]) {
    it(`a variable without a value is named: ${JSON.stringify(env)}`, () => {
      assert.throws(
        () => resolveSecret('COMMON', env),
        (error) => error instanceof MissingVariableError && error.variable === 'COMMON' && error.message.includes('COMMON'),
      );
    });
  }

  it('what every object has is no variable', () => {
    assert.throws(() => resolveSecret('constructor', {}), MissingVariableError);
  });

  it('every missing variable is listed, once and sorted', () => {
    assert.deepEqual(missingVariables(SPEC, {}), ['COMMON', 'DIGEST', 'OWN']);
    assert.deepEqual(missingVariables(SPEC, { COMMON: 'x', DIGEST: '', OWN: 'y' }), ['DIGEST']);
    assert.deepEqual(missingVariables(SPEC, { COMMON: 'x', DIGEST: 'y', OWN: 'z' }), []);
  });

  it('a spec without secrets needs no variable', () => {
    assert.deepEqual(
      missingVariables(specOf('id: a\nclickhouse: { hosts: [{ name: a, url: "http://a" }] }\nzookeeper: { connect: zk }\n'), {}),
      [],
    );
  });

  it('another process gets none of them, and a text shows none', () => {
    const env = { COMMON: 'hunter2', OWN: 'hunter2hunter2', EMPTY: '', PATH: '/bin' };
    assert.deepEqual(withoutVariables(env, ['COMMON', 'OWN', 'EMPTY', 'NONE']), { PATH: '/bin' });
    assert.equal(withoutSecrets('a hunter2 b hunter2hunter2 /bin', env, ['COMMON', 'OWN', 'EMPTY', 'NONE']), 'a *** b *** /bin');
  });
});
