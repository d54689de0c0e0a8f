import { Command, Option } from 'commander';

import { type MigrationDescription, webUiLink } from '../client';
import type { MigrationSpec, Phase } from '../domain/spec';
import type { Finding } from '../domain/summary';
import { PHASES } from '../domain/spec';
import { CliError, collect, colors, EXIT, type GlobalOptions, printJson, printNote, printResult, setExit, withExample } from './common';
import type { SpecOverrides } from '../config/load-spec';
import type { Session } from './session';
import { addTakeOverOptions, takeOverChoices, type TakeOverOptions } from './take-over-options';

interface StartOptions extends GlobalOptions, TakeOverOptions {
  readonly execute?: boolean;
  readonly watch?: boolean;
  readonly withWorker?: boolean;
  readonly pauseBefore?: readonly Phase[];
  readonly statusFile?: string;
  readonly allowMissingReplica?: readonly string[];
}

export function startCommand(): Command {
  const command = new Command('start')
    .description('Starts the workflow of a migration. Without --execute it is a dry run (`<id>.plan`), which changes nothing and prints the plan.')
    .argument('<spec>', 'the migration, see docs/spec.md')
    .option('--execute', 'do it')
    .option('--watch', 'stay and show progress')
    .option('--with-worker', 'run a worker inside this command too, and stay until the migration ends, also at a gate')
    .addOption(
      new Option('--pause-before <phase>', `a gate before this phase (${PHASES.join(', ')}); again for more`).argParser(collect),
    )
    .option('--status-file <path>', "instead of the spec's")
    .option('--allow-missing-replica <name>', 'go on although this replica is on no host of the spec; recorded; again for more', collect);
  addTakeOverOptions(command).action(async (file: string) => {
    const options = command.optsWithGlobals<StartOptions>();
    const { loadSpec } = await import('../config/load-spec.js');
    const { spec } = await loadSpec(file, overridesOf(options));
    const { withTemporal } = await import('./session.js');
    await withTemporal(command, (session) => start(session, spec, file, options));
  });
  return withExample(
    command,
    'ch-zk-migrate start orders.yaml',
    'ch-zk-migrate start orders.yaml --execute --watch',
    'ch-zk-migrate start orders.yaml --execute --with-worker --pause-before restore',
    'ch-zk-migrate start one-host.yaml --take-over /tmp/zc-migration-file.yaml --execute --watch',
  );
}

function overridesOf(options: StartOptions): SpecOverrides {
  const { pauseBefore, statusFile, allowMissingReplica } = options;
  return {
    ...takeOverChoices(options),
    ...(pauseBefore === undefined ? {} : { pauseBefore: [...pauseBefore] }),
    ...(statusFile === undefined ? {} : { statusFile }),
    ...(allowMissingReplica === undefined ? {} : { allowMissingReplicas: allowMissingReplica }),
  };
}

async function start(session: Session, spec: MigrationSpec, file: string, options: StartOptions): Promise<void> {
  const execute = options.execute === true;
  if (execute) await refuseKnown(session, spec.id);
  const worker = options.withWorker === true ? await withWorker(session, spec, options) : undefined;
  try {
    await startWorkflow(session, spec, execute);
    if (execute) await follow(session, spec, options);
    else await showDryRun(session, spec, file);
  } finally {
    worker?.drain();
    await worker?.ended;
  }
}

interface OwnWorker {
  drain(): void;
  /** Resolves when it has drained, or has died: that was told. */
  readonly ended: Promise<void>;
}

async function withWorker(session: Session, spec: MigrationSpec, options: StartOptions): Promise<OwnWorker> {
  const { missingVariables } = await import('../config/secrets.js');
  const missing = missingVariables(spec, process.env);
  if (missing.length > 0) {
    throw new CliError(EXIT.FAILED, `the spec names variables that are not set here: ${missing.join(', ')}`, { code: 'MISSING_VARIABLE' });
  }
  const { errorText, temporalConfig } = await import('../client.js');
  const { startWorker } = await import('../worker.js');
  const temporal = temporalConfig(options);
  const queues = [...new Set([spec.taskQueue, ...spec.hosts.map(({ taskQueue }) => taskQueue)])];
  const workers = await Promise.all(
    queues.map((taskQueue) => startWorker({ temporal, client: session.client, taskQueue, env: process.env, handleSignals: false })),
  );
  return {
    drain: () => {
      for (const one of workers) one.drain();
    },
    ended: Promise.all(workers.map(({ ended }) => ended)).then(
      () => undefined,
      (error: unknown) => printNote(`the worker of this command has died: ${errorText(error)}; start another: ch-zk-migrate worker`),
    ),
  };
}

/** A migration is started once: one that runs is watched, one that failed is retried, one that is done is done. */
async function refuseKnown({ client }: Session, id: string): Promise<void> {
  const { describeMigration, isRunning, ClientError } = await import('../client.js');
  let known: MigrationDescription;
  try {
    known = await describeMigration(client, id);
  } catch (error) {
    if (error instanceof ClientError && error.code === 'NOT_FOUND') return;
    throw error;
  }
  if (isRunning(known.status)) {
    throw new CliError(EXIT.FAILED, `${id} runs already: nothing was started`, { code: 'ALREADY_RUNNING', next: `ch-zk-migrate watch ${id}` });
  }
  if (known.summary.outcome === 'completed') {
    throw new CliError(EXIT.FAILED, `${id} was completed at ${known.summary.updated}: nothing was started`, {
      code: 'ALREADY_COMPLETED',
      next: `ch-zk-migrate status ${id}, or give the new migration another id`,
    });
  }
  if (known.summary.frozen && known.summary.outcome !== 'aborted') {
    throw new CliError(EXIT.FAILED, `${id} has begun and ended as ${known.summary.outcome}: nothing was started`, {
      code: 'ALREADY_BEGUN',
      next: `ch-zk-migrate retry ${id}`,
    });
  }
}

