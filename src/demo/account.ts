/**
 * One subscriber's account of a numbered feed: what came, what is missing, what came twice or late.
 * Pure.
 */
import type { Snapshot, TransitTimes } from './messages.js';

/** Sequences remembered: over a second at the highest rate of the demo. A power of two. */
const WINDOW = 131072;
/** Latencies kept between two snapshots; the newest win. */
const SAMPLES_MAX = 65536;

export class Account {
  /** The sequence that was last seen at each place. */
  readonly #window = new Float64Array(WINDOW).fill(-1);
  readonly #samples = new Float64Array(SAMPLES_MAX);
  #sampleCount = 0;
  /** The first sequence that is owed; -1 while it is not known. */
  #first: number;
  #highest = -1;
  #received = 0;
  #duplicated = 0;
  #reordered = 0;

  /** `from`: the first sequence that is owed, or null: the first that comes. */
  constructor(from: number | null) {
    this.#first = from ?? -1;
  }

  record(sequence: number, latencyUs: number): void {
    this.#samples[this.#sampleCount++ % SAMPLES_MAX] = latencyUs;
    if (this.#has(sequence)) {
      this.#duplicated++;
      return;
    }
    if (this.#first < 0 || sequence < this.#first) this.#first = sequence;
    if (sequence < this.#highest) this.#reordered++;
    else this.#highest = sequence;
    this.#window[sequence % WINDOW] = sequence;
    this.#received++;
  }

  /**
   * Counts the packets up to `through`; later ones wait for the next snapshot. A gap is lost once a
   * later one came.
   */
  snapshot(through: number): Snapshot {
    let received = this.#received;
    for (let later = Math.max(through + 1, this.#first); later <= this.#highest; later++) {
      if (this.#first >= 0 && this.#has(later)) received--;
    }
    const last = Math.min(through, this.#highest);
    const owed = this.#first < 0 || last < this.#first ? 0 : last - this.#first + 1;
    return {
      through,
      received,
      lost: Math.max(owed - received, 0),
      duplicated: this.#duplicated,
      reordered: this.#reordered,
      latency: this.#takeLatency(),
    };
  }

  #has(sequence: number): boolean {
    return this.#window[sequence % WINDOW] === sequence;
  }

  #takeLatency(): TransitTimes | null {
    const count = Math.min(this.#sampleCount, SAMPLES_MAX);
    this.#sampleCount = 0;
    if (count === 0) return null;
    const sorted = this.#samples.subarray(0, count).sort();
    const at = (share: number) => sorted[Math.min(Math.floor(share * count), count - 1)] ?? 0;
    return { p50: at(0.5), p99: at(0.99), max: at(1) };
  }
}
