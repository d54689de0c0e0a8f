'use strict';

/** Mocha adds the files of its command line to those named here: with `mocha dist/test/config/yaml.test.js` only that one is meant. */
const named = process.argv.slice(2).some((word) => word.startsWith('dist/') || word.endsWith('.test.js'));

/** Tests run on the compiled program, one file after the other: they share one embedded stack, two cores and real ports. */
module.exports = {
  ...(named ? {} : { spec: ['dist/test/**/*.test.js'] }),
  // The first has what is fetched or built once, the second ends the shared stack where a test asked for it.
  require: [...(named ? [] : ['dist/test/support/prerequisites.js']), 'dist/test/support/hooks.js'],
  timeout: 120_000,
  slow: 5_000,
  parallel: false,
  'forbid-only': process.env.CI !== undefined,
};
