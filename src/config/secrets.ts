import { type MigrationSpec, secretVariables } from '../domain/spec';

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
  return secretVariables(spec).filter((name) => !Object.hasOwn(env, name) || (env[name] ?? '') === '');
}

/** The environment without the named variables, for a process that is none of ours. */
export function withoutVariables(env: Environment, variables: readonly string[]): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !variables.includes(name)));
}

/** The text with `***` in place of every secret that the named variables hold. */
export function withoutSecrets(text: string, env: Environment, variables: readonly string[]): string {
  const secrets = variables.flatMap((name) => {
    const value = env[name]?.trim() ?? '';
    // Of `user:password` the password alone is one too.
    const password = value.includes(':') ? value.slice(value.indexOf(':') + 1) : '';
    return [value, password].filter((secret) => secret.length >= 3 || secret === value).filter((secret) => secret !== '');
  });
  // The longest first: one may be a part of another.
  return secrets.sort((a, b) => b.length - a.length).reduce((rest, secret) => rest.replaceAll(secret, '***'), text);
}
