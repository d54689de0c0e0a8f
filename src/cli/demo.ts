import { Command } from 'commander';

import { CliError, EXIT } from './common';

export function demoCommand(): Command {
  return new Command('demo').allowUnknownOption().allowExcessArguments().action(() => {
    throw new CliError(EXIT.FAILED, 'demo: not built yet');
  });
}
