'use strict';

/** Mocha adds the files of its command line to those named here: with `mocha dist/test/config/yaml.test.js` only that one is meant. */
const named = process.argv.slice(2).filter((word, at, words) => (word.startsWith('dist/') || word.endsWith('.test.js')) && words[at - 1] !== '--ignore');
const some = named.length > 0;
/** Those of whole migrations stand on everything that is fetched or built. */
const onServers = !some || named.some((word) => /integration|faults/u.test(word));

/** The files that take longest come first, so that neither process ends long before the other. */
const SPEC = ['dist/test/{faults,integration}/**/*.test.js', 'dist/test/!(faults|integration)/**/*.test.js'];

/** Tests run on the compiled program, on real ports and servers: three files at a time, since each waits now and then; each process with an embedded stack of its own. */
module.exports = {
  ...(some ? {} : { spec: SPEC, parallel: true, jobs: 3 }),
  // The first has what is fetched or built once, the second ends the stacks that tests asked for.
  require: [...(onServers ? ['dist/test/support/prerequisites.js'] : []), 'dist/test/support/hooks.js'],
  timeout: 300_000,
  slow: 5_000,
  'forbid-only': process.env.CI !== undefined,
};
