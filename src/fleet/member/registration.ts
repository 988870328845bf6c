/** A member's own key: whose a name is, what the member says of itself, whether it drains. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../domain/errors.js';
import type { FleetConfig } from '../config.js';
import type { Condition, Etcd } from '../etcd/store.js';
import type { Keys } from '../registry/keys.js';
import type { Mirror } from '../registry/mirror.js';
import { type MemberRecord, parsed, schemas } from '../registry/records.js';
import { chainOf } from './chain.js';
import { LEASE_S } from './fence.js';

/** Between two looks at a lease that may be one of a member that was killed. */
const LOOK_MS = 500;
/** Each fails only because a member above has just registered, ended or begun to drain. */
const REGISTER_TRIES_MAX = 100;
/** Seconds by which what etcd tells of a lease may lag behind the clock: it tells whole ones. */
const ROUNDED_S = 1.5;
/** Within that a lease that nobody keeps alive has ended, also in a new leader's eyes. */
const FREE_MS_MAX = (LEASE_S + 5) * 1000;

export interface RegistrationOptions {
  readonly etcd: Etcd;
  readonly keys: Keys;
  readonly mirror: Mirror;
  readonly config: FleetConfig;
  readonly about: Omit<MemberRecord, 'weight' | 'isDraining' | 'control'>;
}

export class Registration {
  private readonly key: string;
  private readonly lasting: string;
  /** Those that this process has had. */
  private readonly leases = new Set<string>();
  /** Where its peers reach its control port. */
  control = '';

  constructor(private readonly options: RegistrationOptions) {
    this.key = options.keys.of('members', options.config.member);
    this.lasting = options.keys.of('lasting', options.config.member);
  }

  /**
   * Waits for the lease of one of the same name that was killed; throws Failure where that one
   * lives, which its lease tells: it is kept alive.
   */
  async untilFree(): Promise<void> {
    const { etcd } = this.options;
    const began_ms = performance.now();
    let first_s: number | null = null;
    for (;;) {
      const entry = await etcd.get(this.key);
      if (entry === null) return;
      const left_s = await etcd.timeToLive(entry.lease);
      first_s ??= left_s;
      const passed_ms = performance.now() - began_ms;
      // one that nobody keeps alive loses a second in a second
      const isKept = passed_ms / 1000 - (first_s - left_s) > ROUNDED_S;
      if (isKept || passed_ms > FREE_MS_MAX) throw this.taken();
      await sleep(LOOK_MS);
    }
  }

  private taken(): Failure {
    const { config, mirror } = this.options;
    const where = mirror.members.get(config.member)?.control ?? 'elsewhere';
    return new Failure(
      `a member ${config.member} of ${config.group} lives already (${where}); ` +
        'give this one another name with --member, or stop that one',
    );
  }

  /** Throws Failure where another has taken the name. */
  async register(lease: string): Promise<void> {
    const { etcd, mirror, about } = this.options;
    this.leases.add(lease);
    for (let tries = 0; tries < REGISTER_TRIES_MAX; tries++) {
      const { value, when } = await this.next();
      const { isDone, revision } = await etcd.transact({
        when: [{ key: this.key, isAbsent: true }, ...when],
        write: [
          { put: this.key, value, lease },
          { put: this.lasting, value: '1' },
        ],
      });
      if (isDone)
        return mirror.applyOwn({
          ...{ key: this.key, value: Buffer.from(value), lease },
          ...{ modRevision: revision, createRevision: revision },
        });
      const entry = await etcd.get(this.key);
      // an answer that was lost may have been one of ours
      if (entry !== null && !this.leases.has(entry.lease)) throw this.taken();
      if (entry?.lease === lease) return;
      if (entry !== null && (await this.replace(entry.modRevision, lease))) return;
      // somebody on the chain has changed meanwhile, or it is gone: it is looked at again
    }
    throw new Failure(`--upstream ${about.upstream}: members above come and go; start it again`);
  }

  /** What it says of itself, and what must hold for that to be so. */
  private async next(): Promise<{ value: string; when: readonly Condition[] }> {
    const { config, about } = this.options;
    const { path, when } = await chainOf(this.options, config.member, about.upstream);
    const own = { weight: config.weight, isDraining: false, control: this.control };
    const record: MemberRecord = { ...own, ...about, path: [...path] };
    return { value: JSON.stringify(record), when };
  }

  /** Of the supervisor before, whose lease this one goes on with: as this one is. */
  async refresh(lease: string): Promise<void> {
    const { mirror, config, about } = this.options;
    this.leases.add(lease);
    for (let tries = 0; tries < REGISTER_TRIES_MAX; tries++) {
      const held = mirror.members.get(config.member);
      if (held === undefined) return this.register(lease);
      if (held.control === this.control && held.upstream === about.upstream) return;
      if (await this.replace(held.modRevision, lease)) return;
      const entry = await this.options.etcd.get(this.key);
      if (entry?.modRevision !== held.modRevision) return; // it was written meanwhile
    }
  }

  /** False: that is not so any more. */
  private async replace(modRevision: number, lease: string): Promise<boolean> {
    const { value, when } = await this.next();
    const write = [{ put: this.key, value, lease }];
    const all = [{ key: this.key, modRevision }, ...when];
    return (await this.options.etcd.transact({ when: all, write })).isDone;
  }

  /** It serves nobody any more. */
  async leave(): Promise<void> {
    await this.forget([this.options.config.member]);
  }

  /** Those, whose time is over in any case, are waited for by nobody. */
  async forget(names: readonly string[]): Promise<void> {
    const { etcd, keys } = this.options;
    const txns = names.map((name) => ({
      when: [{ key: keys.of('members', name), isAbsent: true as const }], // it may have joined again
      write: [{ remove: keys.of('lasting', name) }],
    }));
    await etcd.transactAll(txns);
  }

  async setDraining(lease: string): Promise<void> {
    await drainMember(this.options.etcd, this.key, lease);
  }
}

/**
 * Has it drain; false: there is no such member, or (with `lease`) it is another one by now. What a
 * later version says of itself stays in its record.
 */
export async function drainMember(etcd: Etcd, key: string, lease?: string): Promise<boolean> {
  for (;;) {
    const entry = await etcd.get(key);
    if (entry === null || (lease !== undefined && entry.lease !== lease)) return false;
    if ('wrong' in parsed(schemas.members, entry.value)) return false;
    const record = JSON.parse(entry.value.toString()) as MemberRecord; // just checked
    if (record.isDraining) return true;
    const value = JSON.stringify({ ...record, isDraining: true });
    const { isDone } = await etcd.transact({
      when: [{ key, modRevision: entry.modRevision }],
      write: [{ put: key, value, lease: 'keep' }],
    });
    if (isDone) return true;
  }
}
