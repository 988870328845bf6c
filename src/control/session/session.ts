/**
 * One session of the control port. It handles one request after the other (changes of subscribers
 * that wait together, together), and sends their answers before it takes the next, so that answers
 * keep their order and a peer that does not read stops only itself.
 */
import { type RawData, WebSocket } from 'ws';
import type { Change } from '../../domain/change.js';
import { FantailError, messageOf } from '../../domain/errors.js';
import type { ControlSession } from '../../domain/lease.js';
import type { Replicator } from '../../domain/replicator.js';
import {
  type Codec,
  type Decoded,
  type Encoding,
  encodeAnswer,
  encodeError,
  encodeEvent,
  encodeGap,
  type Frame,
} from '../codec.js';
import { BEFORE_TOKEN_SIZE_MAX } from '../constants.js';
import type { Access, Rights } from '../gate/access.js';
import type { Called } from '../operation.js';
import { Admission } from './admission.js';
import { changeOf } from './audit.js';
import type { Changes } from './changes.js';
import { Inbox } from './inbox.js';
import { type Follow, Watch } from './watch.js';

/** A peer must have read an answer after this time, and must answer a ping before the next. */
export const STALL_MS = 30_000;
/** Time that a peer has to close its side when the server closes. */
const CLOSE_WAIT_MS = 500;
/** Until a session ends whose token is right no more: its last answers go first. */
const LAST_WORD_MS = 1000;

/** What the sessions of one port share. */
export interface Served {
  readonly access: Access;
  readonly replicator: Replicator;
  readonly codec: Codec;
  /** Those that were asked for, of all sessions. */
  readonly changes: Changes;
  /** Told of each change that was asked for. */
  readonly onChange: (change: Change) => void;
  /** Told of each answer: the operation, empty where none could be read, and `ok` or the code. */
  readonly onAnswer: (op: string, code: Change['answer']) => void;
  /** Told of each error that is a fault of fantail's own. */
  readonly onError: (error: unknown) => void;
}

/** What others have to do when the session ends. */
class Life implements ControlSession {
  #callbacks: (() => void)[] | null = [];

  onEnd(callback: () => void): void {
    if (this.#callbacks === null) callback();
    else this.#callbacks.push(callback);
  }

  end(): void {
    const callbacks = this.#callbacks ?? [];
    this.#callbacks = null;
    for (const callback of callbacks) callback();
  }
}

export class Session {
  readonly #admission: Admission;
  readonly #inbox: Inbox;
  readonly #watch: Watch;
  readonly #life = new Life();
  #lastWord: NodeJS.Timeout | undefined;
  #working = false;
  #alive = true;

