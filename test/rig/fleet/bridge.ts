/**
 * The test network of a group: hosts, each a namespace of its own, on one bridge, which has a
 * namespace, too. Everything goes when the test process ends.
 *
 *   namespace ff<pid>x<n>b        bridge0: floods groups to all, as a switch that snoops on no IGMP
 *   │      │      │      │
 *   m1     m2     e1     s1       ff<pid>x<n>m1 …: a host with its interface and its addresses
 *
 * What two hosts say to each other can be cut while both stay on the network, and a host can lose
 * its link. The cut is made in the bridge (nftables), so that neither side is told: packets are
 * lost, as they are behind a switch that has failed.
 */
import { existsSync } from 'node:fs';
import { atEnd, lackForNetwork, lackForProgram, run } from '../program.js';

const PREFIX_LENGTH = 24;
/** Pairs of addresses that do not hear each other. */
const CUTS = `table bridge partition {
  set cut { type ipv4_addr . ipv4_addr; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr . ip daddr @cut drop
  }
}`;

export interface HostOptions {
  /** Short: a device of the bridge has it in its name. */
  readonly name: string;
  readonly interface: string;
  /** In the bridge's subnet; the first is the host's own. */
  readonly ips: readonly string[];
}

export interface Host extends HostOptions {
  readonly namespace: string;
  readonly ip: string;
}

let bridges = 0;

/** Why there can be none here, or null. */
export const lackForBridge = (): string | null =>
  lackForNetwork() ?? lackForProgram('nft', () => existsSync('/usr/sbin/nft'), 'nftables');

export class Bridge {
  readonly close: () => void;
  private readonly name = `ff${process.pid}x${bridges++}`;
  private readonly namespace = `${this.name}b`;
  private readonly namespaces: string[] = [];

  constructor() {
    this.close = atEnd(() => {
      for (const namespace of this.namespaces.reverse()) run('ip', ['netns', 'del', namespace]);
    });
    this.addNamespace(this.namespace);
    this.ip(
      'link set lo up',
      'link add bridge0 type bridge mcast_snooping 0',
      'link set bridge0 up',
    );
    this.nft(CUTS);
  }

  addHost(options: HostOptions): Host {
    const { name, interface: device, ips } = options;
    const namespace = `${this.name}${name}`;
    this.addNamespace(namespace);
    this.ip(
      `link add ${name} type veth peer name ${device} netns ${namespace}`,
      `link set ${name} master bridge0`,
      `link set ${name} up`,
    );
    ipIn(
      namespace,
      'link set lo up',
      ...ips.map((ip) => `addr add ${ip}/${PREFIX_LENGTH} dev ${device}`),
      `link set ${device} up`,
    );
    return { ...options, namespace, ip: ips[0] ?? '' };
  }

  /** From now on nothing passes between one host and those, either way. */
  cut(one: Host, others: readonly Host[]): void {
    const pairs = others
      .filter((other) => other !== one)
      .flatMap((other) => [`${one.ip} . ${other.ip}`, `${other.ip} . ${one.ip}`]);
    this.nft(`add element bridge partition cut { ${pairs.join(', ')} }`);
  }

  /** All that was cut. */
  heal(): void {
    this.nft('flush set bridge partition cut');
  }

  /** A host's cable: pulled, its interface has no carrier. */
  setCable(host: Host, word: 'in' | 'out'): void {
    this.ip(`link set ${host.name} ${word === 'in' ? 'up' : 'down'}`);
  }

  /**
   * Frames that devices of the bridge lost so far: no fault of a replicator; none while all cables
   * are in and nobody sends in floods.
   */
  drops(): number {
    const rows: unknown = JSON.parse(run('ip', ['-n', this.namespace, '-j', '-s', '-s', 'link']));
    const stats = (rows as { stats64: Record<'rx' | 'tx', { dropped: number }> }[]).map(
      (row) => row.stats64, // ip's format
    );
    return stats.reduce((sum, { rx, tx }) => sum + rx.dropped + tx.dropped, 0);
  }

  private addNamespace(namespace: string): void {
    run('ip', ['netns', 'add', namespace]);
    this.namespaces.push(namespace);
    // Its neighbour discovery would be noise in the counters.
    run('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1']);
  }

  private ip(...commands: string[]): void {
    ipIn(this.namespace, ...commands);
  }

  private nft(script: string): void {
    run('ip', ['netns', 'exec', this.namespace, 'nft', '-f', '-'], `${script}\n`);
  }
}

function ipIn(namespace: string, ...commands: string[]): void {
  run('ip', ['-n', namespace, '-batch', '-'], `${commands.join('\n')}\n`);
}
