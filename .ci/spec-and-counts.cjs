'use strict';

const { writeFileSync } = require('node:fs');

const { reporters } = require('mocha');

/** Mocha's `spec` reporter, which also keeps its counts in the file `--reporter-option counts=FILE`, after every test. */
module.exports = class SpecAndCounts extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const file = options.reporterOptions?.counts ?? options.reporterOption?.counts;
    const write = (ended) => writeFileSync(file, JSON.stringify({ passes: this.stats.passes, failures: this.stats.failures, ended }));
    write(false);
    for (const event of ['pass', 'fail']) runner.on(event, () => write(false));
    runner.once('end', () => write(true));
  }
};
