import { endStack } from './stack';

/** A run that is told to stop takes its servers along. */
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.once(signal, () => {
    void endStack().finally(() => process.exit(1));
  });
}

/** Ends what the run started, once, at its end. */
export const mochaHooks = {
  async afterAll(this: Mocha.Context): Promise<void> {
    this.timeout(120_000);
    await endStack();
  },
};
