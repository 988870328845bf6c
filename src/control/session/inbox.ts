/**
 * Messages of one session that wait for their turn. It stops reading from the socket while too many
 * wait, or too much, or while the peer is far over its rate, so that a flood costs the peer and
 * nobody else.
 */
import { WebSocket } from 'ws';
import { FantailError } from '../../domain/errors.js';
import type { Decoded } from '../codec.js';
import { BYTES_PER_SECOND_MAX, REQUESTS_PER_SECOND_MAX } from '../constants.js';

/** Refusals of one session in a second before its socket is not read until that second is over. */
const REFUSALS_PER_SECOND_MAX = 2000;
/** Messages that wait, and bytes of them, before the socket is not read. */
const WAITING_MAX = 256;
const WAITING_SIZE_MAX = 256 * 1024;

interface Waiting {
  readonly message: Decoded;
  /** Bytes of its frame. */
  readonly size: number;
}

export class Inbox {
  paused = false;
  readonly #waiting: Waiting[] = [];
  #secondStart = 0;
  #requests = 0;
  #bytes = 0;
  /** Set while the peer is so far over its rate that the rest of the second is not read. */
  #secondTimer: NodeJS.Timeout | undefined;

  constructor(private readonly webSocket: WebSocket) {}

  /** One over the rate waits as a refusal, so that answers keep their order. */
  add(message: Decoded, size: number): void {
    const isOver = this.#isOverRate(size);
    this.#waiting.push({ message: isOver ? rateLimited(message) : message, size });
    this.#adjustReading();
  }

  /** The next ones that may be under way at once: one, or several that are performed together. */
  take(): Decoded[] {
    const end = this.#waiting.findIndex(({ message }) => message.operation?.together !== true);
    const count = end < 0 ? this.#waiting.length : Math.max(end, 1);
    const next = this.#waiting.splice(0, count);
    if (next.length > 0) this.#adjustReading();
    return next.map(({ message }) => message);
  }

  close(): void {
    clearTimeout(this.#secondTimer);
    this.#waiting.length = 0;
  }

  /** Counts requests and their bytes in seconds that begin with the first of them. */
  #isOverRate(size: number): boolean {
    const now = performance.now();
    if (now - this.#secondStart >= 1000) {
      this.#secondStart = now;
      this.#requests = 0;
      this.#bytes = 0;
    }
    this.#requests += 1;
    this.#bytes += size;
    const isFarOver =
      this.#requests >= REQUESTS_PER_SECOND_MAX + REFUSALS_PER_SECOND_MAX ||
      this.#bytes >= BYTES_PER_SECOND_MAX;
    if (isFarOver && this.#secondTimer === undefined) {
      const rest = this.#secondStart + 1000 - now;
      this.#secondTimer = setTimeout(() => {
        this.#secondTimer = undefined;
        this.#adjustReading();
      }, rest);
    }
    return this.#requests > REQUESTS_PER_SECOND_MAX;
  }

  #adjustReading(): void {
    const size = this.#waiting.reduce((sum, waiting) => sum + waiting.size, 0);
    const isFull = this.#waiting.length >= WAITING_MAX || size >= WAITING_SIZE_MAX;
    const pause = isFull || this.#secondTimer !== undefined;
    if (pause === this.paused || this.webSocket.readyState !== WebSocket.OPEN) return;
    this.paused = pause;
    if (pause) this.webSocket.pause();
    else this.webSocket.resume();
  }
}

function rateLimited({ encoding, id }: Decoded): Decoded {
  const error = new FantailError(
    'RATE_LIMITED',
    `more than ${REQUESTS_PER_SECOND_MAX} requests in a second; wait for the next`,
  );
  return { encoding, id, operation: undefined, error };
}
