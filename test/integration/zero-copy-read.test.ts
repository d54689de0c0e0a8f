import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';

import { Connections } from '../../src/activities/deps';
import type { ClickHouseHost } from '../../src/clickhouse/host';
import { readReplica } from '../../src/activities/zero-copy-read';
import { quoteTable } from '../../src/clickhouse/sql';
import { MigrationError } from '../../src/domain/failure';
import { editRows, ProxyHost, type ProxyScript, TAKEN } from '../support/proxy-host';
import { client, Ground, pause, run, sql } from '../support/stack';

/** What a server reads when it attaches a part, and keeps in memory. */
const READ_BY_ATTACH = /(?:^|\/)(?:checksums|columns|columns_substreams|count|default_compression_codec|metadata_version|ttl)\.txt$|(?:^|\/)(?:partition\.dat|serialization\.json|minmax_\w+\.idx|primary\.c?idx)$/u;
/** Of a text index a search reads what it needs alone; without its statistics a server goes on. */
const NOT_READ = /^(?:skp_idx_words\.|statistics)/u;

/** A query that reads parts. */
const READS = /^SELECT (?:count\(\)|uniqExact\(_part\)) AS n FROM/u;

/** Has the host answer these statements with an error. */
function failing(which: (text: string) => boolean, code: number, words: string): ProxyScript {
  return ({ text, response }) => {
    if (!which(text)) return undefined;
    response.writeHead(500, { 'x-clickhouse-exception-code': String(code) });
    response.end(`Code: ${code}. DB::Exception: ${words}`);
    return TAKEN;
  };
}

/** Has the host say that each part of the table is so large. */
function sized(values: Readonly<Record<string, string>>): ProxyScript {
  return async (statement) => (/FROM system\.(?:projection_)?parts\b/u.test(statement.text) && statement.text.includes('AS bytes') ? editRows(statement, (row) => Object.assign(row, values)) : undefined);
}

/** A server from before `mergeTreeIndex` and `mergeTreeProjection`. */
const withoutFunctions: ProxyScript = ({ text }) => Promise.resolve(text.includes('FROM system.table_functions') ? JSON.stringify({ data: [], rows: 0 }) : undefined);

