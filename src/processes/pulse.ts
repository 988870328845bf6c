/**
 * The supervisor's periodic health check: it shows its heartbeat, and looks for those of the
 * workers and for faults of the filters.
 *
 *     faults of a module past a limit        → condemned
 *     a worker stuck in a filter, or stopped → its filter condemned, itself killed (child.ts
 *                                              replaces it)
 *     a worker that crashed in a filter      → its filter condemned
 *     fantail-rx stopped                     → killed
 *     slots that nobody holds any more       → emptied
 *     gaps that a filter has found           → told
 *
 * Each check takes some 0.3 ms from a core that may have packets to wait for, so there are two in a
 * second; ten while there is a filter that is not ours, for only such a one can be stuck or at
 * fault.
 */

import { counted } from '../domain/counts.js';
import type { FilterModule } from '../domain/filter.js';
import type { FilterDesk } from '../filters/desk.js';
import type { Gaps } from '../filters/gaps.js';
import type { Filters } from '../filters/registry.js';
import type { Arena } from '../memory/arena.js';
import { log } from '../terminal/log.js';
import type { DataPlane } from './data-plane.js';
import { usageOf, Watchdog } from './watchdog.js';

const CALM_MS = 500;
const WARY_MS = 100;
/** A worker that sleeps is looked at once in so many wary looks. */
const ASLEEP_EVERY = 5;
/** Traps, bad answers and results over the MTU that one module may have within FAULT_WINDOW_MS. */
export const FAULTS_MAX = 100;
const FAULT_WINDOW_MS = 10_000;
/**
 * fantail-rx, in split, receives for everybody: one that is seen stopped twice is replaced, which
 * is within a second of its stop.
 */
const RX_STOPPED_MS = CALM_MS - 100;

/** How a process ends by a fault of its own, V8's own checks among them. */
const CRASHES = new Set(['SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGILL', 'SIGTRAP', 'SIGFPE']);

export interface PulseOptions {
  readonly filters: Filters;
  readonly plane: DataPlane;
  readonly desk: FilterDesk;
  readonly gaps: Pick<Gaps, 'look'>;
}

export class Pulse {
  private readonly watchdogs: Watchdog[];
  private readonly rxWatchdog = new Watchdog(RX_STOPPED_MS);
  private timer: NodeJS.Timeout;
  private pace_ms = CALM_MS;
  private looks = 0;
  /** Faults of each module when its window began. */
  private readonly windows = new WeakMap<FilterModule, { faults: number; began_ms: number }>();

  constructor(private readonly options: PulseOptions) {
    this.watchdogs = Array.from({ length: this.arena.workers }, () => new Watchdog());
    this.timer = this.next();
    options.plane.onWorkerDeath = (worker, death) => this.blame(worker, death);
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  /** There is a new filter: the next look is not put off, nor by a further one. */
  hurry(): void {
    if (this.pace_ms === WARY_MS) return;
    this.stop();
    this.timer = this.next();
  }

  private next(): NodeJS.Timeout {
    this.pace_ms = this.isWary ? WARY_MS : CALM_MS;
    return setTimeout(() => {
      this.look();
      this.timer = this.next();
    }, this.pace_ms);
  }

  private get arena(): Arena {
    return this.options.plane.arena;
  }

  private get isWary(): boolean {
    const { filters } = this.options;
    return filters.loaded().some((module) => module !== filters.builtIn);
  }

  private look(): void {
    const { desk, filters, gaps } = this.options;
    this.looks++;
    this.arena.beat();
    if (this.isWary) {
      for (const module of filters.loaded())
        if (module !== filters.builtIn) this.lookAtFaults(module);
      gaps.look();
      void desk.sweep();
    }
    for (const [worker, watchdog] of this.watchdogs.entries()) this.lookAt(worker, watchdog);
    this.lookAtRx();
  }

  /** It calls no filter and cannot be stuck in one: it can only be stopped. */
  private lookAtRx(): void {
    const { receiver } = this.options.plane;
    const { pid } = receiver;
    const sighting = { pid, sign: 0n, calling: 0, now_ms: performance.now() };
    if (this.rxWatchdog.judge(sighting, () => usageOf(pid)).kind !== 'stopped') return;
    log.error(`fantail-rx (pid ${pid}) is stopped; it is killed and replaced`);
    receiver.kill();
  }

  private lookAtFaults(module: FilterModule): void {
    const count = (counter: 'traps' | 'bad_answers' | 'too_big') =>
      this.arena.filterCount(module, counter);
    const [traps, bad, tooBig] = [count('traps'), count('bad_answers'), count('too_big')];
    const faults = traps + bad + tooBig;
    const now = performance.now();
    const window = this.windows.get(module);
    if (window === undefined || now - window.began_ms > FAULT_WINDOW_MS) {
      this.windows.set(module, { faults, began_ms: now });
      if (window !== undefined || faults < FAULTS_MAX) return;
    } else if (faults - window.faults < FAULTS_MAX) return;
    const kinds = [
      counted(traps, 'trap'),
      counted(bad, 'bad answer'),
      `${counted(tooBig, 'result')} over the MTU`,
    ];
    this.options.desk.condemn(module, kinds.filter((kind) => !kind.startsWith('0 ')).join(', '));
  }

  private lookAt(worker: number, watchdog: Watchdog): void {
    const { plane } = this.options;
    const word = (field: string) => this.arena.u32(this.arena.worker(worker, field));
    const pid = word('pid');
    if (pid === 0 || pid !== plane.workers[worker]?.pid) return; // it starts, or ends
    if (word('asleep') === 1 && this.isWary && this.looks % ASLEEP_EVERY !== 0) return;
    const long = (field: string) => this.arena.u64(this.arena.worker(worker, field));
    const sign = long('heartbeat_ns') + (long('bursts') << 64n);
    const sighting = { pid, sign, calling: word('calling'), now_ms: performance.now() };
    const judgement = watchdog.judge(sighting, () => usageOf(pid));
    if (judgement.kind === 'alive') return;
    if (judgement.kind === 'stuck') this.condemn(judgement.slot, 'it did not return');
    log.error(`tx worker ${worker} (pid ${pid}) is ${judgement.kind}; it is killed and replaced`);
    plane.workers[worker]?.kill();
  }

  /** A fault of its own ended it while it called a filter: no filter that is lawful can do that. */
  private blame(worker: number, { how, pid }: { how: string; pid: number }): void {
    const word = (field: string) => this.arena.u32(this.arena.worker(worker, field));
    const calling = word('calling');
    // one that died before it attached has its predecessor's words there
    if (word('pid') === pid && calling > 0 && CRASHES.has(how))
      this.condemn(calling - 1, `its worker crashed: ${how}`);
  }

  private condemn(slot: number, reason: string): void {
    const { filters, desk } = this.options;
    const module = filters.loaded().find((each) => each.slot === slot);
    if (module !== undefined && module !== filters.builtIn) desk.condemn(module, reason);
  }
}
