import { Command } from 'commander';

import { CliError, EXIT } from './common';

export function doctorCommand(): Command {
  return new Command('doctor').allowUnknownOption().allowExcessArguments().action(() => {
    throw new CliError(EXIT.FAILED, 'doctor: not built yet');
  });
}
