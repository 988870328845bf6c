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

/** CPU time of a process, and of its children that have ended: proc(5), utime to cstime. */
function usedBy(pid: number): { own_ms: number; children_ms: number } | null {
  try {
    const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(/\) (?=\S )/);
    const [user = 0, system = 0, ofUser = 0, ofSystem = 0] = numbersOf(
      rest.replace(/^\S /, ''),
    ).slice(10, 14);
    return { own_ms: (user + system) * TICK_MS, children_ms: (ofUser + ofSystem) * TICK_MS };
  } catch {
    return null; // it has ended, and its parent counts it
  }
}

/** What all have used, and each of ours. */
interface Look {
  readonly all_ms: number;
  readonly own_ms: ReadonlyMap<number, number>;
  readonly children_ms: number;
}

/** Begins with its making; `processes` are ours beside this one and what it has waited for. */
export class Noise {
  private readonly began_ms = Date.now();
  private readonly first: Look;
  private last: Look;
  private loudest_ms = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly processes: () => readonly { readonly pid: number }[]) {
    this.first = this.look();
    this.last = this.first;
    this.timer = setInterval(() => this.endWindow(), WINDOW_MS).unref();
  }

  /**
   * True if others have used so much since, at once or all in all, that it may have cost packets.
   */
  isLoud(): boolean {
    this.endWindow();
    const used_ms = usedByOthers(this.first, this.last);
    const isLasting = used_ms >= LOUD_MS && used_ms >= (Date.now() - this.began_ms) * LOUD_SHARE;
    const isLoud = isLasting || this.loudest_ms >= LOUD_MS;
    if (isLoud) console.log(`     others used ${used_ms} ms of it, ${this.loudest_ms} ms at once`);
    return isLoud;
  }

  end(): void {
    clearInterval(this.timer);
  }

  /** One in which a process of ours ended is not judged: its last time is in nobody's count yet. */
  private endWindow(): void {
    const now = this.look();
    const isWhole = [...this.last.own_ms.keys()].every((pid) => now.own_ms.has(pid));
    if (isWhole) this.loudest_ms = Math.max(this.loudest_ms, usedByOthers(this.last, now));
    this.last = now;
  }

  private look(): Look {
    const own_ms = new Map<number, number>();
    let children_ms = 0;
    for (const pid of [process.pid, ...this.processes().map((each) => each.pid)]) {
      const used = usedBy(pid);
      if (used === null || own_ms.has(pid)) continue;
      own_ms.set(pid, used.own_ms);
      children_ms += used.children_ms;
    }
    return { all_ms: usedByAllMs(), own_ms, children_ms };
  }
}

/** Between two looks. */
function usedByOthers(from: Look, to: Look): number {
  let ours_ms = to.children_ms - from.children_ms;
  for (const [pid, used_ms] of to.own_ms) ours_ms += used_ms - (from.own_ms.get(pid) ?? 0);
  // one that is among the ended children now, with all that it has ever used
  for (const [pid, used_ms] of from.own_ms) if (!to.own_ms.has(pid)) ours_ms -= used_ms;
  return to.all_ms - from.all_ms - ours_ms;
}
