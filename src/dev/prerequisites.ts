import fs from 'node:fs';
import { execa } from 'execa';
import semver from 'semver';
import which from 'which';
import { cacheDir } from './cache';
import { hasCachedZookeeper, INSTALLED_JAR } from './zookeeper-jars';

const NODE = '>=20.19.0';
const JAVA_MAJOR = 11;

/**
 * What the embedded stack lacks on this machine: a line for each, saying how to get it. Empty when
 * it can start. Fetches and builds nothing; the Temporal CLI is looked for when it is needed, for it
 * may be fetched or built (temporal-binary.ts).
 */
export async function missingPrerequisites(): Promise<string[]> {
  const [java, zookeeper] = await Promise.all([checkJava(), checkZookeeper()]);
  return [checkPlatform(), checkNode(), java, zookeeper, checkEngine()].filter((line) => line !== undefined);
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
  return 'ZooKeeper is missing: apt-get install zookeeper, or Maven (apt-get install maven) to have it fetched';
}

function checkEngine(): string | undefined {
  try {
    require.resolve('chdb');
    return undefined;
  } catch {
    return 'the embedded ClickHouse engine (npm package chdb) is missing: clone the repository and run npm ci there';
  }
}
