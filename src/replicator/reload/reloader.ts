/**
 * Reads the configuration again while packets flow. A wrong file changes nothing. What can be
 * applied is, each part by itself; what cannot is refused with the reason and holds nothing up.
 *
 *     read → is it right? → what is different? → could it be applied? → apply, part by part
 *     `──── BAD_REQUEST, nothing has changed ──────────────────────´
 */
import {
  type ChangeRow,
  type ConfigurationAnswer,
  changeText,
  placeText,
  type ReloadAnswer,
} from '../../domain/configuration.js';
import { endpointText } from '../../domain/endpoint.js';
import { FantailError, messageOf } from '../../domain/errors.js';
import { filterNameOf } from '../../filters/first.js';
import { log } from '../../terminal/log.js';
import type { Config } from '../config.js';
import type { Destinations } from '../destinations.js';
import type { FeedDesk } from '../feed-desk.js';
import type { Configuration, ConfiguredSubscriber, InForce, Reread } from './configured.js';
import { changesOf, LIVE, type LiveName, refusalOf, valueText } from './fates.js';
import { changeFeeds, feedChangesOf, namedText } from './feed-changes.js';
import { orLater, type Roster } from './roster.js';
import { rowsOf, subscriberText } from './rows.js';

/** How the parts that are no feeds, filters or subscribers are applied. */
export type Appliers = Readonly<
  Record<
    Exclude<LiveName, 'feeds' | 'filter'>,
    (next: Configuration, config: Config) => void | Promise<void>
  >
>;

export interface ReloaderParts {
  readonly roster: Roster;
  readonly feedDesk: FeedDesk;
  readonly destinationsOf: (config: Config) => Destinations;
  readonly remove: (subscriber: ConfiguredSubscriber) => Promise<unknown>;
  readonly appliers: Appliers;
  /** Null: there is no file. */
  readonly reread: Reread | null;
  readonly inForce: InForce;
  /** For the supervisor that may adopt what runs. */
  readonly keep: (configuration: Configuration) => void;
  /** One begins, or has ended, whatever came of it. */
  readonly onReload: (isUnderWay: boolean) => void;
}

type Refused = ReloadAnswer['refused'][number];

export class Reloader {
  /** What the file says of settings that are refused. */
  private waiting = new Map<string, string | null>();
  /** The end of the last one: one at a time. */
  private last: Promise<unknown> = Promise.resolve();
  private isClosed = false;

  constructor(
    private readonly parts: ReloaderParts,
    private current: Configuration,
  ) {}

  /** How it was told to be; what came by the control channel is not in it. */
  configuration(): ConfigurationAnswer {
    return { file: this.current.file, settings: rowsOf(this.current, this.waiting) };
  }

  /** Throws BAD_REQUEST with the first fault; nothing has changed then. */
  reload(who: string): Promise<ReloadAnswer> {
    const reloading = this.last.then(() => this.reloadNow(who));
    this.last = reloading.catch(() => {});
    return reloading;
  }

