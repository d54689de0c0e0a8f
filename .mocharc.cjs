'use strict';

/** Tests run on the compiled program, one file after the other: they share one embedded stack, two cores and real ports. */
module.exports = {
  spec: ['dist/test/**/*.test.js'],
  // Ends the shared stack; it does so also where only some files are run.
  require: ['dist/test/support/hooks.js'],
  timeout: 120_000,
  slow: 5_000,
  parallel: false,
  'forbid-only': process.env.CI !== undefined,
};
