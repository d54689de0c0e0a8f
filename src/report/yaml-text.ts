/** Words that some YAML reader takes for something else than a text (1.1 as well as 1.2). */
const RESERVED = /^(?:null|true|false|yes|no|on|off|y|n)$/i;
const PLAIN = /^[A-Za-z_/][A-Za-z0-9_./-]*$/;
/** What JSON leaves as it is, but no YAML document may contain, or a reader takes for a line break. */
const UNPRINTABLE = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

/**
 * A text as a YAML scalar, plain where every reader agrees on it, else in double quotes: the same text to readers of YAML 1.1 (such
 * as PyYAML, which the reference uses) and 1.2, whatever it contains, and always on one line.
 * (`yaml`'s own stringify writes `yes`, dates and U+007F bare, and takes 70 µs an entry.)
 */
export function yamlText(text: string): string {
  return PLAIN.test(text) && !RESERVED.test(text) ? text : quoteYaml(text);
}

/** A text in double quotes; JSON's escapes are YAML's too. */
export function quoteYaml(text: string): string {
  return JSON.stringify(text).replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
