/**
 * What came to one subscriber of the demo of a group: what it missed, what it got twice, from whom.
 * Pure.
 */
import type { Received } from './messages.js';

/** Sequences remembered, a power of two: minutes at the demo's rates. */
const WINDOW = 65536;

export class Ledger {
  /** The sequence that was last seen at each place. */
  readonly #window = new Float64Array(WINDOW).fill(-1);
  #first = -1;
  #highest = -1;
  #received = 0;
  #twice = 0;
  #sender: string | null = null;
  #lastMs = 0;
  #silenceMs = 0;

  record(sequence: number, sender: string, atMs: number): void {
    if (this.#received > 0) this.#silenceMs = Math.max(this.#silenceMs, atMs - this.#lastMs);
    this.#lastMs = atMs;
    this.#sender = sender;
    const place = sequence % WINDOW;
    if (this.#window[place] === sequence) {
      this.#twice++;
      return;
    }
    this.#window[place] = sequence;
    if (this.#first < 0 || sequence < this.#first) this.#first = sequence;
    this.#highest = Math.max(this.#highest, sequence);
    this.#received++;
  }

  /** Owed is everything from its first to `through`; later ones may still be on their way. */
  look(through: number, atMs: number): Received {
    const last = Math.max(through, this.#highest);
    const owed = this.#first < 0 ? 0 : last - this.#first + 1;
    const sinceMs = this.#received === 0 ? 0 : atMs - this.#lastMs;
    return {
      received: this.#received,
      missed: Math.max(owed - this.#received, 0),
      twice: this.#twice,
      sender: this.#sender,
      silenceMs: Math.max(this.#silenceMs, sinceMs),
      sinceMs,
    };
  }
}
