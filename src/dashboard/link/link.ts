/**
 * The page's end of the control channel: it connects, shows the token, follows the figures, asks
 * what the operator wants, and goes on by itself when the connection is lost. What is known at a
 * moment is one value, `Known`, that the parts of the page are drawn from.
 */
import type { ToldChange } from '../../domain/change.js';
import { type Interval, intervalOf, type Reading } from '../../domain/reading.js';
import type { FilterRow, Stats } from '../../domain/statistics.js';
import type { Refusal } from './questions.js';
import { Questions } from './questions.js';
import * as token from './token.js';

/** asks: for a token; lost: there was a connection, or should be one. */
export type Phase = 'connecting' | 'asks' | 'live' | 'lost';

export interface Moment {
  /** By performance.now(), for how long ago it was: a clock can be set. */
  readonly since_ms: number;
  /** Milliseconds since 1970, for people. */
  readonly at_ms: number;
}

const moment = (): Moment => ({ since_ms: performance.now(), at_ms: Date.now() });

export interface Known {
  readonly phase: Phase;
  readonly rights: 'read' | 'all';
  /** Why the token that was shown last was not taken. */
  readonly refusal: Refusal | null;
  /** The last figures there were; null: none yet. */
  readonly interval: Interval | null;
  readonly filters: readonly FilterRow[];
  /** The oldest first. */
  readonly changes: readonly ToldChange[];
  /** Since when nothing new has come, and why. */
  readonly lost: (Moment & { readonly reason: string }) | null;
}

/** Seconds between two readings. */
const PERIOD_S = 1;
/** Without news for so long, that is told; after the longer time a new connection is tried. */
const SILENCE_MS = 3000;
const DEAD_MS = 10_000;
/** Between tries: twice as long after each, and a part of it by chance. */
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8000;
const CHANGES_SHOWN = 256;

export class Link {
  private known: Known = {
    phase: 'connecting',
    rights: 'read',
    refusal: null,
    interval: null,
    filters: [],
    changes: [],
    lost: null,
  };
  private readonly listeners = new Set<() => void>();
  private questions: Questions | null = null;
  private previous: Reading | null = null;
  private tries = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  /** The last figures, or the start. */
  private news = moment();
  private isReading = false;

  constructor(private readonly url: string) {}

  start(): void {
    this.connect();
    setInterval(() => this.checkSilence(), 500);
    // a machine that was asleep, or a network that is back: now is better than later
    addEventListener('online', () => this.tryNow());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.tryNow();
    });
  }

  readonly current = (): Known => this.known;

  readonly follow = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** A change, or a question. Rejects with a Refusal, or with what ended the connection. */
  readonly ask: Questions['ask'] = (question) => {
    if (this.questions === null) return Promise.reject(new Error('there is no connection'));
    return this.questions.ask(question);
  };

  /** What has just been changed is to be seen at once. */
  refresh(): void {
    const { questions } = this;
    if (questions === null) return;
    void questions
      .ask({ op: 'stats' })
      .then((stats) => this.read(questions, stats))
      .catch(() => {}); // the connection's own end tells why
  }

  /** A new connection shows it, so that one that waits for a token holds none open. */
  show(word: string): void {
    token.keep(word);
    this.tell({ phase: 'connecting', refusal: null });
    this.connect();
  }

  forget(): void {
    token.forget();
    this.askForToken(null);
  }

  // ---- connecting --------------------------------------------------------------------------

  private connect(): void {
    clearTimeout(this.retry);
    this.drop();
    const questions = new Questions(this.url, {
      onEvent: (stats) => void this.read(questions, stats).catch(() => {}),
      onEnd: (reason) => this.ended(questions, reason),
    });
    this.questions = questions;
    questions.opened
      .then(() => this.begin(questions))
      .catch((thrown: unknown) => this.refused(questions, thrown));
  }

  private async begin(questions: Questions): Promise<void> {
    const word = token.kept();
    const shown = word === null ? null : await questions.ask({ op: 'auth', token: word });
    await questions.ask({ op: 'watch', seconds: PERIOD_S });
    this.previous = null; // whoever answers now has counters of its own
    this.tries = 0;
    // who asks for no token lets everybody change things
    this.tell({ rights: shown?.rights ?? 'all', refusal: null });
    await this.read(questions, await questions.ask({ op: 'stats' }));
  }

  private refused(questions: Questions, thrown: unknown): void {
    if (questions !== this.questions) return;
    const refusal = thrown as Refusal;
    if (refusal.code === 'UNAUTHORIZED') {
      const wasShown = token.kept() !== null;
      token.forget();
      this.askForToken(wasShown ? refusal : null);
    } else questions.close(String(refusal.message));
  }

  private askForToken(refusal: Refusal | null): void {
    clearTimeout(this.retry);
    this.drop();
    this.previous = null;
    this.tell({ phase: 'asks', refusal, interval: null, filters: [], changes: [], lost: null });
  }

  private drop(): void {
    const { questions } = this;
    this.questions = null;
    this.isReading = false;
    questions?.close('another one is begun');
  }

  private ended(questions: Questions, reason: string): void {
    if (questions !== this.questions) return;
    this.drop();
    this.lose(reason);
    const longest_ms = Math.min(RETRY_MS_MIN * 2 ** this.tries, RETRY_MS_MAX);
    this.tries += 1;
    this.retry = setTimeout(() => this.connect(), longest_ms * (0.5 + Math.random() / 2));
  }

  private lose(reason: string): void {
    const { phase, lost } = this.known;
    if (phase === 'lost' && lost?.reason === reason) return;
    this.tell({ phase: 'lost', lost: { ...this.news, reason } });
  }

  private tryNow(): void {
    if (this.questions === null && this.known.phase === 'lost') this.connect();
  }

  private checkSilence(): void {
    if (this.questions === null || this.known.phase === 'asks') return;
    const silent_ms = performance.now() - Math.max(this.news.since_ms, this.questions.begun_ms);
    if (silent_ms > DEAD_MS) this.questions.close('it does not answer');
    else if (silent_ms > SILENCE_MS && this.known.phase === 'live') this.lose('it does not answer');
  }

  // ---- figures -----------------------------------------------------------------------------

  /** What belongs to one moment is told together. */
  private async read(questions: Questions, stats: Stats): Promise<void> {
    if (this.isReading) return; // it is slower than its events: the next one is as good
    this.isReading = true;
    try {
      const [{ subscribers }, { filters }, { changes }] = await Promise.all([
        questions.ask({ op: 'list' }),
        questions.ask({ op: 'filter.list' }),
        questions.ask({ op: 'changes', count: CHANGES_SHOWN }),
      ]);
      if (questions !== this.questions) return;
      const now: Reading = { stats, subscribers };
      const interval = intervalOf(now, this.previous);
      this.previous = now;
      this.news = moment();
      this.tell({ phase: 'live', interval, filters, changes, lost: null });
    } finally {
      if (questions === this.questions) this.isReading = false;
    }
  }

  private tell(news: Partial<Known>): void {
    this.known = { ...this.known, ...news };
    for (const listener of this.listeners) listener();
  }
}
