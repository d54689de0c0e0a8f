import fs from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import which from 'which';
import { cacheDir, cachedFolder } from './cache';
import type { Progress } from './progress';

/** ZooKeeper's version, and the libraries beside it that its server needs but its artifact does not pull in. */
export const ZOOKEEPER_VERSION = '3.9.4';
const ARTIFACTS = [
  ['org.apache.zookeeper', 'zookeeper', ZOOKEEPER_VERSION],
  ['io.dropwizard.metrics', 'metrics-core', '4.1.12.1'],
  ['org.xerial.snappy', 'snappy-java', '1.1.10.5'],
  ['org.slf4j', 'slf4j-simple', '2.0.13'],
] as const;

/** How to get one, in a line. */
export const ZOOKEEPER_MISSING = 'ZooKeeper is missing: apt-get install zookeeper, or Maven (apt-get install maven) to have it fetched';

/** A ZooKeeper server installed by the system's package manager (Debian, Ubuntu). */
export const INSTALLED_JAR = '/usr/share/java/zookeeper.jar';

/**
 * Java's class path for a ZooKeeper server: the cached copy, one fetched by Maven into the cache, or
 * the system's.
 *
 * @throws Error when none is there and Maven cannot fetch it, with what it said
 */
export async function zookeeperClassPath(progress: Progress): Promise<string> {
  const installed = fs.existsSync(INSTALLED_JAR) ? `${INSTALLED_JAR}:/usr/share/java/*` : undefined;
  const maven = await which('mvn', { nothrow: true });
  if (maven === null && !hasCachedZookeeper(cacheDir())) return installed ?? fail(ZOOKEEPER_MISSING);
  try {
    return path.join(await cachedZookeeper(maven ?? 'mvn', progress), '*');
  } catch (error) {
    if (installed === undefined) throw error;
    progress('Maven cannot fetch ZooKeeper: the installed one is taken');
    return installed;
  }
}

function fail(message: string): never {
  throw new Error(message);
}

async function cachedZookeeper(maven: string, progress: Progress): Promise<string> {
  return cachedFolder(`zookeeper-${ZOOKEEPER_VERSION}`, isComplete, async (draft) => {
    progress(`fetching ZooKeeper ${ZOOKEEPER_VERSION} with Maven (once)`);
    fs.writeFileSync(path.join(draft, 'pom.xml'), pom());
    await execa(maven, ['-B', '-q', 'dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${draft}`], {
      cwd: draft,
      all: true,
    });
  });
}

function isComplete(dir: string): boolean {
  return ARTIFACTS.every(([, artifact, version]) => fs.existsSync(path.join(dir, `${artifact}-${version}.jar`)));
}

/** Whether a copy is in the cache already, so that Maven is not needed. */
export function hasCachedZookeeper(cache: string): boolean {
  return isComplete(path.join(cache, `zookeeper-${ZOOKEEPER_VERSION}`));
}

function pom(): string {
  const dependencies = ARTIFACTS.map(
    ([group, artifact, version]) =>
      `    <dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`,
  );
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ch-zk-migrate</groupId>
  <artifactId>zookeeper</artifactId>
  <version>1</version>
  <dependencies>
${dependencies.join('\n')}
  </dependencies>
</project>
`;
}
