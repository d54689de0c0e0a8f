/** One part as a manifest keeps it. Hashes are hexadecimal, as `system.parts` gives them. */
export interface ManifestPart {
  readonly name: string;
  readonly partitionId: string;
  readonly rows: number;
  readonly hashOfAllFiles: string;
  readonly hashOfUncompressedFiles: string;
}

/** What separates two multisets of parts; empty parts (no rows) are left out of both, since the server drops them by itself. */
export interface ManifestDifference {
  readonly missingParts: number;
  readonly missingRows: number;
  readonly extraParts: number;
  readonly extraRows: number;
}

export const NO_DIFFERENCE: ManifestDifference = { missingParts: 0, missingRows: 0, extraParts: 0, extraRows: 0 };

export type HashKind = 'hashOfAllFiles' | 'hashOfUncompressedFiles';

export function partKey(part: ManifestPart, hash: HashKind): string {
  return JSON.stringify([part.partitionId, part.rows, part[hash]]);
}

/** By content, how many more of a part `expected` has than `actual` (below 0: fewer), and its rows; without those of which both have as many. */
export type ManifestBalance = ReadonlyMap<string, { readonly rows: number; readonly count: number }>;

export function balanceOf(expected: readonly ManifestPart[], actual: readonly ManifestPart[], hash: HashKind): ManifestBalance {
  const balance = new Map<string, { rows: number; count: number }>();
  const count = (part: ManifestPart, by: number): void => {
    if (part.rows === 0) return;
    const key = partKey(part, hash);
    const entry = balance.get(key) ?? { rows: part.rows, count: 0 };
    entry.count += by;
    balance.set(key, entry);
  };
  for (const part of expected) count(part, 1);
  for (const part of actual) count(part, -1);
  return new Map([...balance].filter(([, entry]) => entry.count !== 0));
}

/** Compares the multisets of `(partition_id, rows, hash)`: what `expected` has and `actual` lacks, and the other way round. */
export function compareManifests(
  expected: readonly ManifestPart[],
  actual: readonly ManifestPart[],
  hash: HashKind,
): ManifestDifference {
  return differenceOf(balanceOf(expected, actual, hash));
}

export function differenceOf(balance: ManifestBalance): ManifestDifference {
  let { missingParts, missingRows, extraParts, extraRows } = NO_DIFFERENCE;
  for (const entry of balance.values()) {
    if (entry.count > 0) {
      missingParts += entry.count;
      missingRows += entry.count * entry.rows;
    } else {
      extraParts -= entry.count;
      extraRows -= entry.count * entry.rows;
    }
  }
  return { missingParts, missingRows, extraParts, extraRows };
}

export function isEqual(difference: ManifestDifference): boolean {
  return difference.missingParts === 0 && difference.extraParts === 0;
}

/** `3 parts with 120 rows are missing, 1 part with 5 rows is not in the manifest`. */
export function describeDifference(difference: ManifestDifference): string {
  const words: string[] = [];
  const parts = (count: number, rows: number): string =>
    `${count} ${count === 1 ? 'part' : 'parts'} with ${rows} ${rows === 1 ? 'row' : 'rows'}`;
  if (difference.missingParts > 0) words.push(`missing: ${parts(difference.missingParts, difference.missingRows)}`);
  if (difference.extraParts > 0) words.push(`not in the manifest: ${parts(difference.extraParts, difference.extraRows)}`);
  return words.length === 0 ? 'no difference' : words.join('; ');
}
