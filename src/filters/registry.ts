/**
 * The filters that are loaded, which of them answers for whom, and what to go back to when one
 * misbehaves. Pure: the filter desk (desk.ts) tells the workers and publishes.
 *
 *     place() ─▶ in a slot of every worker ─▶ name() ─▶ ready ── condemn() ──▶ rolled back
 *                                                       │  ▲ a mended module under the same name
 *                                                       └── unload(), replaced and unheld ──▶ gone
 *
 * Each holder (a subscriber, or those to come) remembers the assignment before its last: that is
 * what "the last good filter" means for it. A module stays in its slot as long as anybody holds it,
 * now or as the one before.
 */
import { counted } from '../domain/counts.js';
import { FantailError } from '../domain/errors.js';
import type {
  Assignment,
  Facts,
  FilterModule,
  Holder,
  Placed,
  Rollback,
} from '../domain/filter.js';
import { limits } from '../memory/layout.js';

/** What the next supervisor is told: modules by their number, without their bytes. */
export interface FilterRecords {
  readonly count: number;
  readonly modules: readonly Omit<FilterModule, 'bytes'>[];
  /** By name. */
  readonly named: readonly (readonly [name: string, module: number])[];
  readonly condemned: readonly (readonly [name: string, rollback: Rollback])[];
  readonly rollbacks: readonly Rollback[];
  readonly newcomers: AssignmentRecord;
  /** By the epoch of a subscriber, in decimal: what it had before. */
  readonly before: readonly (readonly [epoch: string, before: AssignmentRecord])[];
}

export interface AssignmentRecord {
  readonly module: number;
  /** Base64. */
  readonly param: string;
}

/** The built-in filter: always loaded, in slot 0, and the last resort. */
export const BUILT_IN = 'rewrite';
export const FILTER_NAME_LENGTH_MAX = 32;
const NAME = /^[a-z0-9][a-z0-9._-]*$/;
/** Rollbacks that are remembered for `stats` and `filter list`. */
const ROLLBACKS_MAX = 16;

const NOTHING = new Uint8Array();

/** Refuses a name that cannot be one, or the built-in's. */
export function checkFilterName(name: string): void {
  if (!NAME.test(name) || name.length > FILTER_NAME_LENGTH_MAX)
    throw new FantailError(
      'BAD_REQUEST',
      'a filter name has 1 to 32 of a-z 0-9 . _ - and starts with a letter or digit',
    );
  if (name === BUILT_IN)
    throw new FantailError('BAD_REQUEST', `${BUILT_IN} is built in; load yours under another name`);
}

// More members than 15: slots, names and holders change together, and the invariants above span
// them.
export class Filters {
  /** Whoever will be added. */
  readonly newcomers: Holder;
  private readonly slots: (FilterModule | null)[] = new Array(limits.FILTERS_MAX).fill(null);
  private readonly names = new Map<string, FilterModule>();
  /** By name: why there is nothing under it any more. */
  private readonly condemned = new Map<string, Rollback>();
  readonly rollbacks: Rollback[] = [];
  /** Placed, and not named yet. */
  private readonly placing = new Set<FilterModule>();
  readonly builtIn: FilterModule;
  private modules = 0;

  /** `subscribers`: the other holders, as they are at the time of each call. */
  constructor(
    bytes: Uint8Array,
    facts: Facts,
    private readonly subscribers: () => Iterable<Holder>,
  ) {
    this.builtIn = this.place(BUILT_IN, bytes, facts);
    this.newcomers = { filter: { module: this.builtIn, param: NOTHING, before: null } };
    this.name(this.builtIn);
  }

  // -- for the next supervisor --------------------------------------------------------------------

  /** `subscribers`: all holders but `newcomers`. */
  records(subscribers: Iterable<Holder & { readonly epoch: bigint }>): FilterRecords {
    const before: [string, AssignmentRecord][] = [];
    for (const { epoch, filter } of subscribers)
      if (filter.before !== null) before.push([String(epoch), recordOf(filter.before)]);
    return {
      count: this.modules,
      modules: this.loaded().map(({ bytes, ...module }) => module),
      named: [...this.names].map(([name, { module }]) => [name, module]),
      condemned: [...this.condemned],
      rollbacks: [...this.rollbacks],
      newcomers: recordOf(this.newcomers.filter),
      before,
    };
  }

