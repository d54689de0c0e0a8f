/**
 * Debian's clickhouse-server 18.16.1: a real server from before `SYSTEM RESTORE REPLICA`, whose replicas are truly active. Fetched once with
 * apt and unpacked into the per-user cache; nothing is installed, and no root is needed.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execa } from 'execa';
import which from 'which';

import { cachedFolder } from '../../src/dev/cache';
import { lastLines } from '../../src/dev/log-tail';
import { freePorts } from '../../src/dev/ports';
import { waitFor } from '../../src/dev/processes';
import type { Child } from './stack';

const VERSION = '18.16.1+ds-7.3+b2';

/** The server's packages, by what they must be. */
const CHECKSUMS: Readonly<Record<string, string>> = {
  'clickhouse-common': '80c25a57071944be5a2ecc0b3434a8a8b9359f0600b3bc8855d5f340730dc247',
  'clickhouse-server': '343046f3c71fab487838cb3da1bd1c14ca0090b5f63bcb245b637de0324e677b',
};

/** Libraries that a Debian without it may lack: whatever the archive has of them, which apt has verified. */
const LIBRARIES = [
  ...['libboost-filesystem1.74.0', 'libboost-program-options1.74.0', 'libcapnp-0.9.2', 'libcctz2', 'libcpuinfo0', 'libdouble-conversion3'],
  ...['libexpat1', 'libfarmhash0', 'libicu72', 'libjemalloc2', 'libltdl7', 'liblz4-1', 'libmariadb3', 'libmetrohash1', 'libodbc2', 'libpcre3'],
  ...['libpococrypto80', 'libpocodata80', 'libpocodataodbc80', 'libpocofoundation80', 'libpocojson80', 'libpocomongodb80', 'libpoconet80'],
  ...['libpoconetssl80', 'libpocoutil80', 'libpocoxml80', 'librdkafka1', 'libre2-9', 'libsasl2-2', 'libssl3', 'libzstd1'],
];

const LIBRARY_DIRS = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];

/**
 * The unpacked server's folder.
 *
 * @throws Error when this machine cannot have it, saying why
 */
async function unpackedServer(): Promise<string> {
  try {
    return await cachedFolder(`clickhouse-${VERSION}`, isComplete, async (draft) => {
      const [apt, dpkg] = await Promise.all(['apt-get', 'dpkg-deb'].map((tool) => which(tool, { nothrow: true })));
      if (apt === null || dpkg === null) throw new Error('apt-get and dpkg-deb are needed');
      const debs = join(draft, 'debs');
      mkdirSync(debs);
      await download(draft, debs);
      for (const file of readdirSync(debs)) {
        checkSum(join(debs, file), file.split('_')[0] ?? '');
        await execa('dpkg-deb', ['-x', join(debs, file), draft]);
      }
      for (const dir of ['debs', 'apt']) rmSync(join(draft, dir), { recursive: true, force: true });
    });
  } catch (error) {
    throw new Error(`Debian's clickhouse-server ${VERSION} (amd64, Debian 12) cannot be had on this machine, and these tests need it: ${String(error)}`, { cause: error });
  }
}

/** With the machine's own lists of packages, and where they are missing or old, with fresh ones beside. */
async function download(draft: string, debs: string): Promise<void> {
  const packages = [...Object.keys(CHECKSUMS).map((name) => `${name}=${VERSION}`), ...LIBRARIES];
  const first = await execa('apt-get', ['download', ...packages], { cwd: debs, reject: false, all: true });
  if (first.exitCode === 0) return;
  const own = join(draft, 'apt');
  for (const dir of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(own, dir), { recursive: true });
  const options = ['-o', `Dir::State::lists=${join(own, 'lists')}`, '-o', `Dir::Cache=${join(own, 'cache')}`];
  await execa('apt-get', [...options, 'update'], { all: true });
  await execa('apt-get', [...options, 'download', ...packages], { cwd: debs, all: true });
}

function checkSum(file: string, name: string): void {
  const wanted = CHECKSUMS[name];
  if (wanted === undefined) return;
  const found = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (found !== wanted) throw new Error(`${name} has the checksum ${found}, and not ${wanted}`);
}

function isComplete(dir: string): boolean {
  try {
    return readdirSync(join(dir, 'usr/sbin')).includes('clickhouse-server');
  } catch {
    return false;
  }
}

/** One such server on a directory of its own. */
export class OldClickHouse {
  private constructor(
    readonly url: string,
    private readonly dir: string,
    private readonly process: Child,
  ) {}

  /** @param root the servers' `<zookeeper><root>` */
  static async start(zookeeper: string, root: string): Promise<OldClickHouse> {
    const unpacked = await unpackedServer();
    const dir = mkdtempSync(join(tmpdir(), 'ch-zk-migrate-old-'));
    const [http = 0, tcp = 0, interserver = 0] = await freePorts(3);
    writeFileSync(join(dir, 'users.xml'), USERS);
    writeFileSync(join(dir, 'config.xml'), config(dir, { http, tcp, interserver }, zookeeper, root));
    const log = join(dir, 'log');
    const server = execa(join(unpacked, 'usr/sbin/clickhouse-server'), [`--config-file=${join(dir, 'config.xml')}`], {
      env: { LD_LIBRARY_PATH: LIBRARY_DIRS.map((each) => join(unpacked, each)).join(':') },
      cwd: dir, reject: false, stdin: 'ignore', stdout: { file: log }, stderr: { file: log },
    });
    const old = new OldClickHouse(`http://127.0.0.1:${http}`, dir, server);
    if (!(await waitFor(() => old.answers(), 240_000, 200))) {
      const words = lastLines(log, 10);
      await old.stop();
      throw new Error(`clickhouse-server ${VERSION} does not come up: ${words}`);
    }
    return old;
  }

  /** The answer's text. */
  async query(statement: string): Promise<string> {
    const answer = await fetch(this.url, { method: 'POST', body: statement });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${statement}: ${text}`);
    return text.trim();
  }

  async stop(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.process;
    rmSync(this.dir, { recursive: true, force: true });
  }

  private async answers(): Promise<boolean> {
    try {
      return (await (await fetch(`${this.url}/ping`)).text()) === 'Ok.\n';
    } catch {
      return false;
    }
  }
}

const USERS = `<yandex>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default><password></password><networks><ip>127.0.0.1/8</ip></networks><profile>default</profile><quota>default</quota></default></users>
</yandex>
`;

function config(dir: string, ports: { http: number; tcp: number; interserver: number }, zookeeper: string, root: string): string {
  const [host = '', port = ''] = zookeeper.split(':');
  return `<yandex>
  <logger><level>warning</level><console>1</console></logger>
  <http_port>${ports.http}</http_port>
  <tcp_port>${ports.tcp}</tcp_port>
  <interserver_http_port>${ports.interserver}</interserver_http_port>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <listen_host>127.0.0.1</listen_host>
  <path>${dir}/data/</path>
  <tmp_path>${dir}/data/tmp/</tmp_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>100000000</mark_cache_size>
  <timezone>UTC</timezone>
  <zookeeper><node><host>${host}</host><port>${port}</port></node><root>${root}</root></zookeeper>
</yandex>
`;
}
