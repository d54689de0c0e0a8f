import type { MigrationSpec } from '../domain/spec';

/** The environment, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A variable that the spec names has no value here. Names the variable, never what is or was in it. */
export class MissingVariableError extends Error {
  readonly code = 'MISSING_VARIABLE';
  override readonly name = 'MissingVariableError';

  constructor(readonly variable: string) {
    super(`the variable ${variable} is not set: the spec names it for a secret, and this process reads it from its environment`);
  }
}

/**
 * The secret that a variable holds. The only place where one is read; what it returns goes to a client, and nowhere else.
 *
 * @param variable the name, from `passwordEnv` or `digestEnv`
 * @throws {MissingVariableError} when it is not set, or empty
 */
export function resolveSecret(variable: string, env: Environment): string {
  const value = Object.hasOwn(env, variable) ? env[variable] : undefined;
  if (value === undefined || value === '') throw new MissingVariableError(variable);
  return value;
}

/** The variables that the spec names and that have no value in `env`: each once, sorted. */
export function missingVariables(spec: MigrationSpec, env: Environment): string[] {
  const named = [...spec.hosts.map((host) => host.passwordEnv), spec.digestEnv].filter((name) => name !== undefined);
  return [...new Set(named)].filter((name) => !Object.hasOwn(env, name) || (env[name] ?? '') === '').sort();
}