  /** Takes over what an earlier supervisor had loaded; `bytesOf` by module number. */
  restore(records: FilterRecords, bytesOf: (module: number) => Uint8Array): void {
    this.modules = records.count;
    for (const module of records.modules) {
      if (module.slot === this.builtIn.slot) continue;
      this.slots[module.slot] = { ...module, bytes: bytesOf(module.module) };
    }
    for (const [name, number] of records.named) {
      const module = this.numbered(number);
      if (module !== null) this.names.set(name, module);
    }
    for (const [name, rollback] of records.condemned) this.condemned.set(name, rollback);
    this.rollbacks.push(...records.rollbacks);
    this.newcomers.filter = { ...this.assigned(records.newcomers), before: null };
  }

  /** The built-in filter where a module is not there any more. */
  assigned({ module, param }: AssignmentRecord): Pick<Assignment, 'module' | 'param'> {
    return {
      module: this.numbered(module) ?? this.builtIn,
      param: new Uint8Array(Buffer.from(param, 'base64')),
    };
  }

  /** The module in a slot, as the table names it. */
  inSlot(slot: number): FilterModule {
    return this.slots[slot] ?? this.builtIn;
  }

  private numbered(number: number): FilterModule | null {
    return this.loaded().find(({ module }) => module === number) ?? null;
  }

  private *holders(): Iterable<Holder> {
    yield this.newcomers;
    yield* this.subscribers();
  }

  /** Every module in a slot, whether a name still means it or not. */
  loaded(): FilterModule[] {
    return this.slots.filter((module) => module !== null);
  }

  /** Those that have a name, in order of loading, and names that were rolled back. */
  named(): { name: string; module: FilterModule | null; rollback: Rollback | null }[] {
    return [...new Set([...this.names.keys(), ...this.condemned.keys()])].map((name) => ({
      name,
      module: this.names.get(name) ?? null,
      rollback: this.condemned.get(name) ?? null,
    }));
  }

  find(name: string): FilterModule {
    const module = this.names.get(name);
    if (module !== undefined) return module;
    const rollback = this.condemned.get(name);
    if (rollback !== undefined)
      throw new FantailError(
        'FILTER_REJECTED',
        `filter ${name} was rolled back (${rollback.reason}); load a mended one`,
      );
    throw new FantailError('NOT_FOUND', `there is no filter ${name}; see filter list`);
  }

  /** What a new subscriber gets. */
  forNewcomer(): Assignment {
    return { ...this.newcomers.filter, before: null };
  }

  users(module: FilterModule): number {
    let users = 0;
    for (const { filter } of this.subscribers()) if (filter.module === module) users++;
    return users;
  }

  /** Takes a slot, and a block of state if it keeps some. Nobody uses it before name(). */
  place(name: string, bytes: Uint8Array, facts: Facts): FilterModule {
    const slot = this.slots.indexOf(null);
    if (slot < 0)
      throw new FantailError(
        'TABLE_FULL',
        `${limits.FILTERS_MAX} filters are loaded, those to go back to among them; unload one first`,
      );
    const number = ++this.modules;
    const module: FilterModule = {
      name,
      bytes,
      ...facts,
      slot,
      module: number,
      ...this.stateFor(name, facts, number),
    };
    this.slots[slot] = module;
    this.placing.add(module);
    return module;
  }

  /** A newer module of the same name goes on with the state if it says that it understands it. */
  private stateFor(
    name: string,
    { state }: Facts,
    number: number,
  ): Pick<Placed, 'block' | 'owner'> {
    if (state === 0) return { block: null, owner: 0 };
    const older = this.names.get(name);
    if (older !== undefined && older.state === state)
      return { block: older.block, owner: older.owner };
    const taken = new Set(this.loaded().map(({ block }) => block));
    let block = 0; // there are as many blocks as slots, so one is free
    while (taken.has(block)) block++;
    return { block, owner: number };
  }

