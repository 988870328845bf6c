/**
 * Where filters are loaded, used, looked up, unloaded, and taken out of use. Turns what the control
 * channel asks, and what the supervisor's looks find (pulse.ts), into changes of the registry
 * (registry.ts), orders to the workers (WorkerFilters) and a new subscriber table (publisher.ts),
 * in that order: a table never names a slot that a worker has not filled.
 *
 *     load:      check → place → every worker has it → name, publish        one at a time
 *     condemn:   whoever used it goes back to what it had → publish
 *     sweep:     slots that nobody holds any more → emptied
 */

import { counted } from '../domain/counts.js';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { FantailError, messageOf } from '../domain/errors.js';
import type { FilterModule, Rollback } from '../domain/filter.js';
import type { FilterInfo, FilterRow, FilterStats } from '../domain/statistics.js';
import type { Arena, FilterCounter } from '../memory/arena.js';
import { limits } from '../memory/layout.js';
import type { Publisher } from '../subscribers/publisher.js';
import type { Subscriber, Subscribers } from '../subscribers/subscribers.js';
import type { SubscriberTable } from '../subscribers/table.js';
import { log } from '../terminal/log.js';
import { checkFilter } from './check/process.js';
import { checkFilterName, type Filters } from './registry.js';
import type { Reports } from './reports.js';

/** What every worker has in its filter slots. */
export interface WorkerFilters {
  /** Resolves when every worker has the module in its slot. */
  load(module: FilterModule): Promise<void>;
  /** Resolves when no worker has anything in that slot. */
  drop(slot: number): Promise<void>;
  /** Workers that start from now on get that module in the slot; those that run keep theirs. */
  substitute(slot: number, module: FilterModule): void;
}

export interface FilterDeskOptions {
  readonly filters: Filters;
  readonly workers: WorkerFilters;
  /** Where the workers count. */
  readonly arena: Arena;
  readonly subscribers: Subscribers;
  readonly table: SubscriberTable;
  readonly publisher: Publisher;
  readonly reports: Pick<Reports, 'row'>;
  /** Something that the next supervisor must know is different. */
  readonly onChange: () => void;
}

function subscriberAt(subscribers: Subscribers, endpoint: Endpoint): Subscriber {
  const subscriber = subscribers.find(endpoint);
  if (subscriber !== undefined) return subscriber;
  throw new FantailError('NOT_FOUND', `${endpointText(endpoint)} is not subscribed; add it first`);
}

export class FilterDesk {
  /** The end of the last load: one at a time. */
  private lastLoad: Promise<unknown> = Promise.resolve();
  private isSweeping = false;

  constructor(private readonly options: FilterDeskOptions) {}

  // -- what may be asked --------------------------------------------------------------------------

  load(name: string, bytes: Uint8Array): Promise<FilterInfo> {
    checkFilterName(name);
    const loading = this.lastLoad.then(() => this.loadNow(name, bytes));
    this.lastLoad = loading.catch(() => {});
    return loading;
  }

  private async loadNow(name: string, bytes: Uint8Array): Promise<FilterInfo> {
    const { filters, workers } = this.options;
    const facts = await checkFilter(bytes);
    const module = filters.place(name, bytes, facts);
    try {
      await workers.load(module);
    } catch (error) {
      // a worker that missed it gets none at its next start
      await workers.drop(module.slot).catch(() => {});
      filters.forget(module);
      throw error;
    }
    filters.name(module);
    await this.publish();
    return this.info(name);
  }

  async use(name: string, param: Uint8Array, to: Endpoint | null): Promise<number> {
    const { filters, subscribers } = this.options;
    if (param.length > limits.PARAM_SIZE)
      throw new FantailError(
        'BAD_REQUEST',
        `param has ${param.length} bytes; a filter takes at most ${limits.PARAM_SIZE}`,
      );
    const one = to === null ? null : subscriberAt(subscribers, to);
    filters.use(name, param, one);
    await this.publish(one === null ? subscribers.all() : [one]);
    return one === null ? subscribers.size : 1;
  }

