/** One thing that is wrong with a spec. */
export interface SpecFault {
  /** The key path, such as `clickhouse.hosts[1].url`; the flag (`--pause-before`) for a fault of the command line; `''` for the whole file. */
  readonly path: string;
  /** The line in the file, from 1; absent for a fault of the command line. */
  readonly line?: number;
  /** What is wrong and what to write instead. It never repeats a value that may be a secret. */
  readonly message: string;
  /** The file that `line` counts in, where it is not the spec itself (`tables.from`). */
  readonly file?: string;
}

/** A spec that cannot be used, with every fault found. Thrown before anything is contacted. */
export class SpecError extends Error {
  readonly code = 'BAD_SPEC';
  override readonly name = 'SpecError';

  constructor(
    /** The spec file, as it was named. */
    readonly file: string,
    readonly faults: readonly SpecFault[],
    options?: ErrorOptions,
  ) {
    super(
      [`${file}: ${faults.length === 1 ? '1 fault' : `${String(faults.length)} faults`}`, ...faults.map(formatFault)].join('\n  '),
      options,
    );
  }
}

/** One fault on one line: `line 4  clickhouse.hosts[1].url: …`. */
export function formatFault(fault: SpecFault): string {
  const place = fault.line === undefined ? '' : `line ${String(fault.line)}`;
  const where = [fault.file, place].filter((part) => part !== undefined && part !== '').join(' ');
  return [where, fault.path === '' ? fault.message : `${fault.path}: ${fault.message}`].filter((part) => part !== '').join('  ');
}
