import { ApplicationFailure, setHandler } from '@temporalio/workflow';

import { tableGlobFault } from '../config/table-filter';
import type { Control } from '../domain/control';
import { PHASES, type ParallelSpec, type Phase } from '../domain/spec';
import {
  type AbortNote,
  abortSignal,
  type ApproveNote,
  approveSignal,
  controlQuery,
  type Note,
  pauseSignal,
  resumeSignal,
  type RetryRequest,
  retryUpdate,
  type SetLimit,
  setLimitUpdate,
  statusQuery,
} from './messages';
import { abortWords, type MigrationState } from './state';

/** What a retry asks of a migration that holds after a failure. */
export interface Held {
  /** Whether the migration holds and can be retried. */
  holding: boolean;
  request: RetryRequest | undefined;
}

const LIMITS = ['parallel.detach', 'parallel.clean', 'parallel.restore'] as const;

/** Registers every message handler; called before the first await. */
export function registerHandlers(state: MigrationState, held: Held): void {
  const now = (): string => new Date().toISOString();
  setHandler(statusQuery, () => state.summary(now()), { description: 'One look: phase, counts, failures, what it waits for' });
  setHandler(controlQuery, (): Control => ({ paused: state.paused, aborting: state.aborting, limits: state.limits }), {
    description: 'What may begin now, for activities that wait for their turn',
  });
  setHandler(
    pauseSignal,
    (note) => {
      state.paused = true;
      state.pauseReason = reasonOf(note);
      state.decide('pause', noteOf(note), now());
    },
    { description: 'Start nothing new; what runs finishes. Payload: none, or {"by": "...", "reason": "..."}' },
  );
  setHandler(
    resumeSignal,
    (note) => {
      const gate = state.paused ? null : (state.waiting?.gate ?? null);
      const through = gate !== null && meansGate(note, gate);
      if (through) approve(state, gate);
      state.decide(through ? `resume: lets ${gate} through` : gate === null ? 'resume' : `resume: the gate before ${gate} stays closed`, noteOf(note), now());
      state.paused = false;
      state.pauseReason = undefined;
    },
    {
      description:
        'Lift a pause; where it waits at a gate instead, let it through. Payload: none, or {"by": "...", "reason": "...", "gate": "the only gate to let through, or null"}',
    },
  );
  setHandler(
    approveSignal,
    (what) => {
      const phase = phaseOf(what);
      if (phase === undefined) {
        state.decide(`approve, ignored: ${JSON.stringify(what)} is no phase (${PHASES.join(', ')})`, noteOf(what), now());
        return;
      }
      approve(state, phase);
      state.decide(`approve ${phase}`, noteOf(what), now());
    },
    { description: 'Let one gate through. Payload: "detach", "clean", "restart" or "restore", or {"phase": "...", "by": "..."}' },
  );
  setHandler(
    abortSignal,
    (note) => {
      state.aborting = true;
      state.paused = false;
      const without = withoutHostsOf(note, state);
      state.withoutHosts = [...state.withoutHosts, ...without];
      state.decide(abortWords(without), noteOf(note), now());
    },
    {
      description:
        'Stop, and leave no table detached. Payload: none, or {"by": "...", "reason": "...", "withoutHosts": ["a host that is gone for good"]}',
    },
  );
  setHandler(setLimitUpdate, (change) => setLimit(state, change, now()), {
    description: 'Change a limit while it runs. Payload: {"key": "parallel.restore", "value": 4}',
    validator: validateLimit,
  });
  setHandler(
    retryUpdate,
    (request) => {
      const retried = state.failuresTotal;
      held.request = request ?? {};
      held.holding = false;
      // At once: the state may be mirrored before what holds goes on.
      state.waiting = null;
      state.decide('retry', request, now());
      return { retried };
    },
    {
      description: 'Try again what failed, while it holds after a failure. Payload: none, or {"tables": ["glob"], "skip": ["glob"], "unskip": ["glob"]}',
      validator: (request: RetryRequest | undefined) => {
        validateGlobs(request);
        if (!held.holding) throw ApplicationFailure.nonRetryable('the migration does not hold after a failure', 'UNSUPPORTED');
      },
    },
  );
}

function approve(state: MigrationState, phase: Phase): void {
  if (!state.approved.includes(phase)) state.approved = [...state.approved, phase];
  state.touch();
}

/** People send signals by hand: what is no note is taken for none. */
function noteOf(value: unknown): Note | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { by, reason } = value as Record<string, unknown>;
  return { ...(typeof by === 'string' ? { by } : {}), ...(typeof reason === 'string' ? { reason } : {}) };
}

/** Whether a resume lets this gate through: a sender that names what it has seen opens nothing else. */
function meansGate(value: unknown, gate: Phase): boolean {
  if (typeof value !== 'object' || value === null || !('gate' in value)) return true;
  return value.gate === gate;
}

/** The hosts of the spec that an abort is told to leave out, and that are not left out yet. */
function withoutHostsOf(value: unknown, state: MigrationState): string[] {
  const named: unknown = (value as AbortNote | null | undefined)?.withoutHosts;
  const names = Array.isArray(named) ? named : [];
  return state.reachable.hosts.map(({ name }) => name).filter((name) => names.includes(name));
}

function reasonOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : noteOf(value)?.reason;
}

function phaseOf(value: Phase | ApproveNote | undefined): Phase | undefined {
  const word: unknown = typeof value === 'object' ? (value as Partial<ApproveNote> | null)?.phase : value;
  return PHASES.find((phase) => phase === word);
}

function validateLimit({ key, value }: SetLimit): void {
  if (!(LIMITS as readonly string[]).includes(key)) {
    throw ApplicationFailure.nonRetryable(`unknown limit "${key}": one of ${LIMITS.join(', ')}`, 'UNSUPPORTED');
  }
  if (!Number.isInteger(value) || value < 1 || value > 1_000) {
    throw ApplicationFailure.nonRetryable(`${key} takes a whole number from 1 to 1000`, 'UNSUPPORTED');
  }
}

/** People send updates by hand: a text in place of a list would be taken letter by letter, and a glob that cannot be read fails every task. */
function validateGlobs(request: unknown): void {
  const { tables = [], skip = [], unskip = [] } = (request ?? {}) as Readonly<Record<string, unknown>>;
  for (const [name, globs] of Object.entries({ tables, skip, unskip })) {
    if (!Array.isArray(globs) || !globs.every((glob) => typeof glob === 'string')) {
      throw ApplicationFailure.nonRetryable(`"${name}" takes a list of globs on database.table, as in {"${name}": ["shop.*"]}`, 'UNSUPPORTED');
    }
    for (const glob of globs) {
      const fault = tableGlobFault(glob);
      if (fault !== undefined) throw ApplicationFailure.nonRetryable(`"${name}": the glob ${JSON.stringify(glob)}: ${fault}`, 'UNSUPPORTED');
    }
  }
}

function setLimit(state: MigrationState, change: SetLimit, now: string): ParallelSpec {
  const name = change.key.slice('parallel.'.length) as keyof ParallelSpec;
  state.limits = { ...state.limits, [name]: change.value };
  state.decide(`set ${change.key}=${change.value}`, change, now);
  return state.limits;
}
