/** One connection: what is asked, each question with its answer, and the events between them. */
import type { Answer, Op, Question } from '../../control/operations.js';
import type { Code } from '../../domain/errors.js';
import type { Stats } from '../../domain/statistics.js';

/** The server's own words. */
export class Refusal extends Error {
  constructor(
    readonly code: Code,
    sentence: string,
  ) {
    super(sentence);
  }
}

/** The connection has ended, or there is none. Anything else that fails is a fault of the page. */
export class Lost extends Error {}

interface Waiting {
  resolve(answer: object): void;
  reject(thrown: Error): void;
}

type Frame =
  | ({ readonly event: 'stats' } & Stats)
  | { readonly event: 'gap' }
  | { readonly id: number; readonly ok: true }
  | {
      readonly id: number;
      readonly ok: false;
      readonly error: { readonly code: Code; readonly message: string };
    };

interface Told {
  readonly onEvent: (stats: Stats) => void;
  /** Once, unless it is closed from here. */
  readonly onEnd: (reason: string) => void;
}

/** Until the handshake is over. */
const OPEN_MS_MAX = 10_000;

export class Questions {
  /** By performance.now(). */
  readonly begun_ms = performance.now();
  /** When the last frame came, whatever it told: it is a sign of life. By performance.now(). */
  heard_ms = this.begun_ms;
  readonly opened: Promise<void>;
  private readonly socket: WebSocket;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private hasEnded = false;

  constructor(
    url: string,
    private readonly told: Told,
    /** Shown before there is a session: one without a token may find no room. */
    word: string | null,
  ) {
    this.socket = new WebSocket(url, word === null ? [] : ['fantail', bearerOf(word)]);
    this.opened = new Promise((resolve, reject) => {
      this.socket.addEventListener('open', () => resolve());
      this.socket.addEventListener('close', () => reject(new Lost('nobody answers')));
    });
    this.opened.catch(() => {}); // told by onEnd
    const late = setTimeout(() => this.close('nobody answers'), OPEN_MS_MAX);
    this.socket.addEventListener('open', () => clearTimeout(late));
    this.socket.addEventListener('message', ({ data }) => this.receive(String(data)));
    this.socket.addEventListener('close', ({ code, reason }) => {
      clearTimeout(late);
      this.close(reason === '' ? sentenceOf(code) : reason);
    });
  }

  ask<Name extends Op>(question: Question<Name>): Promise<Answer<Name>> {
    if (this.socket.readyState !== WebSocket.OPEN)
      return Promise.reject(new Lost('the connection is lost'));
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      // the answer to a question of that name, as the table of operations types it
      this.waiting.set(id, { resolve: (answer) => resolve(answer as Answer<Name>), reject });
      this.socket.send(JSON.stringify({ id, ...question }));
    });
  }

  /** Twice is fine: the first reason counts. */
  close(reason: string): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.socket.close();
    for (const { reject } of this.waiting.values()) reject(new Lost(reason));
    this.waiting.clear();
    this.told.onEnd(reason);
  }

  private receive(text: string): void {
    if (this.hasEnded) return;
    this.heard_ms = performance.now();
    const frame = JSON.parse(text) as Frame; // of our own server, which answers in kind
    if ('event' in frame) {
      if (frame.event === 'stats') this.told.onEvent(frame);
      return;
    }
    const waiting = this.waiting.get(frame.id);
    this.waiting.delete(frame.id);
    if (frame.ok) waiting?.resolve(frame);
    else waiting?.reject(new Refusal(frame.error.code, frame.error.message));
  }
}

/** As the gate reads it (src/control/gate/gate.ts): base64url, of UTF-8. */
function bearerOf(word: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(word));
  return `bearer.${btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

/** RFC 6455, 7.4.1. */
function sentenceOf(code: number): string {
  return code === 1006 ? 'nobody answers' : `closed with code ${code}`;
}
