/**
 * How much of the machine others use while a test keeps a rate. No replicator is lossless on cores
 * that it does not get: on a machine that is busy with something else, a test of the path demands
 * that what was lost is counted; on one that is not, that nothing was.
 */
import { readFileSync } from 'node:fs';

/** proc(5) counts in units of USER_HZ, which is 100 on every machine that we build for. */
const TICK_MS = 10;
/** A ring that is full after 80 ms loses packets to whoever has taken the core for so long. */
const WINDOW_MS = 1000;
/** Of one core and window; ticks are coarse: less than this is nobody. */
const LOUD_MS = 100;
/** Of one core, all the time. */
const LOUD_SHARE = 0.05;

const numbersOf = (text: string) => text.trim().split(/ +/).map(Number);

/** What all processes have used and what the hypervisor took, softirqs left out: those are ours. */
function usedByAllMs(): number {
  const line = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = numbersOf(line);
  return (user + nice + system + steal) * TICK_MS;
}

/** Of one process and of its children that have ended: proc(5), utime to cstime. */
function usedByMs(pid: number): number {
  try {
    const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(/\) (?=\S )/);
    const fields = numbersOf(rest.replace(/^\S /, ''));
    return fields.slice(10, 14).reduce((sum, ticks) => sum + ticks, 0) * TICK_MS;
  } catch {
    return 0; // it has ended, and its parent counts it
  }
}

/** Begins with its making; `processes` are ours beside this one and what it has waited for. */
export class Noise {
  private readonly began_ms = Date.now();
  private readonly others_ms: number;
  private last_ms: number;
  private loudest_ms = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly processes: () => readonly { readonly pid: number }[]) {
    this.others_ms = this.usedByOthersMs();
    this.last_ms = this.others_ms;
    this.timer = setInterval(() => this.look(), WINDOW_MS).unref();
  }

  /** True if others have used so much since, at once or all in all, that it may have cost packets. */
  isLoud(): boolean {
    this.look();
    const used_ms = this.last_ms - this.others_ms;
    const isLasting = used_ms >= LOUD_MS && used_ms >= (Date.now() - this.began_ms) * LOUD_SHARE;
    return isLasting || this.loudest_ms >= LOUD_MS;
  }

  end(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const used_ms = this.usedByOthersMs();
    this.loudest_ms = Math.max(this.loudest_ms, used_ms - this.last_ms);
    this.last_ms = used_ms;
  }

  private usedByOthersMs(): number {
    const ours = [process.pid, ...this.processes().map(({ pid }) => pid)];
    return usedByAllMs() - ours.reduce((sum, pid) => sum + usedByMs(pid), 0);
  }
}
