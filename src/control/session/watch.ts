/**
 * The events that one session asked for. Counters are sums, so a skipped event loses nothing; a
 * peer that reads none of them is let go. Sessions that watch at the same pace are told at the same
 * moments, so that the statistics are read once for all of them.
 */
import { WebSocket } from 'ws';
import type { Frame } from '../codec.js';

/** Has `tell` called with each event of a kind that comes when it comes; returns what ends that. */
export type Follow = (tell: (frame: Frame) => void) => () => void;

/**
 * An event is skipped while this much of a session is unread, and the session is closed after so
 * many in a row.
 */
const UNREAD_SIZE_MAX = 256 * 1024;
const SKIPPED_EVENTS_MAX = 10;
const SKIPPED_EVENTS_MS_MIN = 5000;

export class Watch {
  #timer: NodeJS.Timeout | undefined;
  /** Another one with each start and stop. */
  #watching = 0;
  #skipped = 0;
  #unfollow = () => {};

  constructor(
    private readonly webSocket: WebSocket,
    /** Called when the peer has read no event for long. */
    private readonly onUnread: () => void,
  ) {}

  /** One watch a session: another one replaces it. */
  start(seconds: number, event: () => Promise<Frame | null>, follow: Follow): void {
    this.stop();
    this.#skipped = 0;
    this.#unfollow = follow((frame) => this.#tellNow(frame));
    this.#waitForNext(seconds * 1000, event);
  }

  stop(): void {
    this.#watching += 1;
    clearTimeout(this.#timer);
    this.#unfollow();
    this.#unfollow = () => {};
  }

  /** Until the next multiple of the period, which is the same for all that have it. */
  #waitForNext(period_ms: number, event: () => Promise<Frame | null>): void {
    const watching = this.#watching;
    // one more, since a timer that is a little early would be told of the same moment twice
    const wait_ms = Math.ceil(period_ms - (performance.now() % period_ms)) + 1;
    this.#timer = setTimeout(async () => {
      await this.#tell(period_ms, event);
      if (watching === this.#watching) this.#waitForNext(period_ms, event);
    }, wait_ms);
  }

  /** A peer that does not read misses it; the other events let it go. */
  #tellNow(frame: Frame): void {
    const isOpen = this.webSocket.readyState === WebSocket.OPEN;
    if (isOpen && this.webSocket.bufferedAmount <= UNREAD_SIZE_MAX) this.webSocket.send(frame);
  }

  async #tell(period_ms: number, event: () => Promise<Frame | null>): Promise<void> {
    const watching = this.#watching;
    if (this.webSocket.readyState !== WebSocket.OPEN) return;
    if (this.webSocket.bufferedAmount > UNREAD_SIZE_MAX) {
      this.#skipped += 1;
      const longEnough = this.#skipped * period_ms >= SKIPPED_EVENTS_MS_MIN;
      if (this.#skipped >= SKIPPED_EVENTS_MAX && longEnough) this.onUnread();
      return;
    }
    this.#skipped = 0;
    const frame = await event();
    if (frame !== null && watching === this.#watching) this.webSocket.send(frame);
  }
}
