/**
 * A member's one lease in etcd, kept alive every second, and the fence that follows from it. Knows
 * nothing of shards.
 *
 * An acknowledgement of the same lease says that it never ended, so that nobody has taken what goes
 * with it: the fence is moved on then, also one that had passed. A lease that is gone is told
 * (`onLost`), and another one begins by `hold`.
 */
import { messageOf } from '../../domain/errors.js';
import type { FleetTarget, Standing } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import { EtcdAway, NO_LEASE } from '../etcd/answers.js';
import type { Etcd, Lease } from '../etcd/store.js';
import { type Contact, type Evidence, fenceOf, LEASE_S, SILENT_NS, standingOf } from './fence.js';
import { askPeers, type Peers } from './peers.js';

export const BEAT_MS = 1000;
/** Between two looks at how it stands. */
const LOOK_MS = 200;

export interface TenureOptions {
  readonly etcd: Pick<Etcd, 'keepAlive' | 'grant' | 'revoke'>;
  readonly target: Pick<FleetTarget, 'serveUntil' | 'fence_ns'>;
  readonly whenIsolated: 'stop' | 'serve';
  /** The members that were known last. */
  readonly peers: () => Peers;
  readonly onStanding: (standing: Standing) => void;
  /** Its lease is gone, which etcd says. */
  readonly onLost: () => void;
}

export class Tenure {
  private id = NO_LEASE;
  private acked_ns: bigint | null = null;
  private evidence: Evidence | null = null;
  /** The fence was last moved by what peers said. */
  private wasExtended = false;
  private isAsking = false;
  /** It has, or had, a lease. */
  private isBegun = false;
  private isBeating = false;
  private told: Standing = 'joined';
  private readonly timers: NodeJS.Timeout[] = [];

  constructor(private readonly options: TenureOptions) {
    this.timers.push(setInterval(() => void this.beat(), BEAT_MS));
    this.timers.push(setInterval(() => this.look(), LOOK_MS));
  }

  get lease(): string {
    return this.id;
  }

  get standing(): Standing {
    return this.isFenced ? 'fenced' : standingOf(this.contact);
  }

  /** Its workers serve nobody, or are about to find that. */
  get isFenced(): boolean {
    const { fence_ns } = this.options.target;
    return fence_ns !== 0n && process.hrtime.bigint() >= fence_ns;
  }

  get reachesRegistry(): boolean {
    return this.acked_ns !== null && process.hrtime.bigint() - this.acked_ns <= SILENT_NS;
  }

  /** See FleetRow. */
  get silent_ms(): number | null {
    if (this.acked_ns === null) return null;
    return Number((process.hrtime.bigint() - this.acked_ns) / 1_000_000n);
  }

  /** A lease of an earlier supervisor, whose fence stands; it is not known yet whether it lives. */
  adopt(id: string): void {
    this.id = id;
    this.isBegun = true;
    if (id === NO_LEASE)
      this.options.onLost(); // that one was about to join
    else void this.beat();
  }

  /** Throws EtcdAway. Whoever calls has nobody in the table that another may serve by now. */
  async begin(): Promise<void> {
    const { etcd } = this.options;
    this.hold(await etcd.grant(LEASE_S));
  }

  /** One that was granted, or that etcd has just acknowledged to be alive still. */
  hold({ id, sent_ns }: Lease): void {
    this.id = id;
    this.isBegun = true;
    this.acknowledge(sent_ns);
  }

  /** At its end, so that nobody waits for what it owned. */
  async release(): Promise<void> {
    this.close();
    const { id } = this;
    this.id = NO_LEASE;
    if (id !== NO_LEASE) await this.options.etcd.revoke(id);
  }

  close(): void {
    for (const timer of this.timers) clearInterval(timer);
  }

  private async beat(): Promise<void> {
    const { id } = this;
    if (id === NO_LEASE || this.isBeating) return;
    this.isBeating = true;
    try {
      const kept = await this.options.etcd.keepAlive(id);
      if (id !== this.id) return;
      if (kept !== null) this.acknowledge(kept.sent_ns);
      else {
        this.id = NO_LEASE;
        this.options.onLost();
      }
    } catch (error) {
      if (!(error instanceof EtcdAway)) log.warn(`fleet: keeping its lease: ${messageOf(error)}`);
    } finally {
      this.isBeating = false;
    }
  }

  private acknowledge(sent_ns: bigint): void {
    if (this.acked_ns === null || sent_ns > this.acked_ns) this.acked_ns = sent_ns;
    this.evidence = null;
    this.wasExtended = false;
    const until_ns = fenceOf(this.contact);
    if (until_ns !== null) this.options.target.serveUntil(until_ns);
    this.tell();
  }

  private get contact(): Contact {
    const { whenIsolated } = this.options;
    const now_ns = process.hrtime.bigint();
    return { now_ns, acked_ns: this.acked_ns, evidence: this.evidence, whenIsolated };
  }

  private look(): void {
    if (!this.isBegun) return;
    if (!this.reachesRegistry)
      this.ask().catch((error) => log.error(error, 'fleet: asking the other members'));
    this.tell();
  }

  /** Again and again, a second apart, for as long as etcd is silent. */
  private async ask(): Promise<void> {
    const last_ns = this.evidence?.asked_ns ?? 0n;
    const isSoon = process.hrtime.bigint() - last_ns < BigInt(BEAT_MS) * 1_000_000n;
    if (this.isAsking || isSoon) return;
    this.isAsking = true;
    try {
      const evidence = await askPeers(this.options.peers());
      if (this.reachesRegistry) return; // meanwhile
      this.evidence = evidence;
      this.extend();
    } finally {
      this.isAsking = false;
    }
  }

  /** By what peers have said. One that has passed at the end of a lease is past for good. */
  private extend(): void {
    const { target } = this.options;
    const until_ns = fenceOf(this.contact);
    const isStep = until_ns !== null && until_ns > target.fence_ns;
    if (!isStep || (this.isFenced && !this.wasExtended)) return;
    this.wasExtended = true;
    target.serveUntil(until_ns);
  }

  private tell(): void {
    const { standing } = this;
    if (standing === this.told) return;
    this.told = standing;
    this.options.onStanding(standing);
  }
}
