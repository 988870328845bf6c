/** A member's own key: whose a name is, what the member says of itself, whether it drains. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../domain/errors.js';
import type { FleetConfig } from '../config.js';
import type { Etcd } from '../etcd/store.js';
import type { Keys } from '../registry/keys.js';
import type { Mirror } from '../registry/mirror.js';
import { type MemberRecord, parsed, schemas } from '../registry/records.js';
import { LEASE_S } from './fence.js';

/** Between two looks at a lease that may be one of a member that was killed. */
const LOOK_MS = 500;
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
    const deadline_ms = performance.now() + FREE_MS_MAX;
    let left_s = Number.POSITIVE_INFINITY;
    for (;;) {
      const entry = await etcd.get(this.key);
      if (entry === null) return;
      const now_s = await etcd.timeToLive(entry.lease);
      if (now_s > left_s || performance.now() > deadline_ms) throw this.taken();
      left_s = now_s;
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
    const { etcd, mirror, config, about } = this.options;
    const own = { weight: config.weight, isDraining: false, control: this.control };
    const record: MemberRecord = { ...own, ...about };
    const value = JSON.stringify(record);
    const { isDone, revision } = await etcd.transact({
      when: [{ key: this.key, isAbsent: true }],
      write: [
        { put: this.key, value, lease },
        { put: this.lasting, value: '1' },
      ],
    });
    if (!isDone) {
      // an answer that was lost may have been one of ours
      const entry = await etcd.get(this.key);
      if (entry?.lease !== lease) throw this.taken();
      return;
    }
    mirror.applyOwn({
      ...{ key: this.key, value: Buffer.from(value), lease },
      ...{ modRevision: revision, createRevision: revision },
    });
  }

  /** It serves nobody any more. */
  async leave(): Promise<void> {
    await this.forget([this.options.config.member]);
  }

  /** Those, whose time is over in any case, are waited for by nobody. */
  async forget(names: readonly string[]): Promise<void> {
    const { etcd, keys } = this.options;
    const write = names.map((name) => ({ remove: keys.of('lasting', name) }));
    await etcd.transactAll(write.map((one) => ({ when: [], write: [one] })));
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