  /** Resolves once the part that is under way is done; the rest, and what is asked later: BUSY. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.last;
  }

  private checkOpen(): void {
    if (this.isClosed) throw new FantailError('BUSY', 'fantail is stopping');
  }

  private async reloadNow(who: string): Promise<ReloadAnswer> {
    this.parts.onReload(true);
    try {
      this.checkOpen();
      return await this.take(this.read(), who);
    } catch (error) {
      const code = error instanceof FantailError ? error.code : 'INTERNAL';
      log.error({ op: 'reload', who, code }, `reload: nothing has changed: ${messageOf(error)}`);
      throw error;
    } finally {
      this.parts.onReload(false);
    }
  }

  private read(): Configuration {
    const { reread } = this.parts;
    if (reread === null)
      throw new FantailError(
        'BAD_REQUEST',
        'there is no file to read again: fantail up was started without --config',
      );
    try {
      return reread();
    } catch (error) {
      throw new FantailError('BAD_REQUEST', messageOf(error));
    }
  }

  private async take(next: Configuration, who: string): Promise<ReloadAnswer> {
    const before = this.current;
    const changes = changesOf(before, next);
    const refused: Refused[] = [];
    const applicable: ChangeRow[] = [];
    for (const change of changes) {
      const reason = refusalOf(change.key, before.config, next.config);
      if (reason === null) applicable.push(change);
      else refused.push({ ...change, reason });
    }
    const modules = await this.checked(next);
    this.checkOpen();
    const applied: ChangeRow[] = [];
    const answer = (rows: readonly ChangeRow[], reason: string | null) => {
      if (reason === null) applied.push(...rows);
      else refused.push(...rows.map((row) => ({ ...row, reason })));
      return reason === null;
    };
    const attempt = async (rows: readonly ChangeRow[], work: () => void | Promise<void>) => {
      try {
        this.checkOpen();
        await work();
        return answer(rows, null);
      } catch (error) {
        return answer(rows, messageOf(error));
      }
    };
    let gone: readonly string[] = [];
    for (const name of Object.keys(LIVE) as LiveName[]) {
      const rows = applicable.filter(({ key }) => LIVE[name].keys.some((each) => each === key));
      if (name === 'feeds') {
        await this.takeFeeds(next, answer);
        gone = await this.takeFilters(next, modules, attempt);
      } else if (name === 'log') applied.push(...rows);
      else if (rows.length > 0 && (await attempt(rows, () => this.apply(name, next))))
        this.adopt(name, next);
    }
    await this.takeSubscribers(next, attempt);
    // nobody is configured to have them any more
    for (const name of gone)
      await attempt([{ key: 'filters', before: name, after: null }], () =>
        this.parts.roster.unload(name),
      );
    this.waitFor(next, refused);
    this.tell(who, { changes, applied, refused });
    // what it has told may be below the level from now on
    this.apply('log', next);
    this.adopt('log', next);
    this.current = { ...this.current, file: next.file, settings: this.settingsBeside(next) };
    this.parts.keep(this.current);
    return { file: next.file ?? '', applied, refused };
  }

  /** What the file says of settings that stay as they are. */
  private waitFor(next: Configuration, refused: readonly Refused[]): void {
    const settingOf = (key: string) => next.settings.find((each) => each.key === key);
    this.waiting = new Map(
      refused.map(({ key, after }) => {
        const setting = settingOf(key);
        return [key, setting === undefined ? after : valueText(setting)];
      }),
    );
  }

  private tell(
    who: string,
    {
      changes,
      applied,
      refused,
    }: Pick<ReloadAnswer, 'applied' | 'refused'> & { readonly changes: readonly ChangeRow[] },
  ): void {
    for (const row of applied)
      log.info({ op: 'reload', who, code: 'ok' }, `reload: ${changeText(row)}: applied`);
    for (const row of refused)
      log.warn(
        { op: 'reload', who, code: 'NOT_ALLOWED' },
        `reload: ${changeText(row)}: refused: ${row.reason}`,
      );
    if (changes.length + applied.length === 0)
      log.info({ op: 'reload', who, code: 'ok' }, 'reload: nothing is different');
  }

  /** Those in force; what is the same stands in the file where it stands now. */
  private settingsBeside(next: Configuration): Configuration['settings'] {
    const other = new Set(changesOf(this.current, next).map(({ key }) => key));
    return this.current.settings.map((setting) => {
      const now = next.settings.find(({ key }) => key === setting.key);
      return now === undefined || other.has(setting.key) ? setting : now;
    });
  }

  /** From now on that part holds as `next` has it. */
  private adopt(name: LiveName, next: Configuration): void {
    const { keys, fields } = LIVE[name];
    const isOf = (key: string) => keys.some((each) => each === key);
    this.hold(Object.fromEntries(fields.map((field) => [field, next.config[field]])));
    const settings = this.current.settings.map((setting) => {
      return (isOf(setting.key) && next.settings.find(({ key }) => key === setting.key)) || setting;
    });
    this.current = { ...this.current, settings };
  }

  private hold(newer: Partial<Config>): void {
    const { inForce } = this.parts;
    inForce.config = { ...inForce.config, ...newer };
    this.current = { ...this.current, config: { ...this.current.config, ...newer } };
  }

  /** Whatever can be known to fail is, before anything is applied. */
  private async checked(next: Configuration): Promise<Modules> {
    const { roster, feedDesk, destinationsOf } = this.parts;
    let modules: Modules;
    try {
      modules = roster.read(next);
    } catch (error) {
      throw new FantailError('BAD_REQUEST', messageOf(error));
    }
    await roster.check([...modules.values()].filter((module) => roster.isNew(module)));
    const { config } = this.current;
    const destinations = destinationsOf({ ...config, allow: next.config.allow });
    // those that are there, too: up would not start with the file
    for (const each of next.subscribers) roster.checkDestination(each, destinations);
    const changes = feedChangesOf(config.feeds, next.config.feeds);
    const gone = changes.filter(({ before }) => before !== null).map(({ name }) => name);
    const come = changes.flatMap(({ after }) => (after === null ? [] : [after]));
    feedDesk.checkChange(new Set(gone), come);
    for (const each of next.subscribers) {
      const feed = next.config.feeds.find((it) => it.ip === each.ip && it.port === each.port);
      if (feed !== undefined)
        throw new FantailError(
          'BAD_REQUEST',
          `${placeText(each.at)}: ${endpointText(each)} is the feed ${feed.name} itself`,
        );
    }
    return modules;
  }