  constructor(
    private readonly webSocket: WebSocket,
    private readonly served: Served,
    /** ip and port of the peer. */
    private readonly peer: { readonly address: string; readonly port: number },
    { rights, offered }: { readonly rights: Rights; readonly offered: string | undefined },
  ) {
    const endBy = (reason: string) => void this.end(1008, reason);
    this.#admission = new Admission(rights, served.access, peer.address, offered, endBy);
    this.#inbox = new Inbox(webSocket);
    this.#watch = new Watch(webSocket, () => endBy('events were not read'));
    webSocket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    webSocket.on('pong', () => {
      this.#alive = true;
    });
    // ws has sent a code of its own already, such as 1009
    webSocket.on('error', () => void this.end(1002, 'bad frame'));
    webSocket.on('close', () => this.#forget());
  }

  get authorized(): boolean {
    return this.#admission.isGiven;
  }

  /** Other tokens are right now: who has shown none of them may ask no more, and is let go. */
  judgeAgain(): void {
    clearTimeout(this.#lastWord);
    if (this.#admission.judgeAgain()) return;
    this.#lastWord = setTimeout(() => {
      // a right one may have been shown meanwhile
      if (!this.authorized) void this.end(1008, 'the token has changed');
    }, LAST_WORD_MS).unref();
  }

  /** Called every STALL_MS: a peer that has not answered the last ping is gone. */
  checkAlive(): void {
    if (this.#alive || this.#inbox.paused) {
      this.#alive = false;
      this.webSocket.ping();
    } else this.webSocket.terminate();
  }

  /** Closes in peace, and by force where the peer does not answer. */
  end(code: number, reason: string): Promise<void> {
    this.#forget();
    return new Promise((resolve) => {
      if (this.webSocket.readyState === WebSocket.CLOSED) return resolve();
      const force = setTimeout(() => this.webSocket.terminate(), CLOSE_WAIT_MS);
      this.webSocket.once('close', () => {
        clearTimeout(force);
        resolve();
      });
      // a paused socket would not see the peer's close
      if (this.#inbox.paused) this.webSocket.resume();
      this.webSocket.close(code, reason);
    });
  }

  #forget(): void {
    clearTimeout(this.#lastWord);
    this.#admission.close();
    this.#inbox.close();
    this.#watch.stop();
    this.#life.end();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.webSocket.readyState !== WebSocket.OPEN) return;
    const frame = data as Buffer; // ws gives one a message: its binaryType is left at nodebuffer
    if (!this.authorized && frame.length > BEFORE_TOKEN_SIZE_MAX) {
      void this.end(1009, 'a token is wanted first');
      return;
    }
    this.#inbox.add(this.served.codec.decode(frame, isBinary), frame.length);
    if (!this.#working) void this.#work();
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let next = this.#inbox.take(); next.length > 0; next = this.#inbox.take()) {
      // begun in their order, before any is waited for
      const answers = next.map((each) => this.#answer(each));
      for (const answer of answers) await send(this.webSocket, await answer);
    }
    this.#working = false;
  }

  async #answer(asked: Decoded): Promise<Frame> {
    const isKnown = this.authorized; // what a stranger asks fills no log
    try {
      this.#checkRights(asked);
      if ('error' in asked) throw asked.error;
      const called = calledBy(asked.encoding, this.served, {
        admission: this.#admission,
        watch: this.#watch,
        life: this.#life,
      });
      const answer = await asked.operation.perform(called, asked.request);
      this.#answered(asked, 'ok', isKnown, 'existing' in answer && answer.existing === true);
      return encodeAnswer(asked, answer);
    } catch (thrown) {
      const error = this.#asRefusal(thrown);
      this.#answered(asked, error.code, isKnown);
      return encodeError(asked, error);
    }
  }

  #checkRights({ operation }: Decoded): void {
    const { rights } = this.#admission;
    if (rights === 'all' || operation?.beforeToken === true) return;
    if (rights === 'none')
      throw new FantailError('UNAUTHORIZED', 'a token is wanted; send: auth TOKEN');
    if (operation !== undefined && operation.reads !== true)
      throw new FantailError(
        'UNAUTHORIZED',
        'this token may only read; changes need the other one',
      );
  }

  #asRefusal(thrown: unknown): FantailError {
    if (thrown instanceof FantailError && thrown.code !== 'INTERNAL') return thrown;
    this.served.onError(thrown);
    const message = `a fault of fantail's own, see its log: ${messageOf(thrown)}`;
    return new FantailError('INTERNAL', message);
  }

  #answered(asked: Decoded, answer: Change['answer'], isKnown: boolean, wasSo = false): void {
    this.served.onAnswer('request' in asked ? asked.request.op : '', answer);
    if (!isKnown) return;
    const change = changeOf(`${this.peer.address}:${this.peer.port}`, asked, answer);
    if (change === null) return;
    this.served.changes.add(change, wasSo);
    this.served.onChange(change);
  }
}

/** What an operation may call, for a request in that encoding. */
function calledBy(
  encoding: Encoding,
  { replicator, codec, changes, onError }: Served,
  { admission, watch, life }: { admission: Admission; watch: Watch; life: Life },
): Called {
  const event = async () => {
    try {
      return encodeEvent(encoding, await replicator.stats());
    } catch (thrown) {
      onError(thrown); // a fault of fantail's own, which does not end the watch
      return null;
    }
  };
  const follow: Follow = (tell) => replicator.onGap((gap) => tell(encodeGap(encoding, gap)));
  return {
    replicator,
    session: {
      authorize: (token) => admission.show(token),
      watch: (seconds) => watch.start(seconds, event, follow),
      unwatch: () => watch.stop(),
      help: () => codec.helpLines(),
      changes: (count) => changes.last(count),
      life,
    },
  };
}

/**
 * Resolves when the frame has left for the kernel, so that a session has one answer in memory.
 */
function send(webSocket: WebSocket, frame: Frame): Promise<void> {
  return new Promise((resolve) => {
    if (webSocket.readyState !== WebSocket.OPEN) return resolve();
    const stalled = setTimeout(() => webSocket.terminate(), STALL_MS);
    webSocket.send(frame, () => {
      clearTimeout(stalled);
      resolve();
    });
  });
}
