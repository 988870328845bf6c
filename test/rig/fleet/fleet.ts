/**
 * A whole fleet on one bridge: an etcd of some nodes, members, a feed that every member gets, and
 * one host with all subscribers.
 *
 *   10.78.0.0/24   .2 feed   .11 … etcd   .21 … members   .101 … subscribers   group 239.78.0.1
 */
import { eventually, Program } from '../program.js';
import { FEED_PORT, type Fed, LISTEN_PORT, type Route, startFeed, type Tool } from '../wire.js';
import { Bridge, type Host, lackForBridge } from './bridge.js';
import { Etcd, lackForEtcd } from './etcd.js';
import { Member } from './member.js';
import { accountsOf, newest, ownersOf, type Phase } from './oracle.js';
import { type Look, Served } from './served.js';

/** Every member listens to it: a switch gives all of them the same packets in the same order. */
export const FEED_GROUP = {
  ip: '239.78.0.1',
  mac: '01:00:5e:4e:00:01',
  port: LISTEN_PORT,
} as const;
/** Of each member, where a test has failed. */
const LINES_TOLD = 12;
export const SUBSCRIBER_PORT = 10_001;
const SIZE = 200;
const FEED_HOST = 2;
const FIRST_ETCD = 11;
const FIRST_MEMBER = 21;
const FIRST_SUBSCRIBER = 101;
/** More than any test sends. */
const PACKETS_MAX = 2 ** 40;
/** A copy has come that long after its packet was sent, unless it was lost. */
export const SETTLE_MS = 500;
/** A member whose worker has no core for so long is as good as one that lost what is missing. */
const QUIET_MS = 3000;

const address = (number: number) => `10.78.0.${number}`;

export interface FleetOptions {
  readonly etcd: number;
  readonly members: number;
  /** Addresses of the host of the subscribers, and how many are at each. */
  readonly subscribers: { readonly addresses: number; readonly each: number };
  /** Of a member's `up`. */
  readonly flags: (host: Host, etcd: Etcd) => readonly string[];
  readonly tokenFile?: string;
  /** Where a member listens; FEED_GROUP unless said. */
  readonly listen?: (host: Host) => { readonly ip: string; readonly port: number };
}

/** Why there can be none here, or null. */
export const lackForFleet = (): string | null => lackForBridge() ?? lackForEtcd();

export class Fleet {
  readonly bridge: Bridge;
  readonly etcd: Etcd;
  readonly etcdHosts: readonly Host[];
  readonly members: readonly Member[];
  private readonly feedHost: Host;
  private feed: Tool<Fed> | null = null;
  /** Packets a second of the feed. */
  private rate = 0;

  private constructor(
    options: FleetOptions,
    bridge: Bridge,
    readonly subscriberHost: Host,
    readonly served: Served,
  ) {
    this.bridge = bridge;
    const hosts = (count: number, letter: string, first: number, device: string) =>
      Array.from({ length: count }, (_, index) =>
        bridge.addHost({
          ...{ name: `${letter}${index + 1}`, interface: device },
          ips: [address(first + index)],
        }),
      );
    this.feedHost = bridge.addHost({ name: 'feed', interface: 'net0', ips: [address(FEED_HOST)] });
    this.etcdHosts = hosts(options.etcd, 'e', FIRST_ETCD, 'net0');
    this.etcd = new Etcd(this.etcdHosts);
    const { flags, tokenFile, listen = () => FEED_GROUP } = options;
    this.members = hosts(options.members, 'm', FIRST_MEMBER, 'rep0').map(
      (host) =>
        new Member({
          ...{ host, feed: listen(host), flags: flags(host, this.etcd) },
          ...(tokenFile === undefined ? {} : { tokenFile }),
        }),
    );
  }

  /** Everything but etcd, members and feed runs. */
  static async open(options: FleetOptions): Promise<Fleet> {
    const bridge = new Bridge();
    const { addresses, each } = options.subscribers;
    const ips = Array.from({ length: addresses }, (_, index) => address(FIRST_SUBSCRIBER + index));
    const host = bridge.addHost({ name: 'subs', interface: 'net0', ips });
    const ports = { first: SUBSCRIBER_PORT, count: each };
    const served = await Served.start({ host, ports, feedPort: FEED_GROUP.port, size: SIZE });
    return new Fleet(options, bridge, host, served);
  }

  get subscribers(): readonly { readonly ip: string; readonly port: number }[] {
    return this.served.subscribers;
  }

