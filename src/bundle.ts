/**
 * Builds the workflow bundle beside the compiled program (`npm run build`), so that a worker starts without bundling.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

export const WORKFLOW_BUNDLE = join(__dirname, '..', 'workflow-bundle.js');

export async function buildBundle(): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: require.resolve('./workflows'),
    logger: new DefaultLogger('WARN'),
  });
  await writeFile(WORKFLOW_BUNDLE, code);
  return WORKFLOW_BUNDLE;
}

if (require.main === module) {
  void buildBundle().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  });
}
