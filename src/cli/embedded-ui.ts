/**
 * The Web UI of the embedded stack that was brought up last, when `address` is its Temporal: its ports are not those that
 * {@link webUiLink} would guess. The stack is a matter of development, and may be missing from the installed package.
 */
export async function embeddedUi(address: string): Promise<string | undefined> {
  try {
    const [{ lastStack }, { readSettings }] = await Promise.all([import('../dev/cache.js'), import('../dev/stack-settings.js')]);
    const dir = lastStack();
    const temporal = dir === undefined ? undefined : readSettings(dir)?.temporal;
    const [, port] = /^(?:127\.0\.0\.1|localhost):(\d+)$/.exec(address) ?? [];
    return temporal !== undefined && port === String(temporal.port) ? `http://127.0.0.1:${String(temporal.uiPort)}` : undefined;
  } catch {
    return undefined;
  }
}
