import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { parse } from 'yaml';

import type { ReplicaRecord } from '../../src/history/fold';
import { parseStatusFile, renderStatusFile, statusEntry, StatusFileError, writeStatusFile } from '../../src/report/status-file';

const HEADER = { migration: 'm', phase: 'detach', outcome: 'running', at: '2026-01-01T00:00:00.000Z' };

function record(change: Partial<ReplicaRecord> = {}): ReplicaRecord {
  return {
    host: 'ch-1',
    database: 'shop',
    table: 'orders',
    status: 'DETACHED',
    zookeeperPath: '/clickhouse/tables/1',
    replica: 'r1',
    rows: 3,
    parts: 1,
    updated: '2026-01-01T00:00:00.000Z',
    oldMetadata: 'kept',
    ...change,
  };
}

const HOSTILE = [
  'null',
  '~',
  'yes',
  'NO',
  'on',
  '1e5',
  '0x10',
  '0o7',
  '.inf',
  '1_000',
  '2026-01-01',
  '12:30:45',
  '<<',
  '=',
  '',
  ' ',
  ' a ',
  '-',
  '- a',
  '? a',
  ': a',
  'a: b',
  'a #b',
  '#a',
  '&a',
  '*a',
  '!a',
  '|',
  '>',
  '%a',
  '@a',
  '`a`',
  '"',
  "'",
  '"a\'b`',
  'a\nb',
  'a\r\nb',
  '\t',
  '\\',
  '\\n',
  'a\u0000b',
  '\u0007',
  '\u007f',
  '\u0085',
  '\u2028',
  '\u2029',
  '\ufeff',
  '\ufffe',
  '\ud800',
  '😀',
  'é',
  'ünïcödé',
  '[a]',
  '{a: b}',
  'a,b',
  '---',
  '...',
  '../../etc/passwd',
  '{{x}}',
  '${x}',
  '<script>',
  'a'.repeat(5000),
];

describe('status file', function () {
  this.timeout(300_000);

  it('says in its first line what it waits for, on one line whatever that is', () => {
    const [first, second] = renderStatusFile({ ...HEADER, outcome: 'waiting', waitingFor: 'restart ch-1\n- db: x' }, []).split('\n');
    assert.equal(first, '# Migration m, phase detach, waiting (restart ch-1\\n- db: x), 2026-01-01T00:00:00.000Z.');
    assert.match(second ?? '', /^# Written by/u);
  });

  it('has the keys in the order of the documentation, an entry a replica, and a comment with migration, phase and time', () => {
    const text = renderStatusFile(HEADER, [record({ error: 'HELD: by another' })]);
    assert.match(
      text,
      /^# Migration m, phase detach, running, 2026-01-01T00:00:00\.000Z\.\n#[^\n]*\n- db: shop\n {2}table: orders\n {2}status: DETACHED\n {2}zk_path: \/clickhouse\/tables\/1\n {2}host: ch-1\n {2}replica: r1\n {2}rows: 3\n {2}parts: 1\n {2}updated: "2026-01-01T00:00:00\.000Z"\n {2}old_metadata: kept\n {2}error: "HELD: by another"\n$/,
    );
  });

  it('without replicas it is an empty list', () => {
    assert.deepEqual(parse(renderStatusFile(HEADER, [])), []);
    assert.deepEqual(parseStatusFile(renderStatusFile(HEADER, [])), []);
  });

  it('any name comes back as it was, from readers of YAML 1.2 and of 1.1', () => {
    for (const name of HOSTILE) {
      const one = record({ host: name, database: name, table: name, replica: name, zookeeperPath: name, error: name });
      const text = renderStatusFile({ ...HEADER, migration: name }, [one, record()]);
      for (const version of ['1.2', '1.1'] as const) {
        assert.deepEqual(parse(text, { version }), [statusEntry(one), statusEntry(record())], JSON.stringify(name));
      }
    }
  });

  it('holds for names nobody thought of', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), fc.string({ unit: 'grapheme' }), (table, error) => {
        const one = record({ table, database: table, error, zookeeperPath: table });
        assert.deepEqual(parseStatusFile(renderStatusFile({ ...HEADER, migration: table }, [one])), [statusEntry(one)]);
      }),
    );
  });

  it("reads the reference's own file: status 1 to 4, no host", () => {
    const text = '- db: shop\n  status: 3\n  table: orders\n  zk_path: /clickhouse/tables/1\n';
    assert.deepEqual(parseStatusFile(text), [{ db: 'shop', table: 'orders', status: 'ZK_CLEANED', zk_path: '/clickhouse/tables/1' }]);
  });

  it('refuses what is no status file, with every fault and its line', () => {
    const faults = (text: string) => {
      try {
        parseStatusFile(text);
      } catch (error) {
        assert.ok(error instanceof StatusFileError);
        return error.faults.map(({ path, line }) => `${String(line)} ${path}`);
      }
      return [];
    };
    assert.deepEqual(faults(''), ['1 ']);
    assert.deepEqual(faults('a: b'), ['1 ']);
    assert.deepEqual(
      faults('- db: a\n  table: 5\n  status: 9\n- 7\n- {db: a, table: b, status: INIT, zk_path: /c, rows: x, old_metadata: gone}\n'),
      ['1 [0].table', '1 [0].zk_path', '1 [0].status', '4 [1]', '5 [2].rows', '5 [2].old_metadata'],
    );
    assert.equal(faults('- "a\n').length > 0, true);
  });
});

