/**
 * Where copies may be sent. A replicator is an amplifier, so a subscriber must be inside the
 * allowed subnets: a single host that is not fantail's own, or a group, which only `--allow` can
 * name. Pure.
 */
import type { NetworkInterfaceInfo } from 'node:os';
import ipaddr from 'ipaddr.js';
import type { Endpoint } from '../domain/endpoint.js';
import { FantailError } from '../domain/errors.js';
import type { Address } from '../memory/addon.js';

type Subnet = [ipaddr.IPv4, number];

export interface DestinationRules {
  /** The interface's own addresses. */
  readonly own: readonly Address[];
  /** Those of the host's other interfaces: a copy would not leave the host. */
  readonly others: readonly Address[];
  /** Subnets as `10.0.0.0/24`. */
  readonly allow: readonly string[];
  /** They are those of `--allow`: no default covers groups, however wide a subnet is. */
  readonly isExplicit: boolean;
}

/** Kinds of address that are no single host. */
const NO_HOST = new Set(['broadcast', 'unspecified', 'reserved']);
/** Groups of protocols that run a link; some of them every host listens to (RFC 5771, 4). */
const LINK_CONTROL: Subnet = [ipaddr.IPv4.parse('224.0.0.0'), 24];
/** From this prefix on a subnet has neither a broadcast address nor one of its own (RFC 3021). */
const PREFIX_POINT_TO_POINT = 31;

/** The broadcast address of a subnet as `10.0.0.0/24`; null if it has none. */
export function broadcastOf(cidr: string): string | null {
  if (Number(cidr.split('/')[1]) >= PREFIX_POINT_TO_POINT) return null;
  return ipaddr.IPv4.broadcastAddressFromCIDR(cidr).toString();
}

/** The two addresses of a subnet that are no host, and what each is. */
function noHostsOf(cidr: string): [string, string][] {
  const broadcast = broadcastOf(cidr);
  if (broadcast === null) return [];
  const subnet = subnetOf(cidr);
  const own = ipaddr.IPv4.networkAddressFromCIDR(cidr).toString();
  return [
    [own, `is the address of the subnet ${subnet}`],
    [broadcast, `is the broadcast address of the subnet ${subnet}`],
  ];
}

export class Destinations {
  private readonly allow: Subnet[];
  /** By address: why it is none of a host. */
  private readonly noHosts: ReadonlyMap<string, string>;

  constructor(private readonly rules: DestinationRules) {
    this.allow = rules.allow.map((subnet) => ipaddr.IPv4.parseCIDR(subnet));
    const subnets = [...rules.own.map(({ ip, prefix }) => `${ip}/${prefix}`), ...rules.allow];
    // of one that two subnets have, what the first says
    this.noHosts = new Map(subnets.reverse().flatMap(noHostsOf));
  }

  /** Throws NOT_ALLOWED with the rule that is broken. */
  check({ ip, port }: Endpoint): void {
    const why = this.refusal(ip);
    if (why !== null) throw new FantailError('NOT_ALLOWED', `${ip}:${port} ${why}`);
  }

  private refusal(ip: string): string | null {
    const { own, others, allow } = this.rules;
    const address = ipaddr.IPv4.parse(ip);
    const range = address.range();
    if (range === 'multicast') return this.refusalOfGroup(address);
    if (NO_HOST.has(range)) return `is a ${range} address; subscribers are single hosts`;
    if (own.some((mine) => mine.ip === ip)) return "is fantail's own address";
    if (others.some((other) => other.ip === ip)) return "is another address of fantail's own host";
    const noHost = this.noHosts.get(ip);
    if (noHost !== undefined) return noHost;
    if (this.isAllowed(address)) return null;
    return `is outside what is allowed (${allow.join(', ')}); see --allow`;
  }

  private refusalOfGroup(group: ipaddr.IPv4): string | null {
    if (group.match(LINK_CONTROL)) return 'is a group of the protocols that run a link (RFC 5771)';
    if (this.rules.isExplicit && this.isAllowed(group)) return null;
    const flags = [...this.rules.allow, `${group}/32`].map((subnet) => `--allow ${subnet}`);
    return `is a group, which has to be allowed: ${flags.join(' ')}`;
  }

  private isAllowed(address: ipaddr.IPv4): boolean {
    return this.allow.some((subnet) => address.match(subnet));
  }
}

/**
 * What may subscribe where --allow is not given: the subnets of the interface, 127.0.0.0/8 for a
 * loopback.
 */
export function defaultAllow(link: {
  readonly loopback: boolean;
  readonly addresses: readonly Address[];
}): string[] {
  if (link.loopback) return ['127.0.0.0/8'];
  return link.addresses.map(({ ip, prefix }) => subnetOf(`${ip}/${prefix}`));
}

/** The same for the interface `-`: the subnets of whichever interface has the listen address. */
export function defaultAllowOf(
  listenIp: string,
  interfaces: readonly NetworkInterfaceInfo[],
): string[] {
  const found = interfaces.filter(
    (each) => each.family === 'IPv4' && each.address === listenIp && !each.internal,
  );
  const subnets = found.flatMap(({ cidr }) => (cidr === null ? [] : [subnetOf(cidr)]));
  return subnets.length > 0 ? subnets : ['127.0.0.0/8'];
}

function subnetOf(cidr: string): string {
  return `${ipaddr.IPv4.networkAddressFromCIDR(cidr).toString()}/${cidr.split('/')[1]}`;
}
