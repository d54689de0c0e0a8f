import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';

import { Connections } from '../../src/activities/deps';
import { readReplica } from '../../src/activities/zero-copy-read';
import { quoteTable } from '../../src/clickhouse/sql';
import { MigrationError } from '../../src/domain/failure';
import { Ground, run, sql } from '../support/stack';

/** What a server reads when it attaches a part, and keeps in memory. */
const READ_BY_ATTACH = /(?:^|\/)(?:checksums|columns|columns_substreams|count|default_compression_codec|metadata_version|ttl)\.txt$|(?:^|\/)(?:partition\.dat|serialization\.json|minmax_\w+\.idx|primary\.c?idx)$/u;
/** Of a text index a search reads what it needs alone; without its statistics a server goes on. */
const NOT_READ = /^(?:skp_idx_words\.|statistics)/u;

describe('the blobs of a zero-copy table', function () {
  this.timeout(600_000);
  let ground: Ground;
  let connections: Connections;

  beforeEach(async () => {
    ground = await Ground.on('zc_read');
    connections = new Connections({});
  });

  afterEach(async () => {
    await connections.close();
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

  for (const [how, wholeBytes, wide] of [['read in part, in wide parts', 0, true], ['read whole, in compact parts', Infinity, false]] as const) {
    it(`is found when any of them is gone, of a table that is ${how}`, async () => {
      await make('t', wide);
      const { name, url } = ground.firstHost;
      const host = connections.host({ name, url, user: 'default', zookeeper: { connect: ground.up.zookeeper.connect, root: ground.from } });
      const read = (): Promise<string[]> => readReplica(host, { host: name, database: ground.database, table: 't' }, wholeBytes);
      assert.deepEqual(await read(), []);
      const all = (await blobs('t')).filter(({ file }) => !READ_BY_ATTACH.test(file));
      assert.ok(all.length > (wide ? 60 : 25), all.map(({ file }) => file).join(' '));
      const missed: string[] = [];
      for (const { file, blob } of all) {
        renameSync(blob, `${blob}.away`);
        try {
          missed.push(`${file}: ${JSON.stringify(await read())}`);
        } catch (error) {
          assert.ok(error instanceof MigrationError && error.type === 'PROOF_FAILED', `${file}: ${String(error)}`);
        } finally {
          renameSync(`${blob}.away`, blob);
        }
      }
      assert.deepEqual(missed.filter((one) => !NOT_READ.test(one)), []);
      assert.deepEqual(await read(), []);
    });
  }
});
