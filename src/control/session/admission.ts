/** What the peer of one session may do: from its start, or since it has shown a token by `auth`. */
import { FantailError } from '../../domain/errors.js';
import type { Access, Rights } from '../gate/access.js';
import { isLoopback } from '../gate/gate.js';

/** Wrong tokens in one session before it is closed. */
const AUTH_TRIES_MAX = 5;
/** A session that has not shown the token is closed after this time. */
const AUTH_WAIT_MS = 30_000;

export class Admission {
  #tries = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(
    public rights: Rights,
    private readonly access: Access,
    private readonly address: string,
    /** The token that it has shown in a header; undefined: none. */
    private offered: string | undefined,
    /** Called with the reason when the peer has had its chances. */
    private readonly onEnd: (reason: string) => void,
  ) {
    this.#timer = setTimeout(() => {
      if (!this.isGiven) onEnd('no token was shown');
    }, AUTH_WAIT_MS);
  }

  get isGiven(): boolean {
    return this.rights !== 'none';
  }

  /** A wrong one is answered later and later (UNAUTHORIZED), and takes nothing away. */
  async show(offered: string): Promise<Exclude<Rights, 'none'>> {
    const rights = this.#rightsOf(offered);
    if (rights !== 'none') {
      this.rights = rights;
      this.offered = offered;
      this.close();
      return rights;
    }
    this.#tries += 1;
    const isLast = this.#tries >= AUTH_TRIES_MAX;
    const isAnswered = await this.access.afterWrong(this.address);
    if (isLast || !isAnswered) setImmediate(() => this.onEnd('too many wrong tokens'));
    throw new FantailError('UNAUTHORIZED', 'wrong token');
  }

  /**
   * Other tokens are right now, or none is wanted. False: it may not stay, since what it has shown
   * is none of them any more, or since only loopback is served.
   */
  judgeAgain(): boolean {
    const had = this.isGiven;
    this.rights = this.#rightsOf(this.offered ?? '');
    if (this.isGiven) this.close(); // no token is waited for any more
    return this.isGiven || (!had && this.access.wantsToken);
  }

  /** As the gate: without tokens a peer from elsewhere may nothing, whatever it shows. */
  #rightsOf(offered: string): Rights {
    return this.access.wantsToken || isLoopback(this.address)
      ? this.access.rightsOf(offered)
      : 'none';
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