  /** Begins to send, open loop, sequences from 0 on. */
  startFeed(rate: number): void {
    const { namespace, interface: device, ip } = this.feedHost;
    this.rate = rate;
    const route: Route = {
      start: (_, command, args) => new Program(command, args, { namespace }),
      feedInterface: device,
      sinkInterface: device,
      feedIp: ip,
      targetMac: FEED_GROUP.mac,
      targetIp: FEED_GROUP.ip,
      sourceMacs: [],
      sourceIp: ip,
      sourcePort: FEED_PORT,
    };
    this.feed = startFeed(route, { rate, count: PACKETS_MAX, sizes: String(SIZE) });
  }

  /** Does something while the feed has another rate; each begins with the sequence 0. */
  async atRate(rate: number, work: () => Promise<void>): Promise<void> {
    const before = this.rate;
    const turnTo = async (next: number) => {
      await this.stopFeed();
      await this.served.reset();
      this.startFeed(next);
    };
    await turnTo(rate);
    await work();
    await turnTo(before);
  }

  /** Stops sending; resolves with how many were sent, and what came of them. */
  async stopFeed(): Promise<{ readonly sent: number; readonly look: Look }> {
    if (this.feed === null) throw new Error('there is no feed');
    const { sent } = await this.feed.stop();
    this.feed = null;
    return { sent, look: await this.untilAll(sent - 1) };
  }

  /**
   * Does something while the feed runs: who served whom before it and after it, and what became of
   * each subscriber meanwhile. What was under way when it began, or is when it ends, is not judged.
   */
  async phase(work: () => Promise<void>): Promise<Phase> {
    const count = this.subscribers.length;
    await eventually('everybody is served', async () => {
      const { runs } = await this.served.look();
      return new Set(runs.map(({ subscriber }) => subscriber)).size === count;
    });
    const before = await this.served.reset();
    const first = newest(before.runs) + this.settlePackets;
    await this.until(first);
    const began_ns = Number(process.hrtime.bigint());
    await work();
    // all of what was sent meanwhile is judged
    await this.until(newest((await this.served.look()).runs) + 2 * this.settlePackets);
    const last = newest((await this.served.look()).runs) - this.settlePackets;
    const look = await this.untilAll(last);
    const owed = { first, last };
    return {
      ...{ began_ns, owed, look, accounts: accountsOf(look.runs, count, owed) },
      ...{ before: ownersOf(before.runs, count), after: ownersOf(look.runs, count) },
    };
  }

  /** Until it has come to each subscriber; who has had nothing for QUIET_MS is not waited for. */
  private async untilAll(sequence: number): Promise<Look> {
    const { served, subscribers } = this;
    const newestOf = ({ runs }: Look) => {
      const found = subscribers.map(() => -1);
      for (const { subscriber, last } of runs)
        found[subscriber] = Math.max(found[subscriber] ?? -1, last);
      return found;
    };
    let [look, came_ms] = [await served.look(), Date.now()];
    let before = newestOf(look);
    for (;;) {
      const isBehind = before.map((each) => each < sequence);
      if (!isBehind.includes(true) || Date.now() - came_ms > QUIET_MS) return look;
      look = await served.look();
      const now = newestOf(look);
      if (now.some((each, i) => isBehind[i] && each > (before[i] ?? 0))) came_ms = Date.now();
      before = now;
    }
  }

  /** Of the feed in SETTLE_MS. */
  private get settlePackets(): number {
    return Math.ceil((this.rate * SETTLE_MS) / 1000);
  }

  private async until(sequence: number): Promise<void> {
    await eventually(`sequence ${sequence} has come`, async () => {
      return newest((await this.served.look()).runs) >= sequence;
    });
  }

  /** `fantail …` or another program where the subscribers are: neither a member nor a node. */
  run(command: string, args: readonly string[]): Program {
    return new Program(command, args, { namespace: this.subscriberHost.namespace });
  }

  /** What every member has said last: for messages. */
  told(): string {
    return this.members
      .map((member) => {
        const lines = member.told().trimEnd().split('\n');
        return [`--- ${member.host.name}:`, ...lines.slice(-LINES_TOLD)].join('\n');
      })
      .join('\n');
  }

  close(): void {
    this.feed?.program.close();
    for (const member of this.members) member.close();
    this.served.close();
    this.etcd.close();
    this.bridge.close();
  }
}
