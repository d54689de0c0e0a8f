/** Where the Web UI is: what was said (option, then `TEMPORAL_UI_ADDRESS`), or what `temporal server start-dev` does. */
export interface WebUiOptions {
  /** Temporal's own `host:port`. */
  readonly address: string;
  readonly namespace: string;
  /** Base address of the Web UI, such as `http://127.0.0.1:8233`. */
  readonly ui?: string;
}

const DEV_SERVER_UI_OFFSET = 1000;

/** A link to one migration, or to one of its runs, in Temporal's Web UI. */
export function webUiLink(options: WebUiOptions, workflowId: string, runId?: string): string {
  const base = webUiBase(options.address, options.ui ?? process.env['TEMPORAL_UI_ADDRESS']);
  const path = ['namespaces', options.namespace, 'workflows', workflowId, ...(runId === undefined ? [] : [runId, 'history'])];
  return `${base}/${path.map(encodeURIComponent).join('/')}`;
}

/** The dev server puts its UI a thousand ports above its own (7233 → 8233). */
function webUiBase(address: string, said: string | undefined): string {
  if (said !== undefined && said !== '') return (/^https?:\/\//.test(said) ? said : `http://${said}`).replace(/\/+$/, '');
  if (/\.tmprl\.cloud(:\d+)?$|\.api\.temporal\.io(:\d+)?$/.test(address)) return 'https://cloud.temporal.io';
  const [, host = 'localhost', port = '7233'] = /^(.*?)(?::(\d+))?$/.exec(address) ?? [];
  return `http://${host}:${String(Number(port) + DEV_SERVER_UI_OFFSET)}`;
}
