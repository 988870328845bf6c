/**
 * The page's end of the control channel: it connects, shows the token, follows the figures, asks
 * what the operator wants, and goes on by itself when the connection is lost. What is known at a
 * moment is one value, `Known`, that the parts of the page are drawn from.
 */
import type { ToldChange } from '../../domain/change.js';
import type { Interval } from '../../domain/reading.js';
import type { FilterRow, Stats, SubscriberRow } from '../../domain/statistics.js';
import { loadAgain, servedBuild } from './build.js';
import { GroupReader, type KnownGroup, NO_GROUP } from './group.js';
import { type Moment, moment } from './moment.js';
import { Lost, Questions, Refusal } from './questions.js';
import { Readings } from './readings.js';
import * as token from './token.js';

/** asks: for a token; lost: there was a connection, or should be one. */
export type Phase = 'connecting' | 'asks' | 'live' | 'lost';

interface Listed {
  readonly subscribers: readonly SubscriberRow[];
  readonly filters: readonly FilterRow[];
  readonly changes: readonly ToldChange[];
}

export interface Known {
  readonly phase: Phase;
  readonly rights: 'read' | 'all';
  /** Why the token that was shown last was not taken. */
  readonly refusal: Refusal | null;
  /** The last figures there were; null: none yet. */
  readonly interval: Interval | null;
  /** The last that was of the watch's own pace, and not read since something was changed. */
  readonly paced: Interval | null;
  readonly filters: readonly FilterRow[];
  /** The oldest first. */
  readonly changes: readonly ToldChange[];
  /** Of the group that it is a member of; where it is of none, NO_GROUP. */
  readonly group: KnownGroup;
  /** Since when nothing new has come, and why. */
  readonly lost: (Moment & { readonly reason: string }) | null;
}

/** Seconds between two readings. */
const PERIOD_S = 1;
/** Without a frame for so long, that is told; after the longer time a new connection is tried. */
const SILENCE_MS = 3000;
const DEAD_MS = 10_000;
/** The same while a change is under way, which may keep a replicator busy: a large filter does. */
const ANSWER_MS = 40_000;
/** Between tries: twice as long after each, and a part of it by chance. */
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8000;
const SILENT = 'it does not answer';

export class Link {
  private known: Known = {
    phase: 'connecting',
    rights: 'read',
    refusal: null,
    interval: null,
    paced: null,
    filters: [],
    changes: [],
    group: NO_GROUP,
    lost: null,
  };
  private readonly listeners = new Set<() => void>();
  private questions: Questions | null = null;
  private readonly readings = new Readings();
  private readonly group = new GroupReader((group) => this.tell({ group }));
  private isGroupShown = false;
  /** What was listed last by who answers now; null: nothing yet. */
  private listed: Listed | null = null;
  /** The last statistics that came by themselves. */
  private newest: Stats | null = null;
  private tries = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  /** The last figures, or the start. */
  private news = moment();
  private isReading = false;
  /** Something was changed while a reading was under way. */
  private isRefreshWanted = false;
  /** When what the operator has asked and waits for was asked, by performance.now(). */
  private readonly asked_ms = new Map<symbol, number>();
  /** The token is shown before the upgrade, where a wrong one cannot be told from no answer. */
  private showsEarly = true;
  /** Of the page; null: not known yet. */
  private build: string | null = null;

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
  readonly ask: Questions['ask'] = async (question) => {
    if (this.questions === null) throw new Lost('there is no connection');
    const mark = Symbol(question.op);
    this.asked_ms.set(mark, performance.now());
    try {
      return await this.questions.ask(question);
    } finally {
      this.asked_ms.delete(mark);
    }
  };

  /** What has just been changed is to be seen at once, or after what is being read. */
  refresh(): void {
    if (this.questions === null) return;
    this.group.refresh();
    if (this.isReading) this.isRefreshWanted = true;
    else void this.read(this.questions, null);
  }

  /** Whether the group is looked at, and not the member. */
  showGroup(isShown: boolean): void {
    const wasShown = this.isGroupShown;
    this.isGroupShown = isShown;
    this.group.show(isShown);
    if (wasShown && !isShown) this.refresh();
  }

  /** A new connection shows it, so that one that waits for a token holds none open. */
  show(word: string): void {
    token.keep(word);
    this.showsEarly = false;
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
    const word = this.showsEarly ? token.kept() : null;
    const told = {
      onEvent: (stats: Stats) => this.told(questions, stats),
      onEnd: (reason: string) => this.ended(questions, reason),
    };
    const questions: Questions = new Questions(this.url, told, word);
    this.questions = questions;
    questions.opened
      .then(
        () => this.begin(questions),
        (thrown: unknown) => {
          // by the other way a wrong token is told, and by this one a crowd is passed
          this.showsEarly = !this.showsEarly;
          throw thrown;
        },
      )
      .catch((thrown: unknown) => this.refused(questions, thrown));
  }

