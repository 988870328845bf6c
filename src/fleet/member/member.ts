/**
 * A member of a group: registers, follows what etcd says, serves the shards that are its own, and
 * hands them over. What is to be done is decided in shards/plan.ts, until when it may be done in
 * fence.ts; here it is carried out, one pass at a time.
 *
 *     pass: who is wanted → in the table, workers follow → what is to be written → written → again
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../../domain/errors.js';
import { type FleetRow, STANDING_SENTENCES, type Standing } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import { EtcdAway, EtcdRefusal, NO_LEASE } from '../etcd/answers.js';
import { Etcd } from '../etcd/store.js';
import { Follower } from '../registry/follower.js';
import { Keys } from '../registry/keys.js';
import { Mirror } from '../registry/mirror.js';
import { printable } from '../registry/status.js';
import { Hops } from '../relays/hop.js';
import { Relays } from '../relays/relays.js';
import { Upstream } from '../relays/upstream.js';
import { changesOf, isFree, type ShardChange, type View, wantedOf } from '../shards/plan.js';
import { LEASE_S, STEP_NS } from './fence.js';
import { Handover } from './handover.js';
import type { FleetInheritance, Peer } from './inheritance.js';
import { Ledger } from './ledger.js';
import type { MemberOptions } from './options.js';
import { Registration } from './registration.js';
import { Releases } from './releases.js';
import { Reporter } from './reporter.js';
import { Service } from './service.js';
import { Tenure } from './tenure.js';

/** Between two passes for which nothing has called: what was refused is tried again. */
const PASS_MS = 1000;
/**
 * Before it takes what is nobody's, where others may serve that without a lease: after etcd was
 * away, and at a start that finds members missing. One that is not cut off joins again within a
 * second, and makes what it serves its own again; one that is has asked its peers, and goes on for
 * STEP_NS from then at most. The rest is the asking and a margin.
 */
const CLAIM_WAIT_MS = Number(STEP_NS / 1_000_000n) + 1000;
/** Before it takes a shard whose key is nonsense: whoever had it is fenced by then. */
const MEND_WAIT_MS = (LEASE_S + 2) * 1000;
/** Keys that are passed over are told as they come, up to so many; `fleet status` counts them. */
const FAULTS_LOGGED_MAX = 256;
/** A clean stop waits so long for others to take what it owned. */
export const DRAIN_MS_MAX = 5000;

export class Member {
  readonly etcd: Etcd;
  readonly keys: Keys;
  readonly mirror: Mirror;
  private readonly follower: Follower;
  private readonly tenure: Tenure;
  private readonly relays: Relays;
  private readonly service: Service;
  private readonly hops: Hops;
  private readonly registration: Registration;
  private readonly reporter: Reporter;
  private readonly releases: Releases;
  private readonly upstream: Upstream;
  private readonly handover: Handover;
  private readonly ledger: Ledger;
  private readonly startedAt_ms: number | null;
  /** Those that were known last: etcd may be away at the next start. */
  private peers: readonly Peer[];
  private lostAt_ms: number | null = null;
  private claimsFrom_ms = 0;
  private isWanted = false;
  private passing: Promise<void> | null = null;
  private timer: NodeJS.Timeout | null = null;
  private isRejoining = false;
  private isDrained = false;
  private isOver = false;
  private closing: Promise<void> | null = null;

  constructor(private readonly options: MemberOptions) {
    const { config, target, inherited, ownFeeds } = options;
    this.etcd = new Etcd(config.etcd);
    this.keys = new Keys(config.group);
    this.peers = inherited?.peers ?? [];
    this.mirror = new Mirror(this.keys, (key, wrong) => {
      const level = this.mirror.faults.size > FAULTS_LOGGED_MAX ? 'debug' : 'warn';
      log[level](`fleet: ${printable(key)} is passed over: ${wrong}`);
    });
    this.follower = new Follower(this.etcd, this.keys, this.mirror, () => this.wish());
    this.relays = new Relays({ target, mirror: this.mirror, member: config.member });
    this.hops = new Hops({ config, target, mirror: this.mirror, relays: this.relays });
    this.service = new Service({
      target,
      mirror: this.mirror,
      relays: this.relays,
      module: async (hash) => (await this.etcd.get(this.keys.of('modules', hash)))?.value ?? null,
      allowed: config.allowedModules,
      ownFeeds,
      onChange: () => this.wish(),
    });
    this.tenure = new Tenure({
      etcd: this.etcd,
      target,
      whenIsolated: config.whenIsolated,
      peers: () => ({ group: config.group, members: this.peers }),
      onStanding: (standing) => this.tellStanding(standing),
      onLost: () => void this.rejoin(),
    });
    const { etcd, keys, mirror } = this;
    this.startedAt_ms = inherited === null ? options.about.startedAt_ms : inherited.startedAt_ms;
    const about = { ...options.about, startedAt_ms: this.startedAt_ms };
    this.registration = new Registration({ etcd, keys, mirror, config, about });
    this.upstream = new Upstream({ mirror, name: config.upstream, member: config.member });
    this.releases = new Releases(target, () => this.wish());
    const { service } = this;
    this.ledger = new Ledger({ etcd, keys, mirror });
    this.handover = new Handover({ mirror, service, target, member: config.member });
    this.reporter = new Reporter({ etcd, keys, mirror, name: config.member });
  }

