/**
 * The test network: two namespaces and one veth pair between them. The replicator has `rep0`; a
 * feed, the subscribers and every other host are addresses on `net0`. Everything goes when the test
 * process ends.
 *
 *   namespace ft<pid>r               namespace ft<pid>n
 *   rep0  10.77.0.1/24  <── veth ──>  net0  10.77.0.2/24 (feed), .101 … .108 (subscribers)
 *                                           .111 … .118: neighbours with a MAC each, which are on
 * no interface
 *
 * Copies to neighbours that are on no interface are frames for other machines to net0's kernel, but
 * a packet socket sees them: so each subscriber can have a MAC of its own.
 */

import { atEnd, type Options, Program, run } from './program.js';

export const REPLICATOR_IP = '10.77.0.1';
export const FEED_IP = '10.77.0.2';
/** Hosts that answer ARP, all with net0's MAC. */
export const HOSTS = Array.from({ length: 8 }, (_, index) => `10.77.0.${101 + index}`);
export interface Neighbour {
  readonly ip: string;
  readonly mac: string;
}

/** Hosts that are entries in rep0's neighbour table only. */
export const NEIGHBOURS: readonly Neighbour[] = Array.from({ length: 8 }, (_, index) => ({
  ip: `10.77.0.${111 + index}`,
  mac: `02:77:00:00:00:${(0x6f + index).toString(16)}`,
}));
/** Their entries, as `ip` makes them; they go when rep0 is switched off. */
const NEIGHBOURHOOD = NEIGHBOURS.map(
  ({ ip, mac }) => `neigh replace ${ip} lladdr ${mac} dev rep0 nud permanent`,
);
/** A multicast group, and the MAC of its frames (RFC 1112, 6.4). */
export const GROUP = { ip: '239.205.1.2', mac: '01:00:5e:4d:01:02' } as const;
/** An address of the subnet that nobody answers for. */
export const NOBODY_IP = '10.77.0.250';
/** The largest MTU with which veth takes an XDP program that does not know of fragments. */
export const MTU_MAX = 3498;

export interface LinkOptions {
  readonly queues: number;
  /** Of rep0. */
  readonly mtu?: number;
  /** Of net0, where frames come from that rep0 should not send on; absent: the same. */
  readonly netMtu?: number;
  /** net0 takes what ndo_xdp_xmit sends: a veth without an XDP program does if it has GRO. */
  readonly netGro?: boolean;
  /** Devices of this machine that are one wire, to be rep0 and net0 instead of a veth pair. */
  readonly devices?: readonly [string, string];
}

const SIDES = ['replicator', 'net'] as const;
type Side = (typeof SIDES)[number];
/** Frames that a device lost, as ip tells. */
type Losses = Record<'rx' | 'tx', { readonly dropped: number; readonly errors: number }>;

/** A card takes seconds to find its link. */
const UNTIL_CARRIER = `for try in $(seq 300); do
  ip netns exec "$1" grep -q 1 /sys/class/net/rep0/carrier && exit; sleep 0.1
done; exit 1`;

let links = 0;

export class Link {
  /** Namespaces. */
  readonly replicator: string;
  readonly net: string;
  readonly interface = 'rep0';
  readonly replicatorMac: string;
  readonly netMac: string;
  /** Ends what `start` has started, and removes the namespaces. */
  readonly close: () => void;
  /** Left running they would keep the test's process from its end. */
  private readonly programs: Program[] = [];
  /** A card of the machine has lost some in its life. */
  private readonly before: Record<Side, Losses>;

  constructor(readonly options: LinkOptions) {
    const name = `ft${process.pid}x${links++}`;
    this.replicator = `${name}r`;
    this.net = `${name}n`;
    this.close = atEnd(() => {
      for (const program of this.programs) program.close();
      this.giveBack();
      for (const namespace of [this.replicator, this.net]) {
        try {
          run('ip', ['netns', 'del', namespace]);
        } catch {
          // It was never made.
        }
      }
    });
    this.build();
    this.replicatorMac = this.macOf(this.replicator, 'rep0');
    this.netMac = this.macOf(this.net, 'net0');
    this.before = { replicator: this.lossesOf('replicator'), net: this.lossesOf('net') };
  }

  /** Starts a program on one side. */
  start(side: Side, command: string, args: readonly string[], options: Options = {}): Program {
    const program = new Program(command, args, { ...options, namespace: this[side] });
    this.programs.push(program);
    return program;
  }

  /** Runs `ip …` on one side. */
  ip(side: Side, ...args: string[]): string {
    return run('ip', ['-n', this[side], ...args]);
  }

  /** Switches rep0 off and on again. */
  flap(): void {
    this.switchOff();
    this.switchOn();
  }

  switchOff(): void {
    this.ip('replicator', 'link', 'set', 'rep0', 'down');
  }

