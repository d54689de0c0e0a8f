import type { z } from 'zod';

import { issueWords } from './type-words';
import { unknownKeys } from './unknown-keys';
import type { PathFault } from './yaml-source';

/** What is wrong with the shape and the single values of `value`, in the users' words: unknown keys, wrong types, refused values. */
export function shapeFaults(schema: z.ZodType, value: unknown): PathFault[] {
  const parsed = schema.safeParse(value, { error: (issue) => issueWords(issue) });
  const issues = parsed.success ? [] : parsed.error.issues.filter((issue) => issue.code !== 'unrecognized_keys');
  const values = issues.map((issue) => ({
    path: issue.path.map((step) => (typeof step === 'number' ? step : String(step))),
    message: issue.message,
  }));
  return [...unknownKeys(schema, value), ...values];
}