async function startWorkflow({ client }: Session, spec: MigrationSpec, execute: boolean): Promise<void> {
  const { migrationStartOptions } = await import('../client.js');
  const { WORKFLOW_TYPE } = await import('../workflows/messages.js');
  const { WorkflowExecutionAlreadyStartedError } = await import('@temporalio/client');
  try {
    await client.workflow.start(WORKFLOW_TYPE, migrationStartOptions({ spec, execute }));
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    const id = execute ? spec.id : `${spec.id}.plan`;
    throw new CliError(EXIT.FAILED, `${id} runs already: nothing was started`, { code: 'ALREADY_RUNNING', next: `ch-zk-migrate watch ${id}`, cause: error });
  }
}

async function follow(session: Session, spec: MigrationSpec, options: StartOptions): Promise<void> {
  const json = options.json === true;
  if (options.watch === true || options.withWorker === true) {
    const { watchMigration } = await import('./watch-migration.js');
    // What lets a gate through later needs a worker, and that is this one.
    const stay = options.withWorker === true;
    const code = await watchMigration(session, spec.id, { json, ...(stay ? { stay } : {}) });
    if (stay && code === EXIT.INTERRUPTED) printNote('The worker of this command ends with it. Start another: ch-zk-migrate worker');
    setExit(code);
    return;
  }
  await printBegun(session, await untilBegun(session, spec.id));
}

/** What came of the start: that it goes on, or why the preflight refused it, or why it failed. */
async function printBegun(session: Session, seen: MigrationDescription): Promise<void> {
  const { isRefused } = await import('./status.js');
  const { oneLine } = await import('../report/words.js');
  const { id, runId, summary } = seen;
  const link = linkTo(session, seen);
  const refused = isRefused(summary);
  const failed = summary.outcome === 'failed';
  const why = seen.closedBecause ?? null;
  if (session.json) printJson({ id, runId, executed: true, ui: link, outcome: summary.outcome, refusals: refused ? summary.refusals : [], closedBecause: why, reasons: seen.reasons });
  else {
    printResult([`started ${id}`, `  web ui: ${link}`, `  watch:  ch-zk-migrate watch ${id}`].join('\n'));
    for (const reason of seen.reasons) printNote(`  note:   ${reason}`);
    if (refused) await printRefusals(summary.refusals);
    else if (failed) printNote(`  failed: ${oneLine(why ?? '')}\n  next:   ch-zk-migrate retry ${id}`);
  }
  setExit(refused ? EXIT.REFUSED : failed ? EXIT.FAILED : EXIT.DONE);
}

function linkTo(session: Session, { id, runId }: MigrationDescription): string {
  return webUiLink(session, id, runId);
}

const LOOK_EVERY_MS = 400;
const BEGIN_WITHIN_MS = 20_000;

/** Waits until the preflight has let the migration through or refused it, or for a while: a worker may be missing. */
async function untilBegun({ client }: Session, id: string): Promise<MigrationDescription> {
  const { describeMigration, isRunning } = await import('../client.js');
  const end = Date.now() + BEGIN_WITHIN_MS;
  for (;;) {
    const seen = await describeMigration(client, id, { checkWorkers: true });
    const waits = seen.reasons.some((reason) => reason.startsWith('no worker polls'));
    if (!isRunning(seen.status) || seen.summary.phase !== 'preflight' || waits || Date.now() > end) return seen;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function printRefusals(refusals: readonly Finding[]): Promise<void> {
  const { findingsText } = await import('../report/plan-text.js');
  printNote(findingsText('refusal', refusals, colors(process.stderr).red).join('\n'));
}

/** Waits for the dry run, and prints its plan from its history. */
async function showDryRun(session: Session, spec: MigrationSpec, file: string): Promise<void> {
  const { readDryRun } = await import('../client/dry-run.js');
  const { printPlan } = await import('./plan.js');
  const { planWorkflowId } = await import('../workflows/messages.js');
  const { oneLine } = await import('../report/words.js');
  const id = planWorkflowId(spec.id);
  const { plan, runId, notShown } = await readDryRun(session.client, spec, {
    onStuck: (reason) => printNote(`${id} waits: ${oneLine(reason)}`),
    next: `ch-zk-migrate doctor ${file}`,
  });
  const link = webUiLink(session, id, runId);
  if (session.json) {
    printJson({ ...plan, id, runId, executed: false, ui: link, ...(notShown === 0 ? {} : { notShown }) });
    if (plan.refusals.length > 0) setExit(EXIT.REFUSED);
    return;
  }
  await printPlan(plan, false);
  if (notShown > 0) printNote(`${notShown} refusals and warnings more than these: ch-zk-migrate plan ${file} lists all`);
  printNote(`dry run, nothing was changed: ${link}\nto do it: ch-zk-migrate start SPEC --execute`);
}
