/** What else has a hand in the interface: bridges, rules of the host, other processes. */
import { isMulticast } from '../../domain/endpoint.js';
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import { portTaken } from '../../feeds/sockets.js';
import { checkProgram } from '../../replicator/plan/checks.js';
import { isSocket, type NetworkSubject } from '../subject.js';

export const SURROUNDINGS_KINDS = {
  port_of_bridge: {
    level: 'must',
    why: 'what XDP passes goes there, not to this host, and copies leave beside it: a card of its own, or out of it',
    cure: 'ip link set dev {interface} nomaster',
    isOfNetwork: true,
  },
  no_arp: {
    level: 'better',
    why: 'no MAC address of a subscriber is found out but by hand, and nobody finds out ours',
    cure: 'ip link set dev {interface} arp on',
    isOfNetwork: true,
  },
  no_multicast: {
    level: 'must',
    why: 'the kernel says no IGMP there, so no switch sends the group here',
    cure: 'ip link set dev {interface} multicast on',
    isOfNetwork: true,
  },
  rp_filter: {
    level: 'better',
    why: 'it does not hold for what AF_XDP takes: only what comes the slow path would be dropped by it',
    cure: 'sysctl -w net/ipv4/conf/{interface}/rp_filter=2',
    isOfNetwork: true,
  },
  netfilter: {
    level: 'better',
    why: 'it does not hold for what AF_XDP takes: what it drops is replicated all the same',
    instead:
      'choose by a source (--feed NAME=IP:PORT@SOURCE) or by a filter what is not to be replicated',
  },
  orphan: {
    level: 'better',
    why: 'nobody answers control, and no process is replaced; fantail up with the same words takes it over, this line ends it',
    cure: '{program} clean {interface}',
  },
} as const satisfies Kinds;

const find = finder(SURROUNDINGS_KINDS);

export function checkMaster({ network }: NetworkSubject): Finding | null {
  const { name } = network.link;
  const { master } = network.device;
  if (master === null) return null;
  return find('port_of_bridge', `${name} is a port of ${master}`, { interface: name });
}

export function checkArp({ network: { link, card } }: NetworkSubject): Finding | null {
  if (card.arp || link.loopback) return null;
  return find('no_arp', `ARP is off on ${link.name}`, { interface: link.name });
}

export function checkMulticast({ feeds, network: { link, card } }: NetworkSubject): Finding | null {
  const groups = feeds.filter(({ ip }) => isMulticast(ip)).map(({ ip }) => ip);
  if (card.multicast || groups.length === 0) return null;
  const what = `multicast is off on ${link.name}, and the feed is sent to ${groups.join(', ')}`;
  return find('no_multicast', what, { interface: link.name });
}

/**
 * Loose (2) drops only what no route leads back to, by any interface. The larger of `all` and the
 * interface's own holds, so 2 of its own does whatever `all` is (ip-sysctl.rst).
 */
export function checkRpFilter(subject: NetworkSubject): Finding | null {
  const { rpFilter, link } = subject.network;
  if (rpFilter !== 1 || isSocket(subject)) return null;
  return find('rp_filter', `rp_filter is strict on ${link.name}`, { interface: link.name });
}

export function checkNetfilter(subject: NetworkSubject): Finding | null {
  const { chains } = subject.network;
  if (chains === null || chains.length === 0 || isSocket(subject)) return null;
  return find('netfilter', `netfilter looks at what comes in: ${chains.join(', ')}`);
}

export function checkOrphans({ network, program }: NetworkSubject): Finding | null {
  const { orphans, link } = network;
  if (orphans.length === 0) return null;
  const what = `a data plane without a supervisor serves ${link.name} (pid ${orphans.join(', ')})`;
  return find('orphan', what, { program, interface: link.name });
}

/** Socket mode has no quarrel with it. */
export function checkForeign(subject: NetworkSubject): Finding | null {
  const { program, programHolder, isServed, orphans } = subject.network;
  if (program === null || isServed || orphans.length > 0 || isSocket(subject)) return null;
  return checkProgram(subject.config, program, programHolder);
}

export function checkPorts({ network: { ports, orphans } }: NetworkSubject): Finding[] {
  if (orphans.length > 0) return [];
  return ports.filter(({ isTaken }) => isTaken).map((port) => portTaken(port, port.holder));
}
