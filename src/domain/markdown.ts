/** Makes a name plain text on one line, where Temporal's Web UI shows markdown: neither markdown nor raw HTML in it counts. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[\\`*_{}[\]()#+!|~$]/gu, '\\$&');
}
