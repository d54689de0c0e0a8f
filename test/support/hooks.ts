import { endStack } from './stack';

/** Ends what the run started, once, at its end. */
export const mochaHooks = {
  async afterAll(this: Mocha.Context): Promise<void> {
    this.timeout(120_000);
    await endStack();
  },
};
