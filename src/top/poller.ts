/**
 * Asks a replicator again and again, and goes on when it is gone: the next one at the same address
 * is asked from then on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Fantail } from '../api/fantail.js';
import type { ClientFlags } from '../control/client.js';
import { messageOf } from '../domain/errors.js';
import { type Interval, intervalOf, type Reading } from '../domain/reading.js';

/** What is known: the last figures there were, and why there are no newer ones. */
export interface Known {
  readonly interval: Interval;
  /** Null: they are of now. Else since when (performance.now()), and why. */
  readonly stale: { readonly since_ms: number; readonly reason: string } | null;
}

/** Without an answer for so long, that is told. */
const SILENCE_MS = 2000;

/** Asked at once, so that the two fit together as well as they can. */
export async function read(fantail: Fantail): Promise<Reading> {
  const [stats, subscribers] = await Promise.all([fantail.stats(), fantail.list()]);
  return { stats, subscribers };
}

export class Poller {
  private known: Known;
  private previous: Reading | null;

  constructor(
    private fantail: Fantail,
    first: Reading,
    private readonly options: {
      readonly flags: ClientFlags;
      readonly intervalMs: number;
      readonly onNews: (known: Known) => void;
    },
  ) {
    this.previous = first;
    this.known = { interval: intervalOf(first, null), stale: null };
  }

  /** Until `signal` says stop. */
  async run(signal: AbortSignal): Promise<void> {
    const { flags, intervalMs, onNews } = this.options;
    onNews(this.known);
    try {
      while (await paused(intervalMs, signal)) {
        try {
          await this.ask();
        } catch (thrown) {
          if (signal.aborted) return;
          this.tell(messageOf(thrown));
          this.fantail.close();
          this.previous = null; // whoever answers next has counters of its own
          while (!(await this.reconnected(flags))) if (!(await paused(intervalMs, signal))) return;
        }
      }
    } finally {
      this.fantail.close();
    }
  }

  private async ask(): Promise<void> {
    const asked_ms = performance.now();
    const late = setInterval(() => {
      if (performance.now() - asked_ms >= SILENCE_MS) this.tell('it does not answer');
    }, 500);
    try {
      const now = await read(this.fantail);
      this.known = { interval: intervalOf(now, this.previous), stale: null };
      this.previous = now;
      this.options.onNews(this.known);
    } finally {
      clearInterval(late);
    }
  }

  private async reconnected(flags: ClientFlags): Promise<boolean> {
    try {
      this.fantail = await connect(flags);
      return true;
    } catch (thrown) {
      this.tell(messageOf(thrown));
      return false;
    }
  }

  private tell(reason: string): void {
    const since_ms = this.known.stale?.since_ms ?? performance.now();
    this.known = { ...this.known, stale: { since_ms, reason } };
    this.options.onNews(this.known);
  }
}

/** False: it was told to stop. */
async function paused(ms: number, signal: AbortSignal): Promise<boolean> {
  await sleep(ms, undefined, { signal }).catch(() => {});
  return !signal.aborted;
}
