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
import type { NamedFeed } from '../../domain/feed.js';
import { feedText } from '../../feeds/feeds.js';
import { filterNameOf } from '../../filters/first.js';
import { log } from '../../terminal/log.js';
import type { Config } from '../config.js';
import type { Destinations } from '../destinations.js';
import type { FeedDesk } from '../feed-desk.js';
import type { Configuration, ConfiguredSubscriber, InForce, Reread } from './configured.js';
import { changesOf, LIVE, type LiveName, refusalOf } from './fates.js';
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
}

type Refused = ReloadAnswer['refused'][number];

export class Reloader {
  /** What the file says of settings that are refused. */
  private waiting = new Map<string, string | null>();
  /** The end of the last one: one at a time. */
  private last: Promise<unknown> = Promise.resolve();

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

  private async reloadNow(who: string): Promise<ReloadAnswer> {
    try {
      return await this.take(this.read(), who);
    } catch (error) {
      const code = error instanceof FantailError ? error.code : 'INTERNAL';
      log.error({ op: 'reload', who, code }, `reload: nothing has changed: ${messageOf(error)}`);
      throw error;
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
    const applied: ChangeRow[] = [];
    const attempt = async (rows: readonly ChangeRow[], work: () => void | Promise<void>) => {
      try {
        await work();
        applied.push(...rows);
        return true;
      } catch (error) {
        const reason = messageOf(error);
        refused.push(...rows.map((row) => ({ ...row, reason })));
        return false;
      }
    };
    this.waiting = new Map();
    for (const name of Object.keys(LIVE) as LiveName[]) {
      const rows = applicable.filter(({ key }) => LIVE[name].keys.some((each) => each === key));
      const isDone = rows.length > 0 && (await attempt(rows, () => this.apply(name, next)));
      if (isDone) this.adopt(name, next);
      if (name === 'feeds') await this.takeFilters(next, modules, attempt);
    }
    await this.takeSubscribers(next, attempt);
    for (const { key, after } of refused) this.waiting.set(key, after);
    this.current = { ...this.current, file: next.file, settings: this.settingsBeside(next) };
    for (const row of applied)
      log.info({ op: 'reload', who, code: 'ok' }, `reload: ${changeText(row)}: applied`);
    for (const row of refused)
      log.warn(
        { op: 'reload', who, code: 'NOT_ALLOWED' },
        `reload: ${changeText(row)}: refused: ${row.reason}`,
      );
    if (changes.length + applied.length === 0)
      log.info({ op: 'reload', who, code: 'ok' }, 'reload: nothing is different');
    return { file: next.file ?? '', applied, refused };
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
    const { inForce } = this.parts;
    const isOf = (key: string) => keys.some((each) => each === key);
    const newer = Object.fromEntries(fields.map((field) => [field, next.config[field]]));
    inForce.config = { ...inForce.config, ...newer };
    const settings = this.current.settings.map((setting) => {
      return (isOf(setting.key) && next.settings.find(({ key }) => key === setting.key)) || setting;
    });
    this.current = { ...this.current, config: { ...this.current.config, ...newer }, settings };
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
    const { subscribers, config } = this.current;
    const destinations = destinationsOf({ ...config, allow: next.config.allow });
    const were = new Set(subscribers.map(endpointText));
    for (const each of next.subscribers)
      if (!were.has(endpointText(each))) roster.checkDestination(each, destinations);
    const feeds = new Set(config.feeds.map(namedText));
    for (const feed of next.config.feeds)
      if (!feeds.has(namedText(feed))) feedDesk.checkAddress(feed);
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

  private apply(name: LiveName, next: Configuration): void | Promise<void> {
    if (name === 'feeds') return this.applyFeeds(next.config.feeds);
    if (name === 'filter') return this.applyFilter(next.config.filter);
    const { fields } = LIVE[name];
    const newer = Object.fromEntries(fields.map((field) => [field, next.config[field]]));
    return this.parts.appliers[name](next, { ...this.parts.inForce.config, ...newer });
  }

  private async applyFeeds(next: readonly NamedFeed[]): Promise<void> {
    const { feedDesk, roster } = this.parts;
    const before = this.current.config.feeds;
    const texts = { before: new Set(before.map(namedText)), next: new Set(next.map(namedText)) };
    const gone = before.filter((feed) => !texts.next.has(namedText(feed)));
    const come = next.filter((feed) => !texts.before.has(namedText(feed)));
    const names = new Set(gone.map(({ name }) => name));
    await roster.keepingChoices(names, async () => {
      for (const { name } of gone) await orLater(feedDesk.remove(name));
      for (const feed of come) await orLater(feedDesk.add(feed));
    });
  }

  /** Its module was loaded with the others. */
  private async applyFilter(next: string | null): Promise<void> {
    const { roster } = this.parts;
    await roster.useForAll(next === null ? null : filterNameOf(next));
  }

  /** Modules that are new, or hold something else than when they were loaded. */
  private async takeFilters(
    next: Configuration,
    modules: Modules,
    attempt: Attempt,
  ): Promise<void> {
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
    this.gone = [...before].filter((name) => !names.has(name));
  }

  /** Filters that are to be unloaded, once nobody is configured to have them. */
  private gone: string[] = [];

  private async takeSubscribers(next: Configuration, attempt: Attempt): Promise<void> {
    const { roster, remove } = this.parts;
    const before = new Map(this.current.subscribers.map((each) => [endpointText(each), each]));
    const after = new Set(next.subscribers.map(endpointText));
    const key = 'subscribers';
    const held: ConfiguredSubscriber[] = [];
    for (const [endpoint, each] of before) {
      if (after.has(endpoint)) continue;
      const row = { key, before: subscriberText(each), after: null };
      if (!(await attempt([row], () => orLater(remove(each))))) held.push(each);
    }
    for (const each of next.subscribers) {
      const old = before.get(endpointText(each)) ?? null;
      const row = { key, before: old && subscriberText(old), after: subscriberText(each) };
      const isHeld =
        row.before === row.after || (await attempt([row], () => roster.place(each, old)));
      const now = isHeld ? each : old;
      if (now !== null) held.push(now);
    }
    await roster.applied();
    this.current = { ...this.current, subscribers: held };
    for (const name of this.gone.splice(0))
      await attempt([{ key: 'filters', before: name, after: null }], () => roster.unload(name));
  }
}

type Modules = ReturnType<Roster['read']>;
type Attempt = (rows: readonly ChangeRow[], work: () => void | Promise<void>) => Promise<boolean>;

const namedText = (feed: NamedFeed) => `${feed.name}=${feedText(feed)}`;