  /**
   * Joins, and has made what is to be made at once. `control`: where its peers reach it. Throws
   * Failure where etcd does not answer or the name is another's; but one that has inherited goes on
   * with what it has.
   */
  async start(control: string): Promise<void> {
    const { inherited } = this.options;
    this.registration.control = control;
    if (inherited !== null) this.service.adopt();
    try {
      await this.join();
    } catch (error) {
      if (!(error instanceof EtcdAway || error instanceof EtcdRefusal)) throw error;
      if (inherited === null) throw new Failure(`--fleet: ${messageOf(error)}`);
      log.warn(`fleet: goes on as it was left: ${messageOf(error)}`);
      this.tenure.adopt(inherited.lease);
    }
    this.follower.start();
    this.timer = setInterval(() => this.wish(), PASS_MS);
    this.wish();
    await this.passing;
  }

  private async join(): Promise<void> {
    const { inherited } = this.options;
    if (inherited !== null) {
      const kept = await this.etcd.keepAlive(inherited.lease);
      if (kept !== null) {
        this.tenure.hold(kept);
        await this.follower.read();
        await this.registration.uphold(kept.id);
        return;
      }
      await this.service.clear();
    }
    await this.follower.read();
    await this.registration.untilFree();
    if (this.missing.length > 0) this.claimsFrom_ms = performance.now() + CLAIM_WAIT_MS;
    await this.begin();
  }

  /** Its name stands in etcd under its own lease, as far as it was heard. */
  private get isRegistered(): boolean {
    const { lease } = this.tenure;
    return (
      lease !== NO_LEASE && this.mirror.members.get(this.options.config.member)?.lease === lease
    );
  }

  private get missing(): string[] {
    return this.mirror.missing.filter((name) => name !== this.options.config.member);
  }

  private async begin(): Promise<void> {
    await this.tenure.begin();
    await this.registration.register(this.tenure.lease);
    this.options.onKeep();
  }

  /**
   * Its lease is gone. Within the fence it goes on serving meanwhile: nobody can have been sure
   * that it had stopped. Past it others may serve what it has, so it takes that out first.
   */
  private async rejoin(): Promise<void> {
    if (this.isRejoining || this.closing !== null) return;
    this.isRejoining = true;
    log.warn('fleet: its lease has ended; it joins again');
    try {
      while (this.closing === null) {
        await this.passing; // one that is under way would serve again what is cleared
        if (this.tenure.isFenced) await this.service.clear();
        try {
          await this.follower.read();
          await this.begin();
          break;
        } catch (error) {
          if (!(error instanceof EtcdAway || error instanceof EtcdRefusal)) throw error;
          await sleep(PASS_MS);
        }
      }
    } catch (error) {
      this.options.onFatal(error instanceof Failure ? error : new Failure(messageOf(error)));
    } finally {
      this.isRejoining = false;
    }
    this.wish();
  }

  // -- passes -------------------------------------------------------------------------------------

  private wish(): void {
    if (this.isOver) return;
    this.isWanted = true;
    this.passing ??= this.passes().finally(() => {
      this.passing = null;
    });
  }

  private async passes(): Promise<void> {
    while (this.isWanted) {
      this.isWanted = false;
      try {
        if (await this.pass()) this.isWanted = true;
      } catch (error) {
        if (error instanceof EtcdAway) return; // the timer comes again
        log.error(error, 'fleet');
        return;
      }
    }
  }

  /** True: something was written, so that there may be more to do. */
  private async pass(): Promise<boolean> {
    this.rememberPeers();
    if (this.isRejoining || this.tenure.isFenced) return false;
    const { lease, standing } = this.tenure;
    if (standing === 'joined' && lease !== NO_LEASE) await this.registration.uphold(lease);
    // whoever has no lease, or whose name is another's by now, makes nothing its own; what it
    // serves it goes on serving
    if (!this.isRegistered) return false;
    this.releases.follow(this.takenFrom);
    await this.service.apply(wantedOf(this.view));
    this.hops.look();
    this.upstream.look();
    if (this.tenure.standing !== 'joined') return false;
    if (this.view.mayClaim && this.missing.length > 0) await this.registration.forget(this.missing);
    const changes = changesOf(this.view);
    const isChanged = changes.length > 0 && (await this.write(changes));
    await this.handover.count();
    const { config } = this.options;
    this.reporter.tell({
      lease: this.tenure.lease,
      row: this.row,
      unserved: this.service.reasons,
      refusedRelays: this.relays.unserved,
      hop: this.hops.own,
    });
    const own = this.mirror.members.get(config.member);
    if (own?.isDraining === true && !isChanged && isFree(this.view)) this.tellDrained();
    return isChanged;
  }