describe('writing the status file', function () {
  this.timeout(300_000);

  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'status-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('makes its folder, replaces what was there, follows a link, and leaves nothing beside it', async () => {
    const file = join(folder, 'a', 'b', 'status.yaml');
    await writeStatusFile(file, 'one');
    await chmod(file, 0o600);
    await writeStatusFile(file, 'two');
    assert.equal(await readFile(file, 'utf8'), 'two');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const link = join(folder, 'link.yaml');
    await symlink(file, link);
    await writeStatusFile(link, 'three');
    assert.equal(await readFile(file, 'utf8'), 'three');
    assert.deepEqual(await readdir(join(folder, 'a', 'b')), ['status.yaml']);
  });

  it('fails with the code of the system, where it cannot be written', async () => {
    await writeFile(join(folder, 'file'), '');
    await assert.rejects(
      writeStatusFile(join(folder, 'file', 'status.yaml'), 'x'),
      (error: NodeJS.ErrnoException) => error.code === 'ENOTDIR' || error.code === 'EEXIST',
    );
    await assert.rejects(writeStatusFile(folder, 'x'), (error: NodeJS.ErrnoException) => error.code === 'EISDIR');
    assert.deepEqual(await readdir(folder), ['file']);
  });

  it('fails below a file system that lets no folder be made, and comes back', async function () {
    if (process.platform !== 'linux') this.skip();
    await assert.rejects(writeStatusFile('/proc/no such folder/a/status.yaml', 'x'), (error: NodeJS.ErrnoException) => error.code === 'ENOENT');
    await assert.rejects(writeStatusFile('/proc/1/no such folder/status.yaml', 'x'), (error: NodeJS.ErrnoException) => error.code === 'ENOENT');
  });

  it('when there is room for a part of it only, it fails, and what was there before is still there', async () => {
    const file = join(folder, 'status.yaml');
    await writeStatusFile(file, 'whole\n');
    const code = `require(${JSON.stringify(join(__dirname, '../../src/report/status-file.js'))}).writeStatusFile(${JSON.stringify(file)}, 'x'.repeat(1e6)).then(() => console.log('written'), (error) => console.log(error.code))`;
    const words = await new Promise<string>((resolve) => {
      // A limit on the size of files stands for a disk that is full: the first write is cut short, the next one fails.
      execFile('bash', ['-c', 'ulimit -f 64; exec "$0" -e "$1"', process.execPath, code], (_error, stdout) => resolve(stdout.trim()));
    });
    assert.equal(words, 'EFBIG');
    assert.equal(await readFile(file, 'utf8'), 'whole\n');
    assert.deepEqual(await readdir(folder), ['status.yaml']);
  });

  it('two that write at once leave one of both, whole', async () => {
    const file = join(folder, 'status.yaml');
    const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(300_000));
    await Promise.all(texts.map((text) => writeStatusFile(file, text)));
    assert.ok(texts.includes(await readFile(file, 'utf8')));
  });
});
