import { distance } from 'fastest-levenshtein';
import { z } from 'zod';

import { type KeyPath, quoted } from './key-path';

/** A key that is not in the schema, and what to say about it. */
export interface UnknownKey {
  readonly path: KeyPath;
  readonly message: string;
}

/** The keys of `value` that `schema` does not know, all the way down. */
export function unknownKeys(schema: z.ZodType, value: unknown): UnknownKey[] {
  return walk(schema, value, [], knownPlaces(schema));
}

type Places = ReadonlyMap<string, string>;

function walk(schema: z.ZodType, value: unknown, path: KeyPath, places: Places): UnknownKey[] {
  const type = bare(schema);
  if (type instanceof z.ZodArray && Array.isArray(value)) {
    return value.flatMap((item, index) => walk(type.element as z.ZodType, item, [...path, index], places));
  }
  if (!isMapping(value)) return [];
  if (type instanceof z.ZodRecord) {
    return Object.entries(value).flatMap(([key, item]) => walk(type.valueType as z.ZodType, item, [...path, key], places));
  }
  return type instanceof z.ZodObject ? walkObject(type, value, path, places) : [];
}

function walkObject(schema: z.ZodObject, value: Record<string, unknown>, path: KeyPath, places: Places): UnknownKey[] {
  const known = Object.keys(schema.shape);
  return Object.entries(value).flatMap(([key, item]) => {
    const child = known.includes(key) ? (schema.shape[key] as z.ZodType) : undefined;
    const own = [...path, key];
    return child === undefined ? [{ path: own, message: unknownWords(key, own, known, places) }] : walk(child, item, own, places);
  });
}

function unknownWords(key: string, path: KeyPath, known: readonly string[], places: Places): string {
  const secret = variableFor(key, path);
  if (secret !== undefined) return `a secret itself is refused here; put it in a variable and name it with ${secret}`;
  if (key === '<<') return 'merge keys (<<) are not read: YAML 1.2 has none';
  const place = places.get(key);
  const nearest = nearestKey(key, known, place === undefined ? 3 : 1);
  if (nearest !== undefined) return `unknown key ${quoted(key)}; did you mean ${quoted(nearest)}?`;
  if (place !== undefined) return `unknown key ${quoted(key)} here; it belongs to ${place}`;
  return `unknown key ${quoted(key)}; known here: ${known.join(', ')}`;
}

/** The key that names a variable, where a key looks as if its value were a secret; a slip of the finger does not hide one. */
function variableFor(key: string, path: KeyPath): 'passwordEnv' | 'digestEnv' | undefined {
  const word = key.toLowerCase();
  if (distance(word, 'digest') <= 1) return 'digestEnv';
  if (distance(word, 'password') > 2 && !['pass', 'pwd', 'secret', 'passphrase'].includes(word)) return undefined;
  return path.includes('zookeeper') ? 'digestEnv' : 'passwordEnv';
}

function nearestKey(key: string, known: readonly string[], mostEdits: number): string | undefined {
  const far = Math.max(1, Math.min(mostEdits, Math.floor(key.length / 2)));
  const ranked = known
    .map((candidate) => ({ candidate, edits: distance(key.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= far ? best.candidate : undefined;
}

/** Where each key of the schema may stand; the shallowest place wins. */
function knownPlaces(schema: z.ZodType): Places {
  const places = new Map<string, string>();
  let level: { type: z.ZodType; path: string }[] = [{ type: schema, path: '' }];
  while (level.length > 0) {
    level = level.flatMap(({ type, path }) =>
      children(type).map(([key, child]) => {
        const own = key === '' ? `${path}[]` : [path, key].filter((step) => step !== '').join('.');
        if (key !== '' && !places.has(key)) places.set(key, own);
        return { type: child, path: own };
      }),
    );
  }
  return places;
}

function children(schema: z.ZodType): [string, z.ZodType][] {
  const type = bare(schema);
  if (type instanceof z.ZodArray) return [['', type.element as z.ZodType]];
  return type instanceof z.ZodObject ? (Object.entries(type.shape) as [string, z.ZodType][]) : [];
}

function bare(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodOptional ? bare(schema.unwrap() as z.ZodType) : schema;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