  private apply(name: Exclude<LiveName, 'feeds'>, next: Configuration): void | Promise<void> {
    if (name === 'filter') return this.applyFilter(next.config.filter);
    const { fields } = LIVE[name];
    const newer = Object.fromEntries(fields.map((field) => [field, next.config[field]]));
    return this.parts.appliers[name](next, { ...this.parts.inForce.config, ...newer });
  }

  private async takeFeeds(next: Configuration, answer: AnswerTo): Promise<void> {
    const { feedDesk, roster } = this.parts;
    const { feeds } = this.current.config;
    const changes = feedChangesOf(feeds, next.config.feeds);
    const names = new Set(changes.map(({ name }) => name));
    let outcomes: Awaited<ReturnType<typeof changeFeeds>> = [];
    if (changes.length > 0 && !this.isClosed)
      await roster.keepingChoices(names, async () => {
        outcomes = await changeFeeds(changes, feedDesk);
      });
    for (const { change, reason } of outcomes) {
      const text = (feed: typeof change.before) => feed && namedText(feed);
      const row = { key: 'feed', before: text(change.before), after: text(change.after) };
      answer([row], reason);
    }
    const stayed = feeds.filter(({ name }) => !names.has(name));
    const held = outcomes.flatMap((each) => (each.held === null ? [] : [each.held]));
    const isDone = outcomes.length === changes.length && outcomes.every((each) => !each.reason);
    if (isDone) this.adopt('feeds', next);
    else if (outcomes.length > 0) this.hold({ feeds: [...stayed, ...held] });
  }

  /** Its module was loaded with the others. */
  private async applyFilter(next: string | null): Promise<void> {
    const { roster } = this.parts;
    await roster.useForAll(next === null ? null : filterNameOf(next));
  }

  /**
   * Modules that are new, or hold something else than when they were loaded. Returns the names of
   * those that are to be unloaded once nobody is configured to have them.
   */
  private async takeFilters(
    next: Configuration,
    modules: Modules,
    attempt: Attempt,
  ): Promise<string[]> {
    const { roster } = this.parts;
    const own = next.config.filter === null ? null : filterNameOf(next.config.filter);
    const was = this.current.config.filter;
    const before = new Set(this.current.filters.map(({ name }) => name));
    if (was !== null) before.add(filterNameOf(was));
    for (const module of modules.values()) {
      if (!roster.isNew(module)) continue;
      const key = module.name === own ? 'filter' : 'filters';
      const after = `${module.name} (sha256 ${module.hash.slice(0, 12)})`;
      const row = { key, before: before.has(module.name) ? module.name : null, after };
      await attempt([row], () => roster.load(module));
    }
    this.current = { ...this.current, filters: next.filters };
    const names = new Set(modules.keys());
    return [...before].filter((name) => !names.has(name));
  }

  private async takeSubscribers(next: Configuration, attempt: Attempt): Promise<void> {
    const { roster, remove } = this.parts;
    const before = new Map(this.current.subscribers.map((each) => [endpointText(each), each]));
    const after = new Set(next.subscribers.map(endpointText));
    const key = 'subscribers';
    const held: ConfiguredSubscriber[] = [];
    const gone = [...before].filter(([endpoint]) => !after.has(endpoint));
    // at once: they go with one table
    await Promise.all(
      gone.map(async ([, each]) => {
        const row = { key, before: subscriberText(each), after: null };
        if (!(await attempt([row], () => orLater(remove(each))))) held.push(each);
      }),
    );
    for (const each of next.subscribers) {
      const old = before.get(endpointText(each)) ?? null;
      const row = { key, before: old && subscriberText(old), after: subscriberText(each) };
      const isHeld =
        row.before === row.after || (await attempt([row], () => roster.place(each, old)));
      const now = isHeld ? each : old;
      if (now !== null) held.push(now);
    }
    if (!this.isClosed) await roster.applied();
    this.current = { ...this.current, subscribers: held };
  }
}

type Modules = ReturnType<Roster['read']>;
/** Notes how changes were answered; whether they were applied. */
type AnswerTo = (rows: readonly ChangeRow[], reason: string | null) => boolean;
type Attempt = (rows: readonly ChangeRow[], work: () => void | Promise<void>) => Promise<boolean>;
