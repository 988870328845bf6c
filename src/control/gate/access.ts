/**
 * What a peer may do, by the token that it shows; and what a wrong one costs. A right token is
 * never kept waiting, whatever others have tried from the same address.
 */
import { sameToken } from './token.js';

/** Show a token and nothing else; read; change things too. */
export type Rights = 'none' | 'read' | 'all';

/** The tokens of a control port; null: none is wanted, and only loopback is served. */
export interface Tokens {
  readonly all: string;
  /** One that may only read; null: there is none. */
  readonly read: string | null;
}

/** What the first wrong token of an address waits for its answer; each more twice as long. */
const DELAY_MS_MIN = 100;
const DELAY_MS_MAX = 3000;
/** An address that has shown no wrong one for so long begins anew. */
const FORGET_MS = 60_000;
/** Addresses that are remembered; the one that has been quiet longest goes. */
const ADDRESSES_MAX = 1024;
/** Answers that wait at a time; a wrong token beyond gets none. */
export const WAITING_MAX = 64;

export class Access {
  readonly #wrong = new Map<string, { count: number; last_ms: number }>();
  #waiting = 0;

  /** Others may be set while sessions are open: see Session.judgeAgain(). */
  constructor(public tokens: Tokens | null) {}

  get wantsToken(): boolean {
    return this.tokens !== null;
  }

  /** Of who shows that token. Where none is wanted any is right: a client need not know. */
  rightsOf(offered: string): Rights {
    if (this.tokens === null) return 'all';
    // both are compared, whatever the first says
    const isAll = sameToken(offered, this.tokens.all);
    const isRead = this.tokens.read !== null && sameToken(offered, this.tokens.read);
    if (isAll) return 'all';
    return isRead ? 'read' : 'none';
  }

  /**
   * A wrong token came from that address: resolves with true when it may be answered, with false at
   * once if too many answers wait.
   */
  async afterWrong(address: string): Promise<boolean> {
    const delay = this.#delayOf(address, performance.now());
    if (this.#waiting >= WAITING_MAX) return false;
    this.#waiting++;
    await new Promise((resolve) => setTimeout(resolve, delay).unref());
    this.#waiting--;
    return true;
  }

  /** Milliseconds that this one waits; it is counted. */
  #delayOf(address: string, now: number): number {
    const before = this.#wrong.get(address);
    const isRecent = before !== undefined && now - before.last_ms < FORGET_MS;
    const count = isRecent ? before.count + 1 : 1;
    this.#wrong.delete(address); // so that it is the youngest again
    this.#wrong.set(address, { count, last_ms: now });
    const [oldest] = this.#wrong.keys();
    if (this.#wrong.size > ADDRESSES_MAX && oldest !== undefined) this.#wrong.delete(oldest);
    return Math.min(DELAY_MS_MIN * 2 ** (count - 1), DELAY_MS_MAX);
  }
}
