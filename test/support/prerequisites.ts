import { missingPrerequisites } from '../../src/dev/prerequisites';
import { toStderr } from '../../src/dev/progress';
import { temporalBinary } from '../../src/dev/temporal-binary';
import { zookeeperClassPath } from '../../src/dev/zookeeper-jars';

/** Once before all tests, without a test's time limit: what is fetched or built for the first time takes minutes. */
export async function mochaGlobalSetup(): Promise<void> {
  const missing = await missingPrerequisites();
  if (missing.length > 0) throw new Error(missing.join('\n'));
  await temporalBinary(toStderr);
  await zookeeperClassPath(toStderr);
}