  /** Shards that others have taken over and that this member serves still. */
  private get takenFrom(): number[] {
    const { member } = this.options.config;
    const shards = [...this.mirror.shards].filter(([, { from }]) => from === member);
    return shards.map(([shard]) => shard).filter((shard) => this.service.serving.has(shard));
  }

  private get view(): View {
    const { mirror, service } = this;
    return {
      me: this.options.config.member,
      lease: this.tenure.lease,
      members: mirror.members,
      pins: mirror.pins,
      shards: mirror.shards,
      broken: mirror.broken(MEND_WAIT_MS),
      serving: service.serving,
      ready: service.ready,
      released: this.releases.done,
      mayClaim: performance.now() >= this.claimsFrom_ms,
    };
  }

  /** True: some of it was written. */
  private async write(changes: readonly ShardChange[]): Promise<boolean> {
    const done = await this.ledger.write(changes, this.tenure.lease);
    for (const { shard, kind } of done) if (kind === 'accept') this.handover.begin(shard);
    return done.length > 0;
  }

  private rememberPeers(): void {
    const { member } = this.options.config;
    if (this.mirror.members.size === 0) return; // nothing was read yet
    const others = [...this.mirror.members].filter(([name]) => name !== member);
    const peers = others.map(([name, { control }]) => ({ member: name, control }));
    if (JSON.stringify(peers) === JSON.stringify(this.peers)) return;
    this.peers = peers;
    this.options.onKeep();
  }

  // -- what it tells ------------------------------------------------------------------------------

  get row(): FleetRow {
    const { group, member } = this.options.config;
    const owned = [...this.mirror.shards.values()].filter(({ owner }) => owner === member);
    return {
      group,
      member,
      ...{ standing: this.tenure.standing, silent_ms: this.tenure.silent_ms },
      is_draining: this.mirror.members.get(member)?.isDraining === true,
      shards: owned.length,
      subscribers: this.service.size,
      unserved: this.service.unserved.size + this.relays.unserved.size,
      no_room: this.service.noRoom,
      faults: this.mirror.faults.size,
      handover: this.handover.copies,
      upstream: this.options.config.upstream,
      upstream_state: this.upstream.state,
      relays: this.relays.names,
      hops: this.hops.all,
    };
  }

  /** What `/fleetz` tells. */
  get membership(): { group: string; member: string; reachesRegistry: boolean } {
    const { group, member } = this.options.config;
    return { group, member, reachesRegistry: this.tenure.reachesRegistry };
  }

  get inheritance(): FleetInheritance {
    const { group, member } = this.options.config;
    const { peers, startedAt_ms } = this;
    return { group, member, lease: this.tenure.lease, peers, startedAt_ms };
  }

  private tellStanding(standing: Standing): void {
    const now = performance.now();
    if (standing === 'joined') {
      if (this.lostAt_ms !== null) this.claimsFrom_ms = now + CLAIM_WAIT_MS;
      this.lostAt_ms = null;
      log.info('fleet: etcd acknowledges its lease again');
      this.wish();
      return;
    }
    this.lostAt_ms ??= now;
    log.warn(`fleet: ${STANDING_SENTENCES[standing]}`);
  }

  // -- its end ------------------------------------------------------------------------------------

  /** Others take what it owned, if they do so soon; what is left is free at once. Twice is fine. */
  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    const isHeard = this.tenure.standing === 'joined' && this.isRegistered;
    try {
      if (isHeard) await this.drain();
    } catch (error) {
      log.warn(`fleet: ends without handing over: ${messageOf(error)}`);
    }
    if (this.timer !== null) clearInterval(this.timer);
    this.isOver = true;
    this.tenure.close();
    if (!isHeard) this.etcd.close(); // nobody waits for what etcd would answer
    await this.passing;
    await this.service.clear().catch(() => {}); // the workers may be gone
    if (isHeard) await this.leave();
    await this.follower.close();
    this.etcd.close();
  }

  /** What it owned is free at once, and nobody thinks that it may serve still. */
  private async leave(): Promise<void> {
    try {
      await this.tenure.release();
      await this.registration.leave();
    } catch (error) {
      log.warn(`fleet: others take what it owned once its lease has ended: ${messageOf(error)}`);
    }
  }

  private tellDrained(): void {
    if (!this.isDrained) this.options.onDrained();
    this.isDrained = true;
  }

  /** Whoever may take what it owns. */
  private get heirs(): readonly string[] {
    const others = [...this.mirror.members].filter(([, { isDraining }]) => !isDraining);
    return others.map(([name]) => name).filter((name) => name !== this.options.config.member);
  }

  private async drain(): Promise<void> {
    this.relays.warn();
    if (this.heirs.length === 0) return;
    await this.registration.setDraining(this.tenure.lease);
    const deadline_ms = performance.now() + DRAIN_MS_MAX;
    while (!isFree(this.view) && this.heirs.length > 0) {
      if (performance.now() > deadline_ms) {
        log.warn(`fleet: not all was taken over within ${DRAIN_MS_MAX / 1000} s`);
        return;
      }
      this.wish();
      await sleep(20);
    }
  }
}
