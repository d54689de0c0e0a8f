import fs from 'node:fs';

/** Processor seconds, user and system, by process. */
export type CpuSeconds = Readonly<Record<string, number>>;

type Pid = number | undefined | (() => Promise<number | undefined>);

/** Samples how much processor time processes have used (Linux; elsewhere it knows of none). */
export interface CpuSampler {
  watch(processes: Readonly<Record<string, Pid>>): void;
  /** What each used between two instants (ms), as far as they were sampled. */
  between(from: number, to: number): CpuSeconds;
  stop(): void;
}

const EVERY_MS = 200;
/** USER_HZ, the same on every Linux that Node runs on. */
const TICKS_A_SECOND = 100;

export function cpuSampler(): CpuSampler {
  let watched: Readonly<Record<string, Pid>> = {};
  let samples: { at: number; used: Record<string, number> }[] = [];
  const sample = async (): Promise<void> => {
    const used: Record<string, number> = {};
    for (const [name, pid] of Object.entries(watched)) {
      const seconds = secondsOf(typeof pid === 'function' ? await pid() : pid);
      if (seconds !== undefined) used[name] = seconds;
    }
    samples.push({ at: Date.now(), used });
  };
  const timer = setInterval(() => void sample().catch(() => undefined), EVERY_MS);
  return {
    watch: (processes) => {
      watched = processes;
      samples = [];
    },
    between: (from, to) => {
      const inside = samples.filter(({ at }) => at >= from && at <= to);
      const [first, last] = [inside[0], inside.at(-1)];
      if (first === undefined || last === undefined) return {};
      return Object.fromEntries(Object.entries(last.used).map(([name, seconds]) => [name, seconds - (first.used[name] ?? seconds)]));
    },
    stop: () => {
      clearInterval(timer);
    },
  };
}

function secondsOf(pid: number | undefined): number | undefined {
  if (pid === undefined) return undefined;
  try {
    // Fields 14 and 15 of proc(5)'s stat; the second is a name in brackets that may hold spaces.
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  } catch {
    return undefined;
  }
}
