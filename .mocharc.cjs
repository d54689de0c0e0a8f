'use strict';

/** Mocha adds the files of its command line to those named here: with `mocha dist/test/config/yaml.test.js` only that one is meant. */
const named = process.argv.slice(2).some((word) => word.startsWith('dist/') || word.endsWith('.test.js'));

/** The files that take longest come first, so that neither process ends long before the other. */
const SPEC = ['dist/test/{faults,integration}/**/*.test.js', 'dist/test/!(faults|integration)/**/*.test.js'];

/** Tests run on the compiled program, on real ports and servers: three files at a time, since each waits now and then; each process with an embedded stack of its own. */
module.exports = {
  ...(named ? {} : { spec: SPEC, parallel: true, jobs: 3 }),
  // The first has what is fetched or built once, the second ends the stacks that tests asked for.
  require: [...(named ? [] : ['dist/test/support/prerequisites.js']), 'dist/test/support/hooks.js'],
  timeout: 300_000,
  slow: 5_000,
  'forbid-only': process.env.CI !== undefined,
};
