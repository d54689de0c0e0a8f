import { type CST, Parser } from 'yaml';

/** More than any spec needs, and far less than a stack bears. */
const MAX_DEPTH = 100;

/**
 * Where a YAML text is nested deeper than can be read: the offset of the first such piece, `undefined` where there is none.
 *
 * Looked at before the text is composed, which is recursive: a stack that runs out inside of a regular expression's compilation ends the
 * process instead of throwing. Neither the parser used here nor this walk is.
 */
export function tooDeepAt(text: string): number | undefined {
  const open = [...new Parser().parse(text)].map((token): Level => ({ token, depth: 0 }));
  for (let level = open.pop(); level !== undefined; level = open.pop()) {
    const { token, depth } = level;
    if (depth > MAX_DEPTH) return token.offset;
    for (const child of children(token)) open.push({ token: child, depth: depth + 1 });
  }
  return undefined;
}

interface Level {
  readonly token: CST.Token;
  readonly depth: number;
}

function children(token: CST.Token): CST.Token[] {
  if (token.type === 'document') return token.value === undefined ? [] : [token.value];
  if (!('items' in token)) return [];
  return token.items.flatMap((item) => [item.key, item.value]).filter((child) => child !== undefined && child !== null);
}