describe('the blobs of a zero-copy table', function () {
  this.timeout(600_000);
  let ground: Ground;
  let connections: Connections;
  let proxy: ProxyHost;

  beforeEach(async () => {
    ground = await Ground.on('zc_read');
    connections = new Connections({});
    proxy = await ProxyHost.before(ground.firstHost.url);
  });

  afterEach(async () => {
    await connections.close();
    await proxy.close();
    await ground.end();
  });

  /**
   * Every kind of file: of arrays, strings and sparse columns whose data begin behind the first granule, of projections and of skip indexes. It
   * is a plain table, for the server of a replicated one takes a part away that it could not read, sooner or later.
   */
  async function make(table: string, wide: boolean): Promise<void> {
    const name = quoteTable({ database: ground.database, table });
    await run(
      ground.firstHost.url,
      `CREATE DATABASE IF NOT EXISTS \`${ground.database}\``,
      `CREATE TABLE ${name} (
         p UInt8, x UInt64, s String, late Array(UInt32), n Nullable(String), lc LowCardinality(String), j JSON, sparse UInt32, m UInt64 MATERIALIZED x * 2, a UInt64 ALIAS x,
         INDEX bloom s TYPE bloom_filter, INDEX smallest x TYPE minmax, INDEX few x % 7 TYPE set(10) GRANULARITY 2, INDEX grams s TYPE ngrambf_v1(3, 256, 2, 0),
         INDEX tokens lower(s) TYPE tokenbf_v1(256, 2, 0), INDEX two (x, s) TYPE minmax, INDEX nulls n TYPE set(100), INDEX of_key p TYPE minmax, INDEX of_array late TYPE bloom_filter,
         INDEX words s TYPE text(tokenizer = 'splitByNonAlpha'),
         PROJECTION sums (SELECT p, s, sum(x) GROUP BY p, s), PROJECTION by_s (SELECT p, x, s, late ORDER BY s)
       ) ENGINE = MergeTree PARTITION BY p ORDER BY x
       SETTINGS storage_policy = 'object_storage', index_granularity = 100, min_bytes_for_wide_part = ${wide ? 0 : 1_000_000_000}, lightweight_mutation_projection_mode = 'rebuild',
         ratio_of_defaults_for_sparse_serialization = 0.5, enable_block_number_column = 1, max_bytes_to_merge_at_max_space_in_pool = 1`,
      `INSERT INTO ${name} (p, x, s, late, n, lc, j, sparse) SELECT number % 2, number, if(number > 1500, concat('word', toString(number)), ''), if(number > 1700, [number], []),
         if(number > 1000, 'z', NULL), 'a', if(number > 1900, '{"k": 1, "l": "x"}', '{"k": 1}'), if(number > 1800, 1, 0) FROM numbers(2000)`,
      `DELETE FROM ${name} WHERE x < 2 SETTINGS lightweight_deletes_sync = 2`,
      `SYSTEM STOP MERGES ${name}`,
    );
  }

  interface Blob {
    readonly file: string;
    readonly blob: string;
  }

  /** The blobs of one active part, by the file that names each. */
  async function blobs(table: string): Promise<Blob[]> {
    return sql<Blob>(
      ground.firstHost.url,
      `SELECT substring(path || local_path, length(part) + 1) AS file, remote_path AS blob,
         (SELECT max(path) FROM system.parts WHERE active AND database = '${ground.database}' AND table = '${table}') AS part
       FROM system.remote_data_paths WHERE startsWith(path || local_path, part) AND size > 0 ORDER BY file`,
    );
  }

  function host(): ClickHouseHost {
    return connections.host({ name: ground.firstHost.name, url: proxy.url, user: 'default', zookeeper: { connect: ground.up.zookeeper.connect, root: ground.from } });
  }

  async function read(wholeBytes: number): Promise<string[]> {
    return readReplica({ host: host(), replica: { host: ground.firstHost.name, database: ground.database, table: 't' }, wholeBytes, readId: ground.id });
  }

  async function failure(wholeBytes: number): Promise<MigrationError> {
    try {
      assert.fail(JSON.stringify(await read(wholeBytes)));
    } catch (error) {
      assert.ok(error instanceof MigrationError, String(error));
      return error;
    }
  }

  /** A plain table with two parts, on blobs, and nothing but columns. */
  async function makeSimple(): Promise<void> {
    const name = quoteTable({ database: ground.database, table: 't' });
    await run(
      ground.firstHost.url,
      `CREATE DATABASE IF NOT EXISTS \`${ground.database}\``,
      `CREATE TABLE ${name} (p UInt8, x UInt64, s String, INDEX ix s TYPE bloom_filter) ENGINE = MergeTree PARTITION BY p ORDER BY x SETTINGS storage_policy = 'object_storage', min_bytes_for_wide_part = 0`,
      `INSERT INTO ${name} SELECT number % 2, number, concat('secret', toString(number)) FROM numbers(1000)`,
    );
  }

  const ways: readonly { how: string; wholeBytes: number; wide: boolean; script?: ProxyScript }[] = [
    { how: 'read in part, in wide parts', wholeBytes: 0, wide: true },
    { how: 'read whole, in compact parts', wholeBytes: Infinity, wide: false },
    { how: 'read in part, a few files of a very large part at a time', wholeBytes: 0, wide: true, script: sized({ marks: '400000' }) },
    { how: 'read whole, in pieces of very large parts', wholeBytes: Infinity, wide: true, script: sized({ bytes: String(40 * 1024 ** 3) }) },
  ];
  for (const { how, wholeBytes, wide, script = () => undefined } of ways) {
    it(`is found when any of them is gone, of a table that is ${how}`, async () => {
      await make('t', wide);
      proxy.script = script;
      assert.deepEqual(await read(wholeBytes), []);
      const all = (await blobs('t')).filter(({ file }) => !READ_BY_ATTACH.test(file));
      assert.ok(all.length > (wide ? 60 : 25), all.map(({ file }) => file).join(' '));
      const missed: string[] = [];
      for (const { file, blob } of all) {
        renameSync(blob, `${blob}.away`);
        try {
          missed.push(`${file}: ${JSON.stringify(await read(wholeBytes))}`);
        } catch (error) {
          assert.ok(error instanceof MigrationError && error.type === 'PROOF_FAILED', `${file}: ${String(error)}`);
        } finally {
          renameSync(`${blob}.away`, blob);
        }
      }
      assert.deepEqual(missed.filter((one) => !NOT_READ.test(one)), []);
      assert.deepEqual(await read(wholeBytes), []);
    });
  }

  it('are read with fewer parts at once where the server has too little memory, and a part that it cannot read alone is said', async () => {
    await makeSimple();
    const read241 = (which: (text: string) => boolean): ProxyScript => failing((text) => READS.test(text) && which(text), 241, 'Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)');
    proxy.script = read241((text) => /_part IN \('[^']+', /u.test(text));
    for (const wholeBytes of [0, Infinity]) assert.deepEqual(await read(wholeBytes), []);
    proxy.script = read241((text) => text.includes("'0_1_1_0'"));
    assert.deepEqual(await read(Infinity), ['columns were not read in 1 parts, for which the server has too little memory (code 241): 0_1_1_0']);
  });

  it('of a large table are not read, and that is said, where the server has no means to read parts of it', async () => {
    await makeSimple();
    for (const code of [10, 47, 182]) {
      const refuse = failing((text) => text.includes('PREWHERE _part_offset'), code, 'Not found column _part_offset in block. (SOME_NAME)');
      proxy.script = (statement) => (statement.text.includes('FROM system.table_functions') ? withoutFunctions(statement) : refuse(statement));
      const [word = '', ...more] = await read(0);
      assert.match(word, new RegExp(`its columns were not read: .*code ${code}`, 'u'));
      assert.deepEqual(more, []);
    }
    assert.deepEqual(await read(Infinity), []);
    proxy.script = withoutFunctions;
    assert.deepEqual(await read(0), ['of its columns the first granule was read: the server has no mergeTreeIndex']);
  });

  it('are not said to be gone for an answer that does not say so, and no value of a row is told', async () => {
    await makeSimple();
    const answers: readonly (readonly [number, string, string])[] = [
      [6, "Cannot parse string 'secret7' as UInt64. (CANNOT_PARSE_TEXT)", 'UNKNOWN'],
      [499, "Slow down, while reading 'secret7'. (S3_ERROR)", 'UNKNOWN'],
      [499, 'The specified key does not exist. This error happened for S3 disk: NoSuchKey. (S3_ERROR)', 'PROOF_FAILED'],
      [210, "Connection reset by peer In scope SELECT count() FROM t WHERE s IN ('secret7'). (NETWORK_ERROR)", 'HOST_BUSY'],
      [497, 'Not enough privileges. (ACCESS_DENIED)', 'ACCESS_DENIED'],
    ];
    for (const which of [(text: string): boolean => READS.test(text), (text: string): boolean => text.startsWith('EXPLAIN') && text.includes("('secret")]) {
      for (const [code, words, type] of answers) {
        // A search that the server does not understand at all is no fault of the index: without it, it is answered.
        let asked = 0;
        const refuse = failing((text) => which(text) && (!text.startsWith('EXPLAIN') || (asked += 1) === 1), code, words);
        proxy.script = refuse;
        const error = await failure(Infinity);
        assert.equal(error.type, type, error.message);
        assert.doesNotMatch(`${error.message} ${String(error.cause)}`, /secret/u);
      }
    }
  });

  it('are read through the caches, and that is said, where the profile forbids to bypass them', async () => {
    await makeSimple();
    proxy.profile = { values: { enable_filesystem_cache: '1', max_threads: '2' }, fixed: ['enable_filesystem_cache', 'max_threads'] };
    const [word = '', ...more] = await read(Infinity);
    assert.match(word, /the user's profile forbids to change were left as they are \(enable_filesystem_cache\): caches/u);
    assert.deepEqual(more, []);
    const gone = (await blobs('t')).find(({ file }) => file === 's.bin') ?? assert.fail('no s.bin');
    renameSync(gone.blob, `${gone.blob}.away`);
    assert.equal((await failure(Infinity)).type, 'PROOF_FAILED');
    renameSync(`${gone.blob}.away`, gone.blob);
  });

  it('are read when what another try left running has ended, and not before', async () => {
    await makeSimple();
    const one = client(ground.firstHost.url);
    const left = { ended: false };
    const running = one
      .query({ query: 'SELECT sum(sleepEachRow(1)) FROM numbers(4) SETTINGS max_block_size = 1', query_id: `${ground.id}-7` })
      .then((answer) => answer.text())
      .finally(() => {
        left.ended = true;
      });
    await pause(500);
    let readsBefore = 0;
    proxy.script = ({ text }) => {
      if (READS.test(text) && !left.ended) readsBefore += 1;
      return undefined;
    };
    assert.deepEqual(await read(Infinity), []);
    await running;
    await one.close();
    assert.equal(readsBefore, 0);
  });
});
