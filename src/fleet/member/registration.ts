/** A member's own key: whose a name is, what the member says of itself, whether it drains. */
import { setTimeout as sleep } from 'node:timers/promises';
import { endpointText } from '../../domain/endpoint.js';
import { Failure, messageOf } from '../../domain/errors.js';
import { log } from '../../terminal/log.js';
import type { FleetConfig } from '../config.js';
import { type Entry, EtcdAway, NO_LEASE } from '../etcd/answers.js';
import type { Etcd } from '../etcd/store.js';
import { drainMember } from '../registry/draining.js';
import type { Keys } from '../registry/keys.js';
import type { Mirror } from '../registry/mirror.js';
import { type MemberRecord, parsed, schemas } from '../registry/records.js';
import { chainOf } from '../relays/chain.js';
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
  /** It was told to drain: whoever mends its registration says so again. */
  private isDraining = false;
  /** Why it could not be mended, as told last. */
  private told = '';

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
      if (entry === null || entry.lease === NO_LEASE) return;
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
    const { etcd, about } = this.options;
    this.leases.add(lease);
    for (let tries = 0; tries < REGISTER_TRIES_MAX; tries++) {
      if (await this.put(lease, null)) return;
      const entry = await etcd.get(this.key);
      if (entry !== null && !this.isOurs(entry)) throw this.taken();
      if (entry?.lease === lease) return;
      if (entry !== null && (await this.put(lease, entry))) return;
      // somebody on the chain has changed meanwhile, or it is gone: it is looked at again
    }
    throw new Failure(`--upstream ${about.upstream}: members above come and go; start it again`);
  }

  /** An answer that was lost may have been one of ours; and without a lease it is of no member. */
  private isOurs({ lease }: Entry): boolean {
    return lease === NO_LEASE || this.leases.has(lease);
  }

  /**
   * Has its registration say what this process is, under that lease: after one of the supervisor
   * before, which may have had another weight or version, and where somebody else has removed it or
   * written over it. Called in each pass; asks etcd only where what was heard is otherwise. A name
   * that is another's is left to it. Where etcd refuses, that is told: who is served by what stands
   * there is served on. Throws EtcdAway.
   */
  async uphold(lease: string): Promise<void> {
    try {
      await this.mend(lease);
      this.told = '';
    } catch (error) {
      if (error instanceof EtcdAway) throw error;
      const reason = messageOf(error);
      if (reason !== this.told) log.warn(`fleet: its registration stays as it is: ${reason}`);
      this.told = reason;
    }
  }

  private async mend(lease: string): Promise<void> {
    this.leases.add(lease);
    const { mirror, config, etcd } = this.options;
    const heard = mirror.members.get(config.member);
    if (heard?.lease === lease) this.isDraining ||= heard.isDraining;
    if (heard?.lease === lease && this.isSaid(heard)) return;
    const entry = await etcd.get(this.key);
    if (entry === null) return this.register(lease);
    if (!this.isOurs(entry)) return this.tellTaken();
    const { value } = { value: null, ...parsed(schemas.members, entry.value) };
    if (entry.lease === lease && value !== null && this.isSaid(value)) return; // not heard yet
    this.isDraining ||= value?.isDraining === true;
    if (await this.put(lease, entry))
      log.info(`fleet: its registration in etcd says again what ${config.member} is`);
  }

  private isSaid(record: MemberRecord): boolean {
    const { config, about } = this.options;
    const { weight, control, upstream, version, listen, startedAt_ms } = record;
    return (
      weight === config.weight &&
      startedAt_ms === about.startedAt_ms &&
      control === this.control &&
      upstream === about.upstream &&
      version === about.version &&
      endpointText(listen) === endpointText(about.listen)
    );
  }

  /** Where there is nothing, or that; false: it is not so any more. */
  private async put(lease: string, before: Entry | null): Promise<boolean> {
    const { config, about, etcd, mirror } = this.options;
    const { isDraining } = this;
    const { path, when } = await chainOf(this.options, config.member, about.upstream);
    const own = { weight: config.weight, isDraining, control: this.control };
    const record: MemberRecord = { ...own, ...about, path: [...path] };
    const value = JSON.stringify(record);
    const { key } = this;
    const { isDone, revision } = await etcd.transact({
      when: [
        before === null ? { key, isAbsent: true } : { key, modRevision: before.modRevision },
        ...when,
      ],
      write: [
        { put: key, value, lease },
        { put: this.lasting, value: '1' },
      ],
    });
    const revisions = { modRevision: revision, createRevision: revision };
    if (isDone) mirror.applyOwn({ key, value: Buffer.from(value), lease, ...revisions });
    return isDone;
  }

  private isTakenTold = false;

  private tellTaken(): void {
    if (!this.isTakenTold) log.warn(`fleet: ${this.taken().message}; it makes nothing its own`);
    this.isTakenTold = true;
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
    const { etcd } = this.options;
    for (let tries = 0; tries < REGISTER_TRIES_MAX; tries++)
      if ((await drainMember(etcd, this.key, { lease })) !== 'changed') return;
  }
}
