import { requireParts } from '../../src/dev/prerequisites';
import { toStderr } from '../../src/dev/progress';

/** Once before all tests, without a test's time limit: what is fetched or built for the first time takes minutes. */
export async function mochaGlobalSetup(): Promise<void> {
  await requireParts(toStderr);
}
