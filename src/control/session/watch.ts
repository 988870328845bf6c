/**
 * The events that one session asked for. Counters are sums, so a skipped event loses nothing; a
 * peer that reads none of them is let go.
 */
import { WebSocket } from 'ws';
import type { Frame } from '../codec.js';

/**
 * An event is skipped while this much of a session is unread, and the session is closed after so
 * many in a row.
 */
const UNREAD_SIZE_MAX = 256 * 1024;
const SKIPPED_EVENTS_MAX = 10;
const SKIPPED_EVENTS_MS_MIN = 5000;

export class Watch {
  #timer: NodeJS.Timeout | undefined;
  #skipped = 0;

  constructor(
    private readonly webSocket: WebSocket,
    /** Called when the peer has read no event for long. */
    private readonly onUnread: () => void,
  ) {}

  /** One watch a session: another one replaces it. */
  start(seconds: number, event: () => Frame | null): void {
    this.stop();
    this.#skipped = 0;
    this.#timer = setInterval(() => this.#tell(seconds, event), seconds * 1000);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tell(seconds: number, event: () => Frame | null): void {
    if (this.webSocket.readyState !== WebSocket.OPEN) return;
    if (this.webSocket.bufferedAmount > UNREAD_SIZE_MAX) {
      this.#skipped += 1;
      const longEnough = this.#skipped * seconds * 1000 >= SKIPPED_EVENTS_MS_MIN;
      if (this.#skipped >= SKIPPED_EVENTS_MAX && longEnough) this.onUnread();
      return;
    }
    this.#skipped = 0;
    const frame = event();
    if (frame !== null) this.webSocket.send(frame);
  }
}
