/**
 * Whether cores are free for processes that never sleep, asked once, before the demo's own
 * processes begin; and whether one that runs had to wait for a core, asked with each view.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 200;
/** Of a core: what feed, subscribers, supervisor and the kernel's part take beside it. */
const BESIDE = 0.6;
/** Limit of a container, as its own root of cgroup v2 has it: `max 100000`, `150000 100000`. */
const QUOTA_FILE = '/sys/fs/cgroup/cpu.max';

/** Cores that this process may take, and how much of them nobody takes now. */
export interface Cores {
  readonly count: number;
  readonly free: number;
}

/** How many cores that limit is worth; Infinity: there is none. */
export function quotaOf(line: string): number {
  const [quota, period] = line.trim().split(/\s+/).map(Number);
  const cores = (quota ?? Number.NaN) / (period ?? Number.NaN);
  return cores > 0 ? cores : Number.POSITIVE_INFINITY;
}

function quota(): number {
  try {
    return quotaOf(readFileSync(QUOTA_FILE, 'utf8'));
  } catch {
    return Number.POSITIVE_INFINITY; // no cgroup v2, or not limited at its root
  }
}

/** Milliseconds since boot, over all cores: idle, and all. */
function times(): { readonly idle: number; readonly all: number } {
  const sums = cpus().map(({ times: { user, nice, sys, idle, irq } }) => ({
    idle,
    all: user + nice + sys + idle + irq,
  }));
  const sum = (key: 'idle' | 'all') => sums.reduce((total, core) => total + core[key], 0);
  return { idle: sum('idle'), all: sum('all') };
}

export async function lookAtCores(): Promise<Cores> {
  const before = times();
  await sleep(LOOK_MS);
  const after = times();
  const idle = (after.idle - before.idle) / Math.max(after.all - before.all, 1);
  const count = Math.min(availableParallelism(), quota());
  return { count, free: count * idle };
}

/** What of the time since the last look processes that could run have waited for a core. */
export class CoreWaits {
  #before = new Map<number, { readonly waitedNs: number; readonly atNs: number }>();

  /** Of these, the largest share, 0 to 1; null: not known yet, or the kernel does not tell. */
  look(pids: readonly number[]): number | null {
    const atNs = Number(process.hrtime.bigint());
    const now = new Map<number, { readonly waitedNs: number; readonly atNs: number }>();
    const shares = pids.flatMap((pid) => {
      const waitedNs = waitedFor(pid);
      if (waitedNs === null) return [];
      now.set(pid, { waitedNs, atNs });
      const before = this.#before.get(pid);
      return before === undefined ? [] : [(waitedNs - before.waitedNs) / (atNs - before.atNs)];
    });
    this.#before = now;
    return shares.length === 0 ? null : Math.max(...shares);
  }
}

/** Documentation/scheduler/sched-stats.rst: ns on a core, ns in wait for one, turns. */
function waitedFor(pid: number): number | null {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]);
  } catch {
    return null; // it has just ended, or the kernel does not count
  }
}

/** Whether the replicator is to spin, and why, as a part of a sentence. */
export interface BusyPoll {
  readonly isOn: boolean;
  readonly reason: string;
}

/**
 * `asked`: what the command line says, if anything. In the layout inline it is one worker that
 * spins, in split fantail-rx too.
 */
export function decideBusyPoll(
  asked: boolean | undefined,
  layout: string,
  { count, free }: Cores,
): BusyPoll {
  if (asked !== undefined) return { isOn: asked, reason: asked ? '--busy-poll' : '--no-busy-poll' };
  const spinning = layout === 'inline' || count < 3 ? 1 : 2;
  const isOn = free >= spinning + BESIDE;
  const had = `${free.toFixed(1)} of ${Number(count.toFixed(1))} cores were free`;
  const reason = `${had}, ${spinning + BESIDE} are wanted`;
  return { isOn, reason };
}
