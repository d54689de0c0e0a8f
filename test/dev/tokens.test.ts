import assert from 'node:assert/strict';
import { ID_SETTING, prepare } from '../../src/dev/host/rewrite';
import { tokenize } from '../../src/dev/host/tokens';

describe('the statements a host must know', () => {
  it('splits quotes, comments and words as ClickHouse does', () => {
    const sql = "SELECT 'it''s; \\' --', `a\\`;b`, \"c\" /* ; */ -- ;\n, x1";
    assert.deepEqual(
      tokenize(sql).map((token) => token.text),
      ['SELECT', "'it''s; \\' --'", ',', '`a\\`;b`', ',', '"c"', ',', 'x1'],
    );
  });

  it('sees a second statement, and no second statement where there is none', () => {
    assert.equal(prepare('SELECT 1; SELECT 2').several, true);
    assert.equal(prepare("SELECT ';' ; -- the end").several, false);
  });

  it('knows a shutdown and an insert behind comments', () => {
    assert.equal(prepare('/* stop */ system\nshutdown').kind, 'shutdown');
    assert.equal(prepare('-- rows\nINSERT INTO t VALUES (1); (2)').kind, 'insert');
    assert.equal(prepare("SELECT 'SYSTEM SHUTDOWN'").kind, 'plain');
  });

  it('gives the ids of callers where system.processes is read, and nowhere else', () => {
    assert.match(prepare('SELECT query_id FROM system . `processes` WHERE 1').sql, new RegExp(ID_SETTING));
    assert.equal(prepare("SELECT 'FROM system.processes'").sql, "SELECT 'FROM system.processes'");
    assert.equal(prepare('SELECT * FROM system.parts').sql, 'SELECT * FROM system.parts');
  });

  it('never gives the engine a synchronous KILL', () => {
    const { sql, kind } = prepare("KILL QUERY WHERE query_id = 'SYNC' SYNC");
    assert.equal(kind, 'kill-sync');
    assert.match(sql, new RegExp(`${ID_SETTING}.*= 'SYNC' ASYNC$`));
  });
});
