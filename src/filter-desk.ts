/**
 * Where filters are loaded, used, looked at and unloaded, and where those that misbehave are taken out of use. Turns
 * what the control channel asks into changes of the registry (filters.ts), orders to the workers (data-plane.ts) and a
 * new subscriber table (publisher.ts), in that order: a table never names a slot that a worker has not filled.
 *
 *     load:      check → place → every worker has it → name, publish        one at a time
 *     tick():    faults past a limit → condemn, publish;   a worker stuck in a filter → condemn, publish, kill
 *                slots that nobody holds any more → emptied
 */
import type { Arena } from './arena.js';
import type { DataPlane } from './data-plane.js';
import { FantailError, messageOf } from './errors.js';
import { checkFilter } from './filter-check.js';
import type { FilterModule, Filters, Rollback } from './filters.js';
import { limits, offsetOf } from './layout.js';
import { log } from './log.js';
import type { FilterInfo, FilterRow, FilterStats } from './protocol.js';
import type { Publisher } from './publisher.js';
import type { SubscriberTable } from './subscribers.js';
import { usageOf, Watchdog } from './watchdog.js';

/** A worker that sleeps is looked at once in so many ticks. */
const ASLEEP_EVERY = 5;
/** Traps, bad answers and results over the MTU that one module may have within FAULT_WINDOW_MS. */
export const FAULTS_MAX = 100;
const FAULT_WINDOW_MS = 10_000;

export interface FilterDeskOptions {
  readonly filters: Filters;
  readonly plane: DataPlane;
  readonly table: SubscriberTable;
  readonly publisher: Publisher;
}

type Counter =
  | 'calls'
  | 'jobs'
  | 'sent'
  | 'dropped'
  | 'bad_answers'
  | 'too_big'
  | 'traps'
  | 'timed_jobs'
  | 'timed_ns';

export class FilterDesk {
  private readonly watchdogs: Watchdog[];
  private ticks = 0;
  /** The end of the last load: one at a time. */
  private lastLoad: Promise<unknown> = Promise.resolve();
  /** By module number: faults when its window began. */
  private readonly windows = new Map<number, { faults: number; began_ms: number }>();
  private isSweeping = false;

  constructor(private readonly options: FilterDeskOptions) {
    this.watchdogs = Array.from({ length: this.arena.workers }, () => new Watchdog());
  }

  private get arena(): Arena {
    return this.options.plane.arena;
  }

  // -- what may be asked -----------------------------------------------------------------------------------------------

  load(name: string, bytes: Uint8Array): Promise<FilterInfo> {
    this.options.filters.checkName(name);
    const loading = this.lastLoad.then(() => this.loadNow(name, bytes));
    this.lastLoad = loading.catch(() => {});
    return loading;
  }

  private async loadNow(name: string, bytes: Uint8Array): Promise<FilterInfo> {
    const { filters, plane } = this.options;
    const facts = await checkFilter(bytes);
    const module = filters.place(name, bytes, facts);
    try {
      await plane.loadFilter(module);
    } catch (error) {
      await plane.dropFilter(module.slot).catch(() => {}); // a worker that missed it gets none at its next start
      filters.forget(module);
      throw error;
    }
    filters.name(module);
    await this.publish();
    return this.info(name);
  }

  async use(name: string, param: Uint8Array, to: { ip: string; port: number } | null): Promise<number> {
    const { filters, table } = this.options;
    if (param.length > limits.PARAM_SIZE)
      throw new FantailError(
        'BAD_REQUEST',
        `param has ${param.length} bytes; a filter takes at most ${limits.PARAM_SIZE}`,
      );
    const holder = to === null ? null : table.find(to.ip, to.port);
    if (holder === undefined)
      throw new FantailError('NOT_FOUND', `${to?.ip}:${to?.port} is not subscribed; add it first`);
    filters.use(name, param, holder);
    await this.publish();
    return holder === null ? table.size : 1;
  }

  async unload(name: string): Promise<void> {
    this.options.filters.unload(name);
    await this.publish();
    await this.sweep();
  }

  list(): FilterRow[] {
    return this.options.filters.named().map(({ name, module, rollback }) => this.row(name, module, rollback));
  }