  /** Every worker has it: the name means it from now on, and whoever used the older one uses it. */
  name(module: FilterModule): void {
    const older = this.names.get(module.name);
    this.placing.delete(module);
    this.names.set(module.name, module);
    this.condemned.delete(module.name);
    if (older === undefined) return;
    for (const holder of this.holders())
      if (holder.filter.module === older) assign(holder, module, holder.filter.param);
  }

  /** It never went live, or no worker has it any more. */
  forget(module: FilterModule): void {
    this.placing.delete(module);
    this.slots[module.slot] = null;
  }

  /** For one holder, or for all, those to come among them. */
  use(name: string, param: Uint8Array, holder: Holder | null): void {
    const module = this.find(name);
    for (const each of holder === null ? this.holders() : [holder]) assign(each, module, param);
  }

  /** That holder has what new subscribers get. */
  useNewcomers(holder: Holder): void {
    const { module, param } = this.newcomers.filter;
    assign(holder, module, param);
  }

  unload(name: string): void {
    if (name === BUILT_IN)
      throw new FantailError('BAD_REQUEST', `${BUILT_IN} is built in and stays`);
    if (this.condemned.has(name) && !this.names.has(name)) {
      this.condemned.delete(name);
      return;
    }
    const module = this.find(name);
    const users = this.users(module);
    const isDefault = this.newcomers.filter.module === module;
    if (users > 0 || isDefault) {
      const whom = [
        ...(users > 0 ? [counted(users, 'subscriber')] : []),
        ...(isDefault ? ['new ones'] : []),
      ];
      throw new FantailError(
        'BUSY',
        `filter ${name} answers for ${whom.join(' and ')}; filter use another one first`,
      );
    }
    this.names.delete(name);
    for (const holder of this.holders()) forgetBefore(holder, module);
  }

  /**
   * Takes a module out of use for good; everybody goes back to what they had. The module that the
   * name means now, or null.
   */
  condemn(module: FilterModule, reason: string): FilterModule | null {
    const { name, hash } = module;
    const older = this.olderOf(module);
    const rollback = { name, hash, reason, at_ms: Date.now() };
    this.rollbacks.push(rollback);
    if (this.rollbacks.length > ROLLBACKS_MAX) this.rollbacks.shift();
    for (const holder of this.holders()) {
      if (holder.filter.module === module) {
        const { module: to, param } = holder.filter.before ?? {
          module: this.builtIn,
          param: NOTHING,
        };
        holder.filter = { module: to, param, before: null };
      }
      forgetBefore(holder, module);
    }
    if (this.names.get(name) === module) {
      if (older === null) this.names.delete(name);
      else this.names.set(name, older);
    }
    this.condemned.set(name, rollback);
    return older;
  }

  /** The module of the same name that somebody would go back to. */
  private olderOf(module: FilterModule): FilterModule | null {
    for (const { filter } of this.holders())
      if (filter.before?.module.name === module.name && filter.before.module !== module)
        return filter.before.module;
    return null;
  }

  /**
   * What a worker that starts anew should have in that module's slot: itself, or what to go back
   * to.
   */
  substitute(module: FilterModule): FilterModule {
    if (this.isLive(module)) return module;
    return this.names.get(module.name) ?? this.builtIn;
  }

  /** Whether a name means it, or somebody holds it. */
  isLive(module: FilterModule): boolean {
    return this.names.get(module.name) === module || this.isHeld(module);
  }

  private isHeld(module: FilterModule): boolean {
    for (const { filter } of this.holders())
      if (filter.module === module || filter.before?.module === module) return true;
    return false;
  }

  /** Modules that no name means and nobody holds: their slots can be emptied. */
  unheld(): FilterModule[] {
    return this.loaded().filter((module) => !this.isLive(module) && !this.placing.has(module));
  }
}

function recordOf({ module, param }: Pick<Assignment, 'module' | 'param'>): AssignmentRecord {
  return { module: module.module, param: Buffer.from(param).toString('base64') };
}

function assign(holder: Holder, module: FilterModule, param: Uint8Array): void {
  const { filter } = holder;
  const before =
    filter.module === module ? filter.before : { module: filter.module, param: filter.param };
  holder.filter = { module, param, before };
}

function forgetBefore(holder: Holder, module: FilterModule): void {
  if (holder.filter.before?.module === module) holder.filter = { ...holder.filter, before: null };
}
