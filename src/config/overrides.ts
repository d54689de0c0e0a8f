import { PHASES, type Phase } from '../domain/spec';
import { fileFault } from './field-checks';
import { quoted } from './key-path';
import type { SpecFault } from './spec-error';
import type { TakeOverChoices } from './take-over';

/** What the command line says instead of, or on top of, the spec. */
export interface SpecOverrides {
  /** Gates on top of the spec's. */
  readonly pauseBefore?: readonly string[] | undefined;
  /** Instead of the spec's. */
  readonly statusFile?: string | undefined;
  /** Replicas that may be on no host of the spec. */
  readonly allowMissingReplicas?: readonly string[] | undefined;
  /** The half-finished run to resume. */
  readonly takeOver?: TakeOverChoices | undefined;
}

/** What is wrong with the overrides, by flag. */
export function overrideFaults({ pauseBefore = [], statusFile, allowMissingReplicas = [] }: SpecOverrides): SpecFault[] {
  const wrongFile = statusFile === undefined ? undefined : fileFault(statusFile);
  return [
    ...pauseBefore
      .filter((phase) => !PHASES.includes(phase as Phase))
      .map((phase) => ({ path: '--pause-before', message: `${quoted(phase)} is no phase; expected one of ${PHASES.join(', ')}` })),
    ...(wrongFile === undefined ? [] : [{ path: '--status-file', message: wrongFile }]),
    ...allowMissingReplicas
      .filter((replica) => replica.trim() === '')
      .map(() => ({ path: '--allow-missing-replica', message: "expected a replica's name, found nothing" })),
  ];
}
