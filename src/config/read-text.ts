import { readFile, stat } from 'node:fs/promises';

/** A file's text, or why there is none, in words for a fault. */
export type FileText = { readonly file: string; readonly text: string } | { readonly file: string; readonly fault: string };

const MAX_MEBIBYTES = 8;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist: a part of its path is no directory',
  EISDIR: 'is a directory, expected a file',
  EACCES: 'cannot be read: permission denied',
  EPERM: 'cannot be read: permission denied',
  ELOOP: 'cannot be read: its links lead in a circle',
};

/** Reads a text file (UTF-8, at most 8 MiB; a pipe will do). Never throws: what went wrong is the result. */
export async function readText(file: string): Promise<FileText> {
  try {
    const stats = await stat(file);
    if (stats.isDirectory()) return { file, fault: 'is a directory, expected a file' };
    if (!stats.isFile() && !stats.isFIFO()) return { file, fault: 'is a device or socket, expected a file' };
    if (stats.size > MAX_MEBIBYTES * 2 ** 20) return { file, fault: `is larger than ${String(MAX_MEBIBYTES)} MiB` };
    return decode(file, await readFile(file));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    return { file, fault: REASONS[code] ?? `cannot be read (${code})` };
  }
}

function decode(file: string, bytes: Uint8Array): FileText {
  try {
    return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { file, fault: 'is not UTF-8 text' };
  }
}