  private async begin(questions: Questions): Promise<void> {
    const word = token.kept();
    const shown = word === null ? null : await questions.ask({ op: 'auth', token: word });
    this.showsEarly = true;
    const build = await servedBuild();
    if (questions !== this.questions) return;
    if (build !== null && this.build !== null && build !== this.build) return loadAgain();
    this.build ??= build;
    await questions.ask({ op: 'watch', seconds: PERIOD_S });
    this.readings.clear();
    this.listed = null;
    this.tries = 0;
    // who asks for no token lets everybody change things
    this.tell({ rights: shown?.rights ?? 'all', refusal: null });
    await this.read(questions, await questions.ask({ op: 'stats' }));
  }

  private refused(questions: Questions, thrown: unknown): void {
    if (questions !== this.questions) return;
    if (thrown instanceof Refusal && thrown.code === 'UNAUTHORIZED') {
      const wasShown = token.kept() !== null;
      token.forget();
      this.askForToken(wasShown ? thrown : null);
    } else if (thrown instanceof Refusal || thrown instanceof Lost) questions.close(thrown.message);
    else throw thrown;
  }

  private askForToken(refusal: Refusal | null): void {
    clearTimeout(this.retry);
    this.drop();
    this.group.forget();
    const nothing = { interval: null, paced: null, filters: [], changes: [], lost: null };
    this.tell({ phase: 'asks', refusal, ...nothing });
  }

  private drop(): void {
    const { questions } = this;
    this.questions = null;
    this.isReading = false;
    this.isRefreshWanted = false;
    this.group.drop();
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
    const now_ms = performance.now();
    const silent_ms = now_ms - this.questions.heard_ms;
    const [first_ms] = this.asked_ms.values();
    const waits_ms = first_ms === undefined ? 0 : now_ms - first_ms;
    const [longest_ms, told_ms] =
      first_ms === undefined ? [DEAD_MS, SILENCE_MS] : [ANSWER_MS, ANSWER_MS];
    if (silent_ms > longest_ms || waits_ms > ANSWER_MS) this.questions.close(SILENT);
    else if (silent_ms > told_ms && this.known.phase === 'live') this.lose(SILENT);
  }

  // ---- figures -----------------------------------------------------------------------------

  /** While lists are read (behind a change that takes long) figures go on with those of before. */
  private told(questions: Questions, stats: Stats): void {
    if (questions !== this.questions) return;
    this.newest = stats;
    if (!this.isReading) void this.read(questions, stats);
    else if (this.listed !== null) this.draw(stats, this.listed, true);
  }

  /** What belongs to one moment is told together. Null: of now, and not of the watch's pace. */
  private async read(questions: Questions, paced: Stats | null): Promise<void> {
    if (questions !== this.questions || this.isReading) return;
    this.isReading = true;
    try {
      const [stats, listed] = await Promise.all([
        paced ?? questions.ask({ op: 'stats' }),
        this.readLists(questions),
      ]);
      if (questions !== this.questions) return;
      const isOld = this.listed !== null && (this.newest?.uptime_ms ?? 0) > stats.uptime_ms;
      this.listed = listed;
      // newer ones have been drawn meanwhile: they are no point of the course twice
      if (isOld && this.newest !== null) this.draw(this.newest, listed, false);
      else this.draw(stats, listed, paced !== null);
    } catch (thrown) {
      if (thrown instanceof Refusal) this.lose(thrown.message);
      else if (!(thrown instanceof Lost)) throw thrown; // the connection's own end is told
    } finally {
      if (questions === this.questions) {
        this.isReading = false;
        const isWanted = this.isRefreshWanted;
        this.isRefreshWanted = false;
        if (isWanted) void this.read(questions, null);
      }
    }
  }

  /** While the group is looked at the member's own stay as they were: they may be long. */
  private async readLists(questions: Questions): Promise<Listed> {
    const own = this.isGroupShown ? this.listed : null;
    const [{ subscribers }, { filters }, { changes }] = await Promise.all([
      own ?? questions.ask({ op: 'list' }),
      own ?? questions.ask({ op: 'filter.list' }),
      questions.ask({ op: 'changes' }),
    ]);
    return { subscribers, filters, changes };
  }

  private draw(stats: Stats, { subscribers, filters, changes }: Listed, isPaced: boolean): void {
    const interval = this.readings.add({ stats, subscribers }, isPaced);
    this.news = moment();
    const paced = isPaced ? { paced: interval } : {};
    this.tell({ phase: 'live', interval, ...paced, filters, changes, lost: null });
    if (this.questions !== null) this.group.follow(this.questions, stats.fleet);
  }

  private tell(news: Partial<Known>): void {
    this.known = { ...this.known, ...news };
    for (const listener of this.listeners) listener();
  }
}
