/**
 * Several launchers on one interface share one XDP program and its maps.
 *
 * Whoever binds the abstract Unix socket of the interface (its name holds the interface's index; it
 * lives in the interface's network namespace) loads the program and hands its descriptors to all
 * who connect. Binding is the election. Everybody holds the link, so the last one to leave detaches
 * it; the kernel drops the name with its holder, and a survivor takes it over. Only root and
 * whoever runs this launcher are served and believed.
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../domain/errors.js';
import { addon, type Interface, type SlowPathFds, type Watch } from '../memory/addon.js';
import { log } from '../terminal/log.js';

/** The program of an interface as descriptors; the caller closes them. */
export interface SharedXdp extends SlowPathFds {
  readonly attach: 'native' | 'generic';
  readonly link: number;
  readonly xsks: number;
  readonly feeds: number;
  /** The addresses of the host. */
  readonly own: number;
  readonly verdicts: number;
  /** Of a program that can send in bulk: the program, the map of maps, and what must stay open. */
  readonly bulk: readonly number[];
}

/** Its descriptors in the order in which they are handed on; those for bulk come last. */
export const fdsOf = (shared: SharedXdp): number[] => [...commonFdsOf(shared), ...shared.bulk];

/** Without those for bulk, in the order of native/xdp/program.hpp. */
export const commonFdsOf = (shared: SharedXdp): number[] => {
  const { link, xsks, feeds, own, verdicts, ...path } = shared;
  const { readers, cookies, selector, member, declined } = path;
  return [link, xsks, feeds, own, verdicts, readers, cookies, selector, member, declined];
};

/** The same back; null: it is not all there. */
export function sharedXdp(attach: SharedXdp['attach'], fds: readonly number[]): SharedXdp | null {
  const [link, xsks, feeds, own, verdicts, ...more] = fds;
  const [readers, cookies, selector, member, declined, ...bulk] = more;
  const isWhole =
    link !== undefined &&
    xsks !== undefined &&
    feeds !== undefined &&
    own !== undefined &&
    verdicts !== undefined &&
    readers !== undefined &&
    cookies !== undefined &&
    selector !== undefined &&
    member !== undefined &&
    declined !== undefined;
  if (!isWhole) return null;
  const slowPath = { readers, cookies, selector, member, declined };
  return { attach, link, xsks, feeds, own, verdicts, ...slowPath, bulk };
}

/**
 * Descriptors of a program that sends in bulk (native/xdp/program.hpp, struct Bulk); the last is
 * not there where the kernel cannot tell of page pools. None: it does not send in bulk.
 */
const BULK_FDS = [0, 5, 6];
/** A holder that is dying or starting is asked again this often, for this long. */
const ASK_AGAIN_MS = 20;
const JOIN_MS_MAX = 10_000;
/** Survivors try to take the name over this often, and newcomers leave it to them for so long. */
const TAKE_OVER_MS = 250;
const UNCLAIMED_MS_MAX = 4 * TAKE_OVER_MS;

/** Of the other end of a socket (SO_PEERCRED, socket(7)). */
const isTrusted = (uid: number): boolean => uid === 0 || uid === process.geteuid?.();

/** The abstract socket's, whose holder loads the program of the interface of that index. */
export const electionName = (index: number): string => `fantail-xdp-${index}`;

export class Launchers {
  private readonly name: string;
  private socket: number;
  private elected = false;
  private shared: SharedXdp | null = null;
  private watch: Watch | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly netns: string | null,
    private readonly link: Pick<Interface, 'index' | 'name'>,
  ) {
    this.name = electionName(link.index);
    this.socket = addon.openAbstract(netns);
  }

  /** The program of another launcher, or null: this one is elected and is to load it. */
  async join(): Promise<SharedXdp | null> {
    const deadline_ms = performance.now() + JOIN_MS_MAX;
    let unheldSince_ms: number | null = null;
    for (;;) {
      const shared = await this.ask();
      if (shared !== null) return shared;
      unheldSince_ms ??= performance.now();
      // with a program there, a survivor is about to take the name, or the last one to end
      const isClaimed =
        performance.now() < unheldSince_ms + UNCLAIMED_MS_MAX &&
        addon.xdpProgramOn(this.netns, this.link.name) !== null;
      if (!isClaimed && addon.bindAbstract(this.socket, this.name)) {
        this.elected = true;
        return null;
      }
      if (performance.now() > deadline_ms)
        throw new Failure(
          'another fantail on this interface neither shares its XDP program nor ends; ' +
            'see: fantail clean',
        );
      await sleep(ASK_AGAIN_MS);
    }
  }

  /**
   * Connects to the holder of the name and waits for its descriptors; null if it is gone or does
   * not answer.
   */
  private async ask(): Promise<SharedXdp | null> {
    const fd = addon.openAbstract(this.netns);
    try {
      if (!addon.connectAbstract(fd, this.name)) return null;
      const uid = addon.peerUid(fd);
      if (!isTrusted(uid))
        throw new Failure(
          `the abstract socket @${this.name} is held by user ${uid}, who is neither root nor yours; ` +
            'end that process',
        );
      for (let waited = 0; waited < JOIN_MS_MAX; waited += ASK_AGAIN_MS) {
        const message = addon.receiveMessage(fd);
        if (message === 'closed') return null;
        if (message === null) {
          await sleep(ASK_AGAIN_MS);
          continue;
        }
        // of this program, root's or our own user's
        const { attach } = JSON.parse(message.text) as { attach: SharedXdp['attach'] };
        const shared = sharedXdp(attach, message.fds);
        if (
          shared === null ||
          !BULK_FDS.includes(shared.bulk.length) ||
          !['native', 'generic'].includes(attach)
        ) {
          for (const each of message.fds) closeSync(each);
          return null;
        }
        return shared;
      }
      return null;
    } finally {
      closeSync(fd);
    }
  }

  /** Takes the name over at once if its holder is gone: for one that adopts a program. */
  adopt(shared: SharedXdp): void {
    this.elected = addon.bindAbstract(this.socket, this.name);
    this.share(shared);
  }

  /** From now on this launcher can answer others, now or when it inherits the name. */
  share(shared: SharedXdp): void {
    this.shared = shared;
    if (this.elected) this.serve();
    else this.timer = setInterval(() => this.takeOver(), TAKE_OVER_MS).unref();
  }

  private takeOver(): void {
    if (!addon.bindAbstract(this.socket, this.name)) return;
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    this.elected = true;
    log.info('the launcher that held the XDP program has left; this one answers for it now');
    this.serve();
  }

  private serve(): void {
    this.watch = addon.watchFd(this.socket, () => {
      for (
        let peer = addon.acceptPeer(this.socket);
        peer !== null;
        peer = addon.acceptPeer(this.socket)
      ) {
        const { shared } = this;
        if (isTrusted(peer.uid) && shared !== null) this.hand(peer.fd, shared);
        closeSync(peer.fd);
      }
    });
  }

  private hand(fd: number, shared: SharedXdp): void {
    try {
      addon.sendMessage(fd, JSON.stringify({ attach: shared.attach }), fdsOf(shared));
    } catch {
      // it has gone; a later one asks for itself
    }
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    this.watch?.close();
    this.watch = null;
    if (this.socket >= 0) closeSync(this.socket);
    this.socket = -1;
  }
}
