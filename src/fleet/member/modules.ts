/**
 * The filter modules of a group in this member: loaded when a subscriber is the first to need one,
 * if this member allows its hash, and unloaded once the group has its name no more.
 */
import { createHash } from 'node:crypto';
import { FantailError, messageOf } from '../../domain/errors.js';
import { BUILT_IN } from '../../domain/filter.js';
import type { FleetTarget } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import { EtcdAway, EtcdRefusal } from '../etcd/answers.js';
import type { Mirror } from '../registry/mirror.js';
import type { SubscriberRecord } from '../registry/records.js';

export interface ModulesOptions {
  readonly target: Pick<FleetTarget, 'loadFilter' | 'unloadFilter' | 'filterHash'>;
  readonly mirror: Pick<Mirror, 'filters' | 'default' | 'modules'>;
  /** The bytes of a module; null: there are none in etcd. */
  readonly module: (sha256: string) => Promise<Uint8Array | null>;
  /** Modules that may run here. */
  readonly allowed: 'any' | ReadonlySet<string>;
  /** A module has been loaded, or not: whoever waited for it need not wait now. */
  readonly onChange: () => void;
}

/** The filter by which somebody is served; or that it is loaded first; or why there is none. */
export type Chosen =
  | { readonly name: string; readonly param: string; readonly sha256: string }
  | { readonly wait: true }
  | { readonly reason: string };

/** Of a name in the group. `reason`: why it cannot be used; null while it is loaded. */
type Loaded = { readonly sha256: string } & (
  | { readonly state: 'loading' | 'ready' }
  | {
      readonly state: 'refused';
      readonly reason: string;
      /** Its bytes were not in etcd. */
      readonly isMissing: boolean;
    }
);

/** There are no bytes of that hash in etcd. */
class Missing extends Error {}

/** Says nothing of the module: etcd did not answer, or the checks have no time now. */
const isPassing = (error: unknown): boolean =>
  error instanceof EtcdAway ||
  error instanceof EtcdRefusal ||
  (error instanceof FantailError && error.code === 'BUSY');

export class Modules {
  private readonly loaded = new Map<string, Loaded>();

  constructor(private readonly options: ModulesOptions) {}

  /** One that was loaded is not what answers under its name any more. */
  get hasLost(): boolean {
    const { target } = this.options;
    return [...this.loaded].some(
      ([name, { sha256, state }]) => state === 'ready' && target.filterHash(name) !== sha256,
    );
  }

  /** A subscriber's own filter, or the group's default; never another one. */
  chosenBy({ filter, param }: Pick<SubscriberRecord, 'filter' | 'param'>): Chosen {
    const { mirror, target, allowed } = this.options;
    const chosen = filter === null ? mirror.default : { filter, param };
    const name = chosen?.filter ?? BUILT_IN;
    const text = chosen?.param ?? '';
    if (name === BUILT_IN) return { name, param: text, sha256: '' };
    const record = mirror.filters.get(name);
    if (record === undefined) return { reason: `there is no filter ${name} in the group` };
    const { sha256 } = record;
    if (allowed !== 'any' && !allowed.has(sha256))
      return {
        reason: `filter ${name}: this member does not allow its module; see --fleet-allow-module ${sha256}`,
      };
    const known = this.loaded.get(name);
    if (known === undefined || known.sha256 !== sha256) {
      if (known?.state !== 'loading') this.load(name, sha256);
      return this.loaded.get(name)?.state === 'ready'
        ? { name, param: text, sha256 }
        : { wait: true };
    }
    if (known.state === 'refused') return { reason: known.reason };
    if (known.state === 'loading') return { wait: true };
    if (target.filterHash(name) === sha256) return { name, param: text, sha256 };
    const reason = `filter ${name}: its module was taken out of use here; the log says why`;
    this.loaded.set(name, { sha256, state: 'refused', reason, isMissing: false });
    return { reason };
  }

  /** A name that the group has again later is tried again, and a module that has come since. */
  forget(): void {
    const { filters, modules } = this.options.mirror;
    for (const [name, known] of this.loaded) {
      if (known.state !== 'refused') continue;
      const hasCome = known.isMissing && modules.has(known.sha256);
      if (hasCome || !filters.has(name)) this.loaded.delete(name);
    }
  }

  /** Those of the group that it has no more, once nobody has them here. */
  unload(): void {
    for (const [name, { state }] of this.loaded) {
      if (state !== 'ready' || this.options.mirror.filters.has(name)) continue;
      this.loaded.delete(name);
      this.options.target.unloadFilter(name).catch((error) => {
        log.debug({ filter: name }, `fleet: filter ${name} stays loaded: ${messageOf(error)}`);
      });
    }
  }

  /** Whoever has it waits; who has an older one of that name keeps it until then. */
  private load(name: string, sha256: string): void {
    if (this.options.target.filterHash(name) === sha256) {
      this.loaded.set(name, { sha256, state: 'ready' });
      return;
    }
    this.loaded.set(name, { sha256, state: 'loading' });
    this.loadNow(name, sha256)
      .then(
        (): Loaded => ({ sha256, state: 'ready' }),
        (error): Loaded | null => {
          const reason = `filter ${name}: ${messageOf(error)}`;
          const isMissing = error instanceof Missing;
          return isPassing(error) ? null : { sha256, state: 'refused', reason, isMissing };
        },
      )
      .then((outcome) => {
        if (outcome === null) {
          this.loaded.delete(name); // the next pass tries again
          return;
        }
        this.loaded.set(name, outcome);
        this.options.onChange();
      });
  }

  private async loadNow(name: string, sha256: string): Promise<void> {
    const bytes = await this.options.module(sha256);
    if (bytes === null) throw new Missing(`its module ${sha256} is not in etcd`);
    const hash = createHash('sha256').update(bytes).digest('hex');
    if (hash !== sha256) throw new Error(`what is in etcd as ${sha256} is ${hash}`);
    await this.options.target.loadFilter(name, bytes);
    log.info(
      { op: 'filter.load', who: 'fleet', code: 'ok', filter: name },
      `fleet: filter ${name}`,
    );
  }
}
