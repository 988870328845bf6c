/**
 * The latencies of the last one to two seconds: what the workers' histograms have grown by since a
 * look at them that is at least a second old. The supervisor looks once a second, so that whoever
 * asks after an hour without a packet is told zeros, and the workers know nothing of it.
 */
import { monotonicMs } from '../domain/process/clock.js';
import type { Latencies } from '../domain/statistics.js';
import { type Arena, type Histograms, latenciesOf } from './arena.js';

/** Between two looks, and how old the older one is at least. */
const LOOK_MS = 1000;
/** A supervisor that stood still for so long has no look to compare with. */
const LOOK_MS_MAX = 5000;
/** Always one is old enough: two may be some ms less than a second apart, after a late timer. */
const LOOKS_MAX = 3;

interface Look {
  readonly at_ms: number;
  /** By worker. */
  readonly histograms: readonly Histograms[];
}

export class Recent {
  /** The newest first. */
  private looks: Look[] = [];
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly arena: Pick<Arena, 'workers' | 'histograms'>,
    private readonly now: () => number = monotonicMs,
  ) {
    this.look();
    this.timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  look(): void {
    const at_ms = this.now(); // before: what is counted while it reads is newer
    const histograms = Array.from({ length: this.arena.workers }, (_, worker) =>
      this.arena.histograms(worker),
    );
    this.looks = [{ at_ms, histograms }, ...this.looks].slice(0, LOOKS_MAX);
  }

  /** Zeros where nothing was measured since, or there is no look of that age. */
  of(worker: number, histograms: Histograms): Latencies {
    const age = ({ at_ms }: Look) => this.now() - at_ms;
    const since = this.looks.find((look) => age(look) >= LOOK_MS);
    const isRecent = since !== undefined && age(since) <= LOOK_MS_MAX;
    const before = isRecent ? since.histograms[worker] : histograms;
    const grown = (name: keyof Latencies) =>
      histograms[name].map((count, bucket) => count - (before?.[name][bucket] ?? 0));
    return latenciesOf({
      inside_ns: grown('inside_ns'),
      kick_ns: grown('kick_ns'),
      window_ns: grown('window_ns'),
    });
  }
}