  info(name: string): FilterInfo {
    const { filters } = this.options;
    const named = filters.named().find((each) => each.name === name);
    if (named === undefined) filters.find(name); // throws
    const { module = null, rollback = null } = named ?? {};
    const count = (counter: Counter) => (module === null ? 0 : this.count(module, counter));
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
    const { filters } = this.options;
    return {
      loaded: filters.named().map(({ name, module }) => ({
        name,
        hash: module?.hash ?? null,
        traps: module === null ? 0 : this.count(module, 'traps'),
        bad_answers: module === null ? 0 : this.count(module, 'bad_answers'),
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
        rollback === null ? null : { hash: rollback.hash, reason: rollback.reason, at_ms: rollback.at_ms },
    };
  }

  /** Of all workers; a slot that still holds another module counts nothing for this one. */
  private count({ slot, module }: FilterModule, counter: Counter): number {
    let sum = 0;
    for (let worker = 0; worker < this.arena.workers; worker++) {
      const start = this.arena.filterSlot(worker, slot);
      const number = Number(this.arena.u64(start + offsetOf('filter_slot', 'module')));
      if (number === module) sum += Number(this.arena.u64(start + offsetOf('filter_slot', counter)));
    }
    return sum;
  }

  /** Answers once every worker follows. */
  private publish(): Promise<void> {
    this.options.table.touch();
    return this.options.publisher.applied();
  }

  // -- what is looked at -----------------------------------------------------------------------------------------------

  /** Called ten times a second: a rarer look would see a stuck worker late, and each look takes time from some core. */
  tick(): void {
    this.ticks++;
    for (const module of this.options.filters.loaded()) this.lookAtFaults(module);
    for (const [worker, watchdog] of this.watchdogs.entries()) this.lookAt(worker, watchdog);
    void this.sweep();
  }

  private lookAtFaults(module: FilterModule): void {
    const { filters } = this.options;
    const counts = { traps: this.count(module, 'traps'), bad: this.count(module, 'bad_answers') };
    const tooBig = this.count(module, 'too_big');
    const faults = counts.traps + counts.bad + tooBig;
    const now = performance.now();
    const window = this.windows.get(module.module);
    if (window === undefined || now - window.began_ms > FAULT_WINDOW_MS) {
      this.windows.set(module.module, { faults, began_ms: now });
      if (window !== undefined || faults < FAULTS_MAX) return;
    } else if (faults - window.faults < FAULTS_MAX) return;
    if (module === filters.builtIn) return; // nothing to go back to
    const kinds = [`${counts.traps} traps`, `${counts.bad} bad answers`, `${tooBig} results over the MTU`];
    this.condemn(module, `${kinds.filter((kind) => !kind.startsWith('0 ')).join(', ')}`);
  }

  private lookAt(worker: number, watchdog: Watchdog): void {
    const { plane, filters } = this.options;
    const word = (field: string) => this.arena.u32(this.arena.worker(worker, field));
    const pid = word('pid');
    if (pid === 0 || pid !== plane.processes[worker]?.pid) return; // it starts, or ends
    if (word('asleep') === 1 && this.ticks % ASLEEP_EVERY !== 0) return;
    const long = (field: string) => this.arena.u64(this.arena.worker(worker, field));
    const sign = long('heartbeat_ns') + (long('bursts') << 64n);
    const sighting = { pid, sign, calling: word('calling'), now_ms: performance.now() };
    const judgement = watchdog.judge(sighting, () => usageOf(pid));
    if (judgement.kind === 'alive') return;
    if (judgement.kind === 'stuck') {
      const module = filters.loaded().find(({ slot }) => slot === judgement.slot);
      if (module !== undefined && module !== filters.builtIn) this.condemn(module, 'it did not return');
    }
    log.error(`tx worker ${worker} (pid ${pid}) is ${judgement.kind}; it is killed and replaced`);
    plane.kill(worker);
  }

  private condemn(module: FilterModule, reason: string): void {
    const { filters, plane, publisher, table } = this.options;
    if (!filters.isLive(module)) return; // it was, and is on its way out
    const users = filters.users(module);
    const older = filters.condemn(module, reason);
    const whither = older === null ? 'what they had before' : `the ${module.name} before it`;
    log.error(
      `filter ${module.name} (sha256 ${module.hash.slice(0, 12)}) is rolled back: ${reason}; ` +
        `its ${users} subscribers go back to ${whither}`,
    );
    plane.substituteFilter(module.slot, filters.substitute(module));
    table.touch();
    publisher.pump();
  }

  /** Empties slots that nobody holds, once no worker follows a table that may name them. */
  private async sweep(): Promise<void> {
    const { filters, plane, table } = this.options;
    if (this.isSweeping || table.wanted > table.followed()) return;
    this.isSweeping = true;
    try {
      for (const module of filters.unheld()) {
        await plane.dropFilter(module.slot);
        filters.forget(module);
        this.windows.delete(module.module);
      }
    } catch (error) {
      log.warn(`a filter's slot is not free yet: ${messageOf(error)}`);
    } finally {
      this.isSweeping = false;
    }
  }
}
