/**
 * The spec as it is written in YAML: shape and single values. What several keys must be together is in `check-spec.ts`; what the resolved
 * spec looks like is in `domain/spec.ts`.
 */
import { z } from 'zod';

import { DEFAULT_TASK_QUEUE, PHASES } from '../domain/spec';
import { DURATION_PATTERN } from './durations';
import { connectFault, pathPatternFault, rootFault } from './ensemble';
import * as check from './field-checks';
import { globFault, tableGlobFault } from './table-filter';
import { typeWords } from './type-words';

/** What holds for a key that is not written. Durations in the form of the spec. */
export const SPEC_DEFAULTS = {
  user: 'default',
  wave: 1,
  timeout: '2h',
  root: '',
  clean: 'before-restore',
  parallel: { detach: 8, clean: 8, restore: 8 },
  onFailure: 'stop',
  holdOnFailure: '0s',
  preflightWait: '60s',
  writable: 'required',
  blobs: 'read',
  listingTimeout: '1h',
  listingPrefix: '',
  taskQueue: DEFAULT_TASK_QUEUE,
} as const;

const MOST = 1000;

function text(fault: check.Check): z.ZodString {
  return z.string().superRefine((value, context) => {
    const message = fault(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

function duration(fault: check.Check) {
  const error = ({ input }: { input?: unknown }) => (typeof input === 'number' ? 'a duration needs a unit, such as 90s or 2h' : undefined);
  return z
    .string({ error })
    .superRefine((value, context) => {
      const message = fault(value);
      if (message !== undefined) context.addIssue({ code: 'custom', message });
    })
    .meta({ pattern: DURATION_PATTERN });
}

function count() {
  const error = ({ input }: { input?: unknown }) => `expected a whole number from 1 to ${String(MOST)}, found ${typeWords(input)}`;
  return z.int({ error }).min(1, { error }).max(MOST, { error });
}

const strategyFlag = z.literal(true, { error: 'only true can be written here; leave the key out where it does not hold' });

function argumentVectorOf(fault: check.Check, example: string) {
  return z
    .array(text(fault), {
      error: ({ input }) => (typeof input === 'string' ? `expected an argument vector, no shell: ${example}` : undefined),
    })
    .min(1, `must not be empty: an argument vector, no shell: ${example}`)
    .refine((command) => command[0] !== '', { error: 'the first argument is the program, and must not be empty' });
}

const argumentVector = argumentVectorOf(check.argumentFault, '[ssh, "{host}", …]');

const variable = text(check.variableFault).meta({ pattern: check.VARIABLE_PATTERN });
const taskQueue = text(check.taskQueueFault);
const connect = text(connectFault);
const root = text(rootFault);

const tls = z.strictObject({
  ca: text(check.fileFault).optional().describe("PEM file with the authorities to trust; default: Node's"),
  cert: text(check.fileFault).optional().describe("PEM file with the client's certificate; needs key"),
  key: text(check.fileFault).optional().describe("PEM file with the client's key; needs cert"),
});

const restartKeys = {
  reconfigure: argumentVector.optional().describe('Run before the restart, once a host: an argument vector, {host} is filled in'),
  reconfigureBack: argumentVector
    .optional()
    .describe('Run before the restart with which an abort returns the host to its old place (clean: after-verify, never)'),
  command: argumentVector.optional().describe('Restarts the host: an argument vector, no shell, {host} is filled in'),
  sql: strategyFlag.optional().describe('SYSTEM SHUTDOWN; a supervisor starts the server again'),
  manual: strategyFlag.optional().describe('Wait until somebody has restarted the server'),
  none: strategyFlag.optional().describe('No restart: tables are attached again, and that is all'),
  timeout: duration(check.timeoutFault)
    .optional()
    .describe('How long until the host is back where it should be')
    .meta({ default: SPEC_DEFAULTS.timeout }),
};

const hostRestart = z.strictObject(restartKeys);
const defaultRestart = z.strictObject({
  ...restartKeys,
  wave: count().optional().describe('Hosts that restart at a time').meta({ default: SPEC_DEFAULTS.wave }),
});

const after = z.strictObject({
  connect: connect.optional().describe('The ensemble after the restart; default: the same'),
  root: root.optional().describe('The root after the restart; default: the same'),
});

const commonAfter = after.extend({
  path: text(pathPatternFault)
    .optional()
    .describe("The pattern of the tables' paths afterwards, in the same ensemble: what the servers' default_replica_path makes"),
});

const hostZookeeper = z.strictObject({
  connect: connect.optional(),
  root: root.optional(),
  after: after.optional(),
});

const host = z.strictObject({
  name: text(check.hostNameFault)
    .describe('What the host is called in plans, reports and commands')
    .meta({ pattern: check.HOST_NAME_PATTERN }),
  url: text(check.urlFault).describe('HTTP(S) address, without path and credentials').meta({ pattern: '^[Hh][Tt][Tt][Pp][Ss]?://' }),
  user: text(check.nameFault).optional(),
  passwordEnv: variable.optional(),
  tls: tls.optional().describe('Over clickhouse.tls, key by key'),
  restart: hostRestart.optional().describe('Over clickhouse.restart: a strategy replaces the strategy, the rest is inherited'),
  zookeeper: hostZookeeper.optional().describe('Over zookeeper, key by key'),
  taskQueue: taskQueue.optional().describe('The task queue of the activities that touch this host; default: taskQueue'),
});

const clickhouse = z.strictObject({
  user: text(check.nameFault).optional().meta({ default: SPEC_DEFAULTS.user }),
  passwordEnv: variable
    .optional()
    .describe("The name of the variable with the password, in the worker's environment; default: no password"),
  tls: tls.optional().describe('Files, relative to the spec'),
  hosts: z.array(host).min(1, 'must not be empty: at least one host').describe('Every host that has a replica of what is moved'),
  restart: defaultRestart.optional().describe('How hosts restart; default: none, where nothing moves'),
});

const auxiliary = z.record(
  z.string(),
  z.strictObject({ connect: connect.describe('host:port[,host:port…]'), root: root.optional().meta({ default: SPEC_DEFAULTS.root }) }),
);

const zookeeper = z.strictObject({
  connect: connect.describe('host:port[,host:port…], without a chroot'),
  root: root.optional().describe("The servers' <zookeeper><root>").meta({ default: SPEC_DEFAULTS.root }),
  digestEnv: variable.optional().describe("The name of the variable with ZooKeeper's user:password"),
  auxiliary: auxiliary.optional().describe('Further ensembles, by the name before the colon of a path'),
  after: commonAfter.optional().describe('Where the metadata must be after the restart; default: where it was'),
  clean: z
    .enum(['before-restore', 'after-verify', 'never'])
    .optional()
    .describe('When the old metadata is deleted; after-verify and never only where the new metadata has another place')
    .meta({ default: SPEC_DEFAULTS.clean }),
});

const globs = (fault: check.Check) => z.array(text(fault));

const tables = z.strictObject({
  include: globs(tableGlobFault)
    .min(1, 'an empty list would mean every table; leave the key out where that is meant')
    .optional()
    .describe('Globs on database.table; default: every replicated table'),
  exclude: globs(tableGlobFault).optional().describe('Globs on database.table'),
  disk: text(check.nameFault).optional().describe('Only tables with a part on this disk'),
  zkPath: text(globFault).optional().describe('A glob on the ZooKeeper path'),
  from: text(check.fileFault).optional().describe("A list in the status file's form, instead of include; relative to the spec"),
});

const parallel = z.strictObject({
  detach: count().optional().describe('Per host').meta({ default: SPEC_DEFAULTS.parallel.detach }),
  clean: count().optional().describe('Replicated tables at a time').meta({ default: SPEC_DEFAULTS.parallel.clean }),
  restore: count().optional().describe('Per host').meta({ default: SPEC_DEFAULTS.parallel.restore }),
});

const verify = z.strictObject({
  writable: z
    .enum(['required', 'report'])
    .optional()
    .describe('Whether a replica must be writable to count as restored')
    .meta({ default: SPEC_DEFAULTS.writable }),
  blobs: z
    .enum(['full', 'read', 'locks'])
    .optional()
    .describe('Zero-copy tables: whether all of every blob is read, or of large tables as much as shows that each is there, or only their locks are looked at')
    .meta({ default: SPEC_DEFAULTS.blobs }),
});

const preflight = z.strictObject({
  wait: duration(check.durationFault)
    .optional()
    .describe('How long a run waits for queues, mutations, merges and replicas that differ, before it refuses')
    .meta({ default: SPEC_DEFAULTS.preflightWait }),
});

const zeroCopy = z.strictObject({
  blobs: z
    .strictObject({
      command: argumentVectorOf(check.plainArgumentFault, '[rclone, lsf, …]').describe(
        'Lists the blobs of the object storage, one key a line: an argument vector, no shell, run on the worker when it plans and at the end',
      ),
      prefix: text(check.prefixFault)
        .optional()
        .describe('Put before each key, to make it what remote_path of system.remote_data_paths is')
        .meta({ default: SPEC_DEFAULTS.listingPrefix }),
      timeout: duration(check.listingTimeoutFault)
        .optional()
        .describe('How long the command may run, at most 12h')
        .meta({ default: SPEC_DEFAULTS.listingTimeout }),
    })
    .optional()
    .describe('Zero-copy tables: blobs that no host names are reported; default: they are not looked for'),
});

/** The whole spec. Checks shape and single values; `parseSpec` checks everything. */
export const specSchema = z
  .strictObject({
    id: text(check.idFault).describe('The migration, and its workflow id').meta({ minLength: 1, maxLength: 200 }),
    clickhouse,
    zookeeper,
    tables: tables.optional().describe('Which tables; default: every replicated table'),
    pauseBefore: z.array(z.enum(PHASES)).optional().describe('Gates: phases that wait for approval'),
    parallel: parallel.optional().describe('How much at a time; can be changed while it runs'),
    onFailure: z
      .enum(['stop', 'continue'])
      .optional()
      .describe('What a failed table means for the others')
      .meta({ default: SPEC_DEFAULTS.onFailure }),
    holdOnFailure: duration(check.durationFault)
      .optional()
      .describe('How long to wait for retry, skip or abort before failing')
      .meta({ default: SPEC_DEFAULTS.holdOnFailure }),
    preflight: preflight.optional(),
    verify: verify.optional(),
    zeroCopy: zeroCopy.optional(),
    taskQueue: taskQueue.optional().describe("The worker's task queue").meta({ default: SPEC_DEFAULTS.taskQueue }),
    statusFile: text(check.fileFault).optional().describe("Relative to the worker's directory; default: status/<id>.yaml"),
  })
  .meta({ title: 'ch-zk-migrate spec' });

/** A spec as written, once `specSchema` accepts it. */
export type SpecFile = z.infer<typeof specSchema>;
export type HostFile = SpecFile['clickhouse']['hosts'][number];

/** The spec as a JSON Schema (draft 2020-12), for editors. It knows less than the loader: accepting is necessary, not sufficient. */
export function specJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(specSchema, { io: 'input' }) };
}