  /** New subscribers get that one, and so do those who have what these got up to now. */
  async useInstead(name: string): Promise<void> {
    const { filters, subscribers } = this.options;
    const { module } = filters.newcomers.filter;
    const changed = [...subscribers.all()].filter(({ filter }) => filter.module === module);
    for (const holder of [filters.newcomers, ...changed])
      filters.use(name, new Uint8Array(), holder);
    await this.publish(changed);
  }

  async unload(name: string): Promise<void> {
    this.options.filters.unload(name);
    await this.publish();
    await this.sweep();
  }

  list(): FilterRow[] {
    return this.options.filters
      .named()
      .map(({ name, module, rollback }) => this.row(name, module, rollback));
  }

  info(name: string): FilterInfo {
    const { filters } = this.options;
    const named = filters.named().find((each) => each.name === name);
    if (named === undefined) filters.find(name); // throws
    const { module = null, rollback = null } = named ?? {};
    const count = (counter: FilterCounter) => (module === null ? 0 : this.count(module, counter));
    const timedJobs = count('timed_jobs');
    return {
      ...this.row(name, module, rollback),
      slot: module?.slot ?? null,
      state: module !== null && module.state !== 0,
      cost_ns: timedJobs === 0 ? null : Math.round((10 * count('timed_ns')) / timedJobs) / 10,
      calls: count('calls'),
      jobs: count('jobs'),
      verdicts: { send: count('sent'), drop: count('dropped') },
      faults: { trap: count('traps'), bad_answer: count('bad_answers'), too_big: count('too_big') },
    };
  }

  /** For `stats`. */
  stats(): FilterStats {
    const { filters, reports } = this.options;
    return {
      loaded: filters.named().map(({ name, module }) => ({
        name,
        hash: module?.hash ?? null,
        traps: module === null ? 0 : this.count(module, 'traps'),
        bad_answers: module === null ? 0 : this.count(module, 'bad_answers'),
        ...(module === null ? {} : reports.row(module)),
      })),
      rollbacks: [...filters.rollbacks],
    };
  }

  private row(name: string, module: FilterModule | null, rollback: Rollback | null): FilterRow {
    const { filters } = this.options;
    return {
      name,
      status: module === null ? 'rolled_back' : 'ready',
      hash: module?.hash ?? rollback?.hash ?? '',
      size: module?.bytes.length ?? 0,
      abi: module?.abi ?? 0,
      subscribers: module === null ? 0 : filters.users(module),
      default: module !== null && filters.newcomers.filter.module === module,
      rollback:
        rollback === null
          ? null
          : { hash: rollback.hash, reason: rollback.reason, at_ms: rollback.at_ms },
    };
  }

  private count(module: FilterModule, counter: FilterCounter): number {
    return this.options.arena.filterCount(module, counter);
  }

  /** Answers once every worker follows. `changed`: whose filter is another one. */
  private publish(changed = this.options.subscribers.all()): Promise<void> {
    this.options.onChange();
    this.options.subscribers.touch(changed);
    return this.options.publisher.applied();
  }

  // -- what misbehaves, and what is left over -----------------------------------------------------

  /** Takes a module out of use: everybody who has it goes back to what was there before. */
  condemn(module: FilterModule, reason: string): void {
    const { filters, workers, publisher, subscribers } = this.options;
    if (!filters.isLive(module)) return; // it was, and is on its way out
    const users = filters.users(module);
    const older = filters.condemn(module, reason);
    const whither = older === null ? 'what they had before' : `the ${module.name} before it`;
    log.error(
      { filter: module.name },
      `filter ${module.name} (sha256 ${module.hash.slice(0, 12)}) is rolled back: ${reason}; ` +
        `${counted(users, 'subscriber')} of it went back to ${whither}`,
    );
    workers.substitute(module.slot, filters.substitute(module));
    this.options.onChange();
    subscribers.touch();
    publisher.pump();
  }

  /** Empties slots that nobody holds, once no worker follows a table that may name them. */
  async sweep(): Promise<void> {
    const { filters, workers, table } = this.options;
    if (this.isSweeping || table.wanted > table.followed()) return;
    this.isSweeping = true;
    try {
      for (const module of filters.unheld()) {
        await workers.drop(module.slot);
        filters.forget(module);
        this.options.onChange();
      }
    } catch (error) {
      log.warn(`a filter's slot is not free yet: ${messageOf(error)}`);
    } finally {
      this.isSweeping = false;
    }
  }
}
