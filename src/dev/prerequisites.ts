import fs from 'node:fs';
import { execa } from 'execa';
import semver from 'semver';
import which from 'which';
import { cacheDir } from './cache';
import type { Progress } from './progress';
import { findTemporalBinary, temporalBinary } from './temporal-binary';
import { hasCachedZookeeper, INSTALLED_JAR, ZOOKEEPER_MISSING, zookeeperClassPath } from './zookeeper-jars';

const NODE = '>=20.19.0';
const JAVA_MAJOR = 11;

/**
 * Sees that everything is here that an embedded stack is made of, before anything is started: first what this machine must have, then
 * what is fetched or built once and kept in the cache.
 *
 * @throws Error a line for each thing that is missing, saying how to get it
 */
export async function requireParts(progress: Progress): Promise<void> {
  const missing = await missingPrerequisites();
  if (missing.length > 0) throw new Error([...missing, ...(await temporalToCome())].join('\n'));
  const fetched = await Promise.allSettled([temporalBinary(progress), zookeeperClassPath(progress)]);
  const failures = fetched.filter((result) => result.status === 'rejected').map((result) => result.reason as Error);
  if (failures.length > 0) throw new Error(failures.map(({ message }) => message).join('\n'), { cause: failures[0] });
}

/** What can be told at once. */
async function missingPrerequisites(): Promise<string[]> {
  const [java, zookeeper] = await Promise.all([checkJava(), checkZookeeper()]);
  return [checkPlatform(), checkNode(), java, zookeeper, checkEngine()].filter((line) => line !== undefined);
}

/** Beside what is missing for certain: whether the Temporal CLI can be fetched is known only when that is tried. */
async function temporalToCome(): Promise<string[]> {
  if ((await findTemporalBinary()) !== undefined || (await which('go', { nothrow: true })) !== null) return [];
  return ['the Temporal CLI is not here yet: it will be fetched; where it cannot be, install it (https://docs.temporal.io/cli), or Go to have it built'];
}

function checkPlatform(): string | undefined {
  return fs.existsSync('/proc/self/stat') ? undefined : 'the embedded stack needs Linux: elsewhere use docker-compose.yml';
}

function checkNode(): string | undefined {
  return semver.satisfies(process.versions.node, NODE) ? undefined : `Node ${NODE} is needed, this is ${process.versions.node}: install it`;
}

async function checkJava(): Promise<string | undefined> {
  const advice = `Java ${JAVA_MAJOR} or later is needed for ZooKeeper: for example apt-get install default-jre-headless`;
  if ((await which('java', { nothrow: true })) === null) return advice;
  const { all } = await execa('java', ['-version'], { all: true, reject: false });
  const major = Number(/version "(?:1\.)?(\d+)/.exec(all)?.[1] ?? JAVA_MAJOR);
  return major >= JAVA_MAJOR ? undefined : `${advice} (this is Java ${major})`;
}

async function checkZookeeper(): Promise<string | undefined> {
  if (hasCachedZookeeper(cacheDir()) || fs.existsSync(INSTALLED_JAR) || (await which('mvn', { nothrow: true })) !== null) {
    return undefined;
  }
  return ZOOKEEPER_MISSING;
}

function checkEngine(): string | undefined {
  try {
    require.resolve('chdb');
    return undefined;
  } catch {
    return 'the embedded ClickHouse engine (npm package chdb) is missing: clone the repository and run npm ci there';
  }
}
