import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatFault, loadSpec, SpecError } from '../../src/config/load-spec';
import { specText } from './helpers';

/** As a user who owns nothing: whoever runs the tests as root may read every file. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return work();
  process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe('loading a spec file', function () {
  this.timeout(300_000);
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'spec-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  const write = (name: string, text: string | Uint8Array) => {
    const file = join(dir, name);
    writeFileSync(file, text);
    return file;
  };
  const errorOf = async (file: string, ...rest: unknown[]): Promise<SpecError> =>
    loadSpec(file, ...(rest as [])).then(
      () => assert.fail('the spec was accepted'),
      (error: unknown) => (error instanceof SpecError ? error : assert.fail(String(error))),
    );

  it('answers with the resolved spec and where it came from', async () => {
    const text = specText();
    const { spec, source } = await loadSpec(write('spec.yaml', text));
    assert.equal(spec.id, 'move');
    assert.deepEqual(source, { file: join(dir, 'spec.yaml'), text });
  });

  it('reads a file with a byte order mark and Windows line ends', async () => {
    const { spec } = await loadSpec(write('spec.yaml', `\ufeff${specText().replaceAll('\n', '\r\n')}`));
    assert.equal(spec.hosts.length, 2);
  });

  it('says that the file does not exist', async () => {
    const { faults, message } = await errorOf(join(dir, 'none.yaml'));
    assert.deepEqual(faults, [{ path: '', message: 'does not exist' }]);
    assert.match(message, /none\.yaml: 1 fault\n {2}does not exist/);
  });

  it('says that a part of the path is no directory', async () => {
    assert.match((await errorOf(join(write('spec.yaml', ''), 'x'))).message, /no directory/);
  });

  it('says that it is a directory', async () => {
    assert.match((await errorOf(dir)).message, /directory/);
  });

  it('says that it may not be read', async () => {
    const file = write('spec.yaml', specText());
    chmodSync(file, 0);
    assert.match((await asNobody(() => errorOf(file))).message, /permission denied/);
  });

  it('says that its links lead in a circle', async () => {
    symlinkSync(join(dir, 'a'), join(dir, 'b'));
    symlinkSync(join(dir, 'b'), join(dir, 'a'));
    assert.match((await errorOf(join(dir, 'a'))).message, /circle/);
  });

  it('does not read a device', async () => {
    assert.match((await errorOf('/dev/zero')).message, /device/);
  });

  it('reads a pipe', async () => {
    const pipe = join(dir, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const [{ spec }] = await Promise.all([
      loadSpec(pipe),
      Promise.resolve().then(async () => (await import('node:fs/promises')).writeFile(pipe, specText())),
    ]);
    assert.equal(spec.id, 'move');
  });

  it('does not read a file that is too large', async () => {
    assert.match((await errorOf(write('spec.yaml', '#'.repeat(9 * 2 ** 20)))).message, /larger than 8 MiB/);
  });

  it('says that it is not UTF-8', async () => {
    assert.match((await errorOf(write('spec.yaml', Buffer.from('id: \xff', 'latin1')))).message, /UTF-8/);
  });

  it('lists the faults of the command line with those of a file that cannot be read', async () => {
    const { faults } = await errorOf(join(dir, 'none.yaml'), { pauseBefore: ['dinner'] });
    assert.deepEqual(
      faults.map(({ path }) => path),
      ['', '--pause-before'],
    );
  });

  it('makes the paths of certificates absolute, from the spec on', async () => {
    const tls = '{ name: ch-1, url: "https://ch-1:8443", tls: { ca: tls/ca.pem, cert: /etc/c.pem, key: ../k.pem } }';
    mkdirSync(join(dir, 'specs'));
    const { spec } = await loadSpec(write('specs/spec.yaml', specText({ host: tls })));
    assert.deepEqual(spec.hosts[0]?.tls, { ca: join(dir, 'specs/tls/ca.pem'), cert: '/etc/c.pem', key: join(dir, 'k.pem') });
    assert.equal(spec.hosts[1]?.tls, undefined);
  });

  describe('tables.from', () => {
    const spec = (from = 'lists/tables.yaml') => write('spec.yaml', specText({ rest: `tables: { from: ${from} }` }));
    const list = (text: string) => {
      mkdirSync(join(dir, 'lists'), { recursive: true });
      return write('lists/tables.yaml', text);
    };

    it('is read beside the spec, in the form of the status file, each entry once', async () => {
      const file = list(`# migration x, phase restore
- { db: shop, table: orders, status: RESTORED, zk_path: /x, host: ch-1, replica: r1, rows: 1, parts: 2, updated: now, old_metadata: kept, error: no }
- { db: shop, table: orders, status: 1, zk_path: /x }
- { db: shop, table: orders }
- { db: "a.b", table: "c/d" }
`);
      const loaded = await loadSpec(spec());
      assert.deepEqual(loaded.spec.tables, {
        include: [],
        exclude: [],
        list: [
          { host: 'ch-1', database: 'shop', table: 'orders' },
          { database: 'shop', table: 'orders' },
          { database: 'a.b', table: 'c/d' },
        ],
      });
      assert.equal(loaded.source.tablesFile, file);
    });

    it('that does not exist is a fault of the key that names it', async () => {
      const { faults } = await errorOf(spec());
      assert.deepEqual(faults, [{ path: 'tables.from', line: 8, message: `${join(dir, 'lists/tables.yaml')} does not exist` }]);
    });

    it('has all its faults listed with those of the spec, with its own lines', async () => {
      const file = list(
        '- { db: shop, table: 1 }\n- { db: shop, tabel: x }\n- nope\n- { db: "", table: a, host: ch-9 }\n- { db: a, table: b, host: ch-9 }\n',
      );
      const { faults } = await errorOf(write('spec.yaml', specText({ rest: 'tables: { from: lists/tables.yaml, disk: 1 }' })));
      assert.deepEqual(
        faults.map(({ path, line, file: where }) => [path, line, where]),
        [
          ['tables.disk', 8, undefined],
          ['tables.from[1].tabel', 2, file],
          ['tables.from[0].table', 1, file],
          ['tables.from[1].table', 2, file],
          ['tables.from[2]', 3, file],
          ['tables.from[3].db', 4, file],
        ],
      );
      const [, unknown] = faults;
      assert.ok(unknown);
      assert.match(formatFault(unknown), /tables\.yaml line 2 {2}tables\.from\[1\]\.tabel: unknown key "tabel"; did you mean "table"\?$/);
    });

    it('names only hosts of the spec', async () => {
      list('- { db: a, table: b, host: ch-9 }\n- { db: a, table: b, host: ch-1 }\n');
      const { faults } = await errorOf(spec());
      assert.deepEqual(
        faults.map(({ path, line }) => [path, line]),
        [['tables.from[0].host', 1]],
      );
      assert.match(faults[0]?.message ?? '', /ch-1, ch-2/);
    });

    for (const [title, text, message] of [
      ['an empty list', '[]', /empty/],
      ['an empty file', '', /expected a list, found nothing/],
      ['a mapping', 'db: x', /expected a list, found a mapping/],
      ['broken YAML', '- "', /missing/],
    ] as const) {
      it(`is refused: ${title}`, async () => {
        list(text);
        const { faults } = await errorOf(spec());
        assert.equal(faults[0]?.path, 'tables.from');
        assert.match(faults[0].message, message);
      });
    }

    it('that would not fit into a payload is refused', async () => {
      list(Array.from({ length: 20_000 }, (_, index) => `- { db: warehouse, table: table_with_a_name_${String(index)} }`).join('\n'));
      const { faults } = await errorOf(spec());
      assert.deepEqual(
        faults.map(({ path, line }) => [path, line]),
        [['tables.from', 8]],
      );
      assert.match(faults[0]?.message ?? '', /1024 KiB/);
    });
  });
});
