/**
 * Filters and subscribers that a configuration names, put in place: at the start, and where a
 * reload finds others. Whatever came and goes by the control channel is left alone.
 */
import { originText, placeText } from '../../domain/configuration.js';
import { AppliedLater, FantailError, messageOf } from '../../domain/errors.js';
import { ALL_FEEDS } from '../../domain/feed.js';
import { filterFile } from '../../domain/installation.js';
import { bitOf, EVERY_FEED, type Feeds, MAIN } from '../../feeds/feeds.js';
import { checkFilter, hashOf } from '../../filters/check/process.js';
import type { FilterDesk } from '../../filters/desk.js';
import { filterNameOf, readModule } from '../../filters/first.js';
import { BUILT_IN, type Filters } from '../../filters/registry.js';
import type { Leases } from '../../subscribers/leases.js';
import type { Publisher } from '../../subscribers/publisher.js';
import type { Subscriber, Subscribers } from '../../subscribers/subscribers.js';
import type { Destinations } from '../destinations.js';
import type { LiveReplicator } from '../replicator.js';
import type {
  Configuration,
  ConfiguredFilter,
  ConfiguredSubscriber,
  Placed,
} from './configured.js';

export interface RosterParts {
  readonly replicator: LiveReplicator;
  readonly desk: FilterDesk;
  readonly filters: Filters;
  readonly subscribers: Subscribers;
  readonly leases: Leases;
  readonly feeds: Feeds;
  readonly publisher: Publisher;
}

/** A module as a file has it now. */
interface Module {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly hash: string;
}

/** A worker may be slow to follow; any other BUSY is one of what was not done. */
export async function orLater(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof AppliedLater)) throw error;
  }
}

export class Roster {
  /** SHA-256 of each configured module by name, as it was loaded last. */
  private readonly hashes = new Map<string, string>();

  constructor(private readonly parts: RosterParts) {}

  // -- filters ------------------------------------------------------------------------------------

  /** Those of a configuration as their files are now, that of `filter` among them. */
  read({ config, filters }: Configuration): Map<string, Module> {
    const own = config.filter;
    const named = filters.map(({ name, file }: ConfiguredFilter) => {
      return [name, file ?? filterFile(`${name}.wasm`)] as const;
    });
    const all = own === null ? named : [[filterNameOf(own), own] as const, ...named];
    return new Map(
      all.map(([name, file]) => {
        const bytes = readModule(file);
        return [name, { name, bytes, hash: hashOf(bytes) }];
      }),
    );
  }

  isNew({ name, hash }: Module): boolean {
    return this.hashes.get(name) !== hash;
  }

  /** Throws with the rule that one of them breaks. */
  async check(modules: Iterable<Module>): Promise<void> {
    for (const { name, bytes } of modules)
      try {
        await checkFilter(bytes);
      } catch (error) {
        throw new FantailError('FILTER_REJECTED', `filter ${name}: ${messageOf(error)}`);
      }
  }

  /** Everybody who has one of that name gets this one. */
  async load(module: Module): Promise<void> {
    const loaded = this.parts.filters.named().find(({ name }) => name === module.name);
    if (loaded?.module?.hash !== module.hash)
      await orLater(this.parts.desk.load(module.name, module.bytes));
    this.hashes.set(module.name, module.hash);
  }

  /** What a supervisor before had loaded, and the data plane has. */
  adopt(hashes: Placed['hashes']): void {
    for (const [name, hash] of hashes) this.hashes.set(name, hash);
  }

  get loaded(): Placed['hashes'] {
    return [...this.hashes];
  }

  /** What `--filter` has loaded before anything else. */
  loadedFirst(): void {
    for (const { name, module } of this.parts.filters.named())
      if (module !== null) this.hashes.set(name, module.hash);
  }

  async unload(name: string): Promise<void> {
    await orLater(unlessGone(this.parts.desk.unload(name)));
    this.hashes.delete(name);
  }

  /** Who has what new subscribers get, and new ones, get another; null: the built-in. */
  async useForAll(name: string | null): Promise<void> {
    await orLater(this.parts.desk.useInstead(name ?? BUILT_IN));
  }

  // -- subscribers --------------------------------------------------------------------------------

  /** Throws NOT_ALLOWED with its place in the file. */
  checkDestination(asked: ConfiguredSubscriber, destinations: Destinations): void {
    try {
      destinations.check(asked);
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      throw new FantailError(error.code, `${placeText(asked.at)}: ${error.message}`);
    }
  }

  /**
   * As it is configured from its first packet on, or from now on where it is there already; then
   * what the file does not say stays, unless it was said `before`. Published by who calls.
   */
  place(asked: ConfiguredSubscriber, before: ConfiguredSubscriber | null = null): void {
    const { replicator, filters, subscribers, leases } = this.parts;
    const { ip, port, filter: name, param } = asked;
    const known = subscribers.find({ ip, port });
    const choice = asked.feeds ?? [MAIN];
    if (known === undefined) {
      const own = () => ({ module: filters.find(name ?? BUILT_IN), param, before: null });
      const filter = name === null ? filters.forNewcomer() : own();
      const isPaused = false;
      replicator.restore({ endpoint: { ip, port }, lease: null, filter, choice, isPaused });
      return;
    }
    leases.give(known, null); // the file keeps it
    if (asked.feeds !== null || (before?.feeds ?? null) !== null) this.choose(known, choice);
    if (name !== null) filters.use(name, param, known);
    else if ((before?.filter ?? null) !== null) filters.useNewcomers(known);
    subscribers.touch([known]);
  }

  private choose(known: Subscriber, choice: readonly string[]): void {
    const { subscribers, feeds } = this.parts;
    const every = choice.includes(ALL_FEEDS);
    subscribers.choose(known, every ? EVERY_FEED : feeds.maskOf(choice));
  }

  /** What `change` does to feeds, with those who get them by name getting them afterwards, too. */
  async keepingChoices(names: ReadonlySet<string>, change: () => Promise<void>): Promise<void> {
    const { subscribers, feeds, publisher } = this.parts;
    const chosen = [...subscribers.all()].flatMap((each) => {
      if (each.feeds === EVERY_FEED) return [];
      const lost = feeds
        .all()
        .filter((feed) => names.has(feed.name) && (each.feeds & bitOf(feed)) !== 0n);
      return lost.map(({ name }) => ({ each, name }));
    });
    try {
      await change();
    } finally {
      for (const { each, name } of chosen) {
        const feed = feeds.find(name);
        if (feed !== undefined && subscribers.find(each) === each)
          subscribers.choose(each, each.feeds | bitOf(feed));
      }
      await orLater(publisher.applied());
    }
  }

  applied(): Promise<void> {
    return orLater(this.parts.publisher.applied());
  }

  /** At the start: filters first, since subscribers name them. Throws with the place of a fault. */
  async open({ config, filters, subscribers }: Configuration): Promise<void> {
    this.loadedFirst();
    const modules = this.read({ ...EMPTY, config: { ...config, filter: null }, filters });
    for (const module of modules.values()) await this.load(module);
    for (const each of subscribers)
      try {
        this.place(each);
      } catch (error) {
        if (!(error instanceof FantailError)) throw error;
        throw new FantailError(error.code, `${originText(each.at)}: ${error.message}`);
      }
    if (subscribers.length > 0) await this.applied();
  }
}

const EMPTY = { file: null, settings: [], subscribers: [] } as const;

/** Somebody else may have done it. */
async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof FantailError) || error.code !== 'NOT_FOUND') throw error;
  }
}