  /** The kernel has forgotten the neighbours that are only entries. */
  switchOn(): void {
    const commands = ['link set rep0 up', ...NEIGHBOURHOOD];
    run('ip', ['-n', this.replicator, '-batch', '-'], `${commands.join('\n')}\n`);
    this.awaitCarrier();
  }

  /** Of net0: without it, it takes no frames that a program sends. */
  setGro(word: 'on' | 'off'): void {
    run('ip', ['netns', 'exec', this.net, 'ethtool', '-K', 'net0', 'gro', word]);
  }

  /** The XDP program on rep0 as `ip` names it, or null. */
  xdpProgram(): string | null {
    return (
      /prog\/xdp id (\d+)/.exec(this.ip('replicator', '-d', 'link', 'show', 'dev', 'rep0'))?.[1] ??
      null
    );
  }

  /** How many have put rep0 in promiscuous mode. */
  promiscuity(): number {
    const told = this.ip('replicator', '-d', 'link', 'show', 'dev', 'rep0');
    return Number(/promiscuity (\d+)/.exec(told)?.[1]);
  }

  /** Abstract sockets whose name holds `fantail`, in the replicator's namespace. */
  abstractSockets(): string[] {
    const table = run('ip', ['netns', 'exec', this.replicator, 'cat', '/proc/net/unix']);
    return table.split('\n').filter((row) => /@.*fantail/i.test(row));
  }

  /**
   * Frames that the link itself lost: not the replicator's fault, and no test may pass with any.
   */
  drops(): string[] {
    return SIDES.flatMap((side) => {
      const now = this.lossesOf(side);
      const before = this.before[side];
      return (['rx', 'tx'] as const).flatMap((way) => {
        const dropped = now[way].dropped - before[way].dropped;
        const errors = now[way].errors - before[way].errors;
        return dropped + errors > 0 ? [`${side} ${way}: ${dropped} dropped, ${errors} errors`] : [];
      });
    });
  }

  private lossesOf(side: Side): Losses {
    const rows: unknown = JSON.parse(
      this.ip(side, '-j', '-s', '-s', 'link', 'show', 'dev', this.deviceOf(side)),
    );
    const stats = (rows as { stats64: Losses }[])[0]?.stats64; // ip's format
    if (stats === undefined) throw new Error(`no ${this.deviceOf(side)} in ${this[side]}`);
    return stats;
  }

  private build(): void {
    for (const namespace of [this.replicator, this.net]) {
      run('ip', ['netns', 'add', namespace]);
      // Its neighbour discovery would be noise in the counters.
      run('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1']);
    }
    this.buildWire();
    const addresses = [FEED_IP, ...HOSTS].map((ip) => `addr add ${ip}/24 dev net0`);
    const up = (device: string) => ['link set lo up', `link set ${device} up`];
    const replicatorSide = [
      `addr add ${REPLICATOR_IP}/24 dev rep0`,
      ...up('rep0'),
      ...NEIGHBOURHOOD,
    ];
    run('ip', ['-n', this.replicator, '-batch', '-'], `${replicatorSide.join('\n')}\n`);
    run('ip', ['-n', this.net, '-batch', '-'], `${[...addresses, ...up('net0')].join('\n')}\n`);
    this.awaitCarrier();
  }

  private awaitCarrier(): void {
    if (this.options.devices !== undefined) run('sh', ['-c', UNTIL_CARRIER, 'sh', this.replicator]);
    if (this.options.netGro === true) this.setGro('on');
  }

  private buildWire(): void {
    const { queues, mtu = 1500, netMtu = mtu, devices } = this.options;
    const near = `name rep0 netns ${this.replicator} mtu ${mtu}`;
    const far = `name net0 netns ${this.net} mtu ${netMtu}`;
    const counts = `numrxqueues ${queues} numtxqueues ${queues}`;
    const commands =
      devices === undefined
        ? [`link add ${near} ${counts} type veth peer ${far} ${counts}`]
        : [
            ...devices.map((device) => `link set ${device} down`),
            `link set ${devices[0]} ${near}`,
            // else a card drops what is for the neighbours that are on no interface
            `link set ${devices[1]} ${far} promisc on`,
          ];
    run('ip', ['-batch', '-'], `${commands.join('\n')}\n`);
  }

  /** Devices of the machine get their names again, and their namespace: that of process 1. */
  private giveBack(): void {
    const { devices } = this.options;
    if (devices === undefined) return;
    for (const [side, name] of [
      [SIDES[0], devices[0]],
      [SIDES[1], devices[1]],
    ] as const) {
      try {
        this.ip(side, 'link', 'set', this.deviceOf(side), 'down', 'netns', '1', 'name', name);
      } catch {
        // It was never taken.
      }
    }
  }

  private deviceOf(side: Side): string {
    return side === 'replicator' ? this.interface : 'net0';
  }

  private macOf(namespace: string, device: string): string {
    return run('ip', [
      'netns',
      'exec',
      namespace,
      'cat',
      `/sys/class/net/${device}/address`,
    ]).trim();
  }
}
