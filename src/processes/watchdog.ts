/**
 * Tells a worker that will never come back from a filter from one that is idle, busy or out of luck
 * with its core.
 *
 *     no heartbeat, in a filter, CPU_MS_MAX of its own CPU time since  → stuck in that filter
 *     stopped (SIGSTOP, a debugger) for STOPPED_MS_MAX                 → stopped
 *
 * CPU time, not time: a worker that others keep from its core does not use any. Pure but for
 * reading /proc.
 */
import { readFileSync } from 'node:fs';

const CPU_MS_MAX = 100;
const STOPPED_MS_MAX = 1000;
/** A clock tick of /proc/<pid>/stat: USER_HZ is 100 on every Linux that Node runs on. */
const TICK_MS = 10;

export interface Sighting {
  readonly pid: number;
  /** Changes with every burst and every idle turn. */
  readonly sign: bigint;
  /** 1 + the slot of the filter that it is calling; 0: none. */
  readonly calling: number;
  readonly now_ms: number;
}

export interface Usage {
  /** User and system time of its main thread. */
  readonly cpu_ms: number;
  readonly isStopped: boolean;
}

export type Judgement =
  | { readonly kind: 'alive' | 'stopped' }
  | { readonly kind: 'stuck'; readonly slot: number };

/** What was seen of one worker; another pid is another worker. */
export class Watchdog {
  /** `cpu_ms`: its CPU time at the first look that found this sign and asked; null: none has. */
  private last: { pid: number; sign: bigint; cpu_ms: number | null } | null = null;
  private stoppedAt_ms: number | null = null;

  /** `stoppedMax_ms`: it may be stopped for less than that, as by a debugger. */
  constructor(private readonly stoppedMax_ms = STOPPED_MS_MAX) {}

  judge({ pid, sign, calling, now_ms }: Sighting, usage: () => Usage | null): Judgement {
    const isNew = this.last === null || this.last.pid !== pid || this.last.sign !== sign;
    if (isNew && calling === 0) {
      // It lives, and is in no filter: reading /proc would only take time from a core.
      this.last = { pid, sign, cpu_ms: null };
      this.stoppedAt_ms = null;
      return { kind: 'alive' };
    }
    const used = usage();
    if (used === null) return { kind: 'alive' }; // it has died: its exit is seen elsewhere
    const since_ms = (isNew ? null : this.last?.cpu_ms) ?? used.cpu_ms;
    this.last = { pid, sign, cpu_ms: since_ms };
    if (!used.isStopped) this.stoppedAt_ms = null;
    else this.stoppedAt_ms ??= now_ms;
    if (this.stoppedAt_ms !== null && now_ms - this.stoppedAt_ms >= this.stoppedMax_ms) {
      this.stoppedAt_ms = null;
      return { kind: 'stopped' };
    }
    if (calling === 0 || used.cpu_ms - since_ms < CPU_MS_MAX) return { kind: 'alive' };
    return { kind: 'stuck', slot: calling - 1 };
  }
}

/**
 * Of a process's main thread, from /proc; null if it is gone. (proc(5), /proc/pid/stat: state 3,
 * utime 14, stime 15)
 */
export function usageOf(pid: number): Usage | null {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' '); // from field 3 on
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { cpu_ms: ticks * TICK_MS, isStopped: fields[0] === 'T' || fields[0] === 't' };
  } catch {
    return null;
  }
}
