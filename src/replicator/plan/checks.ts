/**
 * What stands in the way of a replicator or makes it worse, as far as it shows before anything is
 * opened: `up` refuses the first that it cannot do with and warns of the others, `doctor` lists all
 * of them, in the same words. Pure: what was asked and what was observed in, a finding or null out.
 */
import { isMulticast } from '../../domain/endpoint.js';
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import { type Holder, pidOf } from '../../feeds/sockets.js';
import type { Interface, XdpProgram } from '../../memory/addon.js';
import { limits } from '../../memory/layout.js';
import type { Config } from '../config.js';
import { broadcastOf } from '../destinations.js';
import type { Observed } from './deployment.js';
import { faultOfBulk, faultOfZeroCopy } from './driver-facts.js';

/** The limited broadcast address (RFC 919). */
const ALL = '255.255.255.255';
const ETHERNET_SIZE = 14;
/** A frame less the headroom that XDP leaves (XDP_PACKET_HEADROOM, 256) and the Ethernet header. */
export const MTU_MAX = limits.FRAME_SIZE - 256 - ETHERNET_SIZE;
/** What a frame holds that the kernel makes for bulk transmit. */
export const BULK_MTU_MAX = limits.BULK_LENGTH_MAX - ETHERNET_SIZE;
/** The largest that every common NIC's XDP takes: ENA's limit. */
const MTU_ADVICE = 3498;

export const CHECK_KINDS = {
  zero_copy_fault: {
    level: 'better',
    why: '`auto` passes zero copy over there, since it is worse than none',
    flags: '--mode auto',
  },
  link_down: {
    level: 'must',
    why: 'nothing is received and nothing is sent',
    cure: 'ip link set dev {interface} up',
    isOfNetwork: true,
    instead: 'it is switched on: plug the cable in, or switch the other end on',
  },
  no_address: {
    level: 'must',
    why: 'AF_XDP builds whole frames, and copies need an address to come from',
    cure: 'ip addr add {ip}/24 dev {interface}',
    isOfNetwork: true,
    instead: 'give it an address: ip addr add ADDRESS/PREFIX dev {interface}',
  },
  listen_address: {
    level: 'must',
    why: 'the kernel would answer no ARP for it, and so the feed goes elsewhere',
    cure: 'ip addr add {ip}/32 dev {interface}',
    isOfNetwork: true,
    flags: '{promiscuous}',
    flagsIf: "if it is another host's",
  },
  promiscuous_impossible: {
    level: 'must',
    why: 'frames to other hosts are taken off the wire or not at all: the kernel delivers none of them',
    instead: 'it takes a network interface and --mode auto, zerocopy, copy or skb',
  },
  queues_many: {
    level: 'must',
    why: `one launcher serves ${limits.QUEUES_MAX}; what the card hashes to others comes slower, by the kernel`,
    flags: '--queues {queues}',
  },
  queue_range: {
    level: 'must',
    why: 'a socket on a queue that is not active receives nothing, and makes some kernels oops',
    cure: 'ethtool -L {interface} {channels}',
    isOfNetwork: true,
    instead:
      'it cannot have as many; a veth gets more when it is made: numrxqueues N numtxqueues N',
  },
  queue_unserved: {
    level: 'better',
    why: "the kernel's way is slower, and loses where the fast path would not",
    cure: 'ethtool -K {interface} ntuple on; ethtool -N {interface} flow-type udp4 dst-ip {ip} dst-port {port} action {queue}',
    isOfNetwork: true,
    flags: '--queues all',
  },
  workers_many: {
    level: 'must',
    why: 'each worker owns the TX queue of its number',
    flags: '--workers {queues}',
  },
  mtu_frame: {
    level: 'must',
    why: 'a packet must fit one frame of the shared memory',
    cure: `ip link set dev {interface} mtu ${MTU_ADVICE}`,
    isOfNetwork: true,
  },
  mtu_bulk: {
    level: 'better',
    why: 'a frame that the kernel makes for bulk transmit holds no more; longer ones end as too_big',
    cure: `ip link set dev {interface} mtu ${BULK_MTU_MAX}`,
    isOfNetwork: true,
    flags: '--transmit ring',
  },
  bulk_impossible: {
    level: 'must',
    why: '--transmit bulk sends that way or not at all',
    flags: '--transmit ring',
  },
  bulk_unmeasured: {
    level: 'better',
    why: 'the pool of each call lives on until the driver is done: tried up to some hundred calls a second',
    flags: '--transmit auto',
  },
  xdp_foreign: {
    level: 'must',
    why: 'an interface has one XDP program, and that one decides what fantail would see',
    cure: 'ip link set dev {interface} {keyword} off',
    isOfNetwork: true,
    instead: 'stop the process that holds it',
  },
  xdp_held: {
    level: 'must',
    why: 'a process holds that program: no `ip link` removes it, its end does',
    cure: 'kill {pid}',
    instead: "stop that process (if it is fantail's: pgrep -af fantail-rx)",
  },
} as const satisfies Kinds;

const find = finder(CHECK_KINDS);

/** What is known against zero copy on that driver, or null. */
export function zeroCopyFault({
  link,
  kernel,
  isModule,
}: Pick<Observed, 'link' | 'kernel' | 'isModule'>): string | null {
  if (link === null) return null;
  return faultOfZeroCopy({ name: link.driver, version: link.driver_version, kernel, isModule });
}

/** `auto` heeds it, so only who names the mode is told. */
export function checkZeroCopy({ mode }: Pick<Config, 'mode'>, observed: Observed): Finding | null {
  const fault = zeroCopyFault(observed);
  return mode === 'zerocopy' && fault !== null ? find('zero_copy_fault', fault) : null;
}

/** A carrier that is missing on one that is switched on no line of this host brings back. */
export function checkLink(
  { interfaceName }: Pick<Config, 'interfaceName'>,
  link: Pick<Interface, 'up'> & { readonly enabled?: boolean },
): Finding | null {
  if (link.up) return null;
  const what = `${interfaceName} is down or has no carrier`;
  if (link.enabled === true) return find('link_down', what);
  return find('link_down', what, { interface: interfaceName });
}

/** AF_XDP builds whole frames: it needs an address to send from. */
export function checkOwnAddress(
  {
    interfaceName,
    listenIp,
    promiscuous,
  }: Pick<Config, 'interfaceName' | 'listenIp' | 'promiscuous'>,
  link: Pick<Interface, 'addresses'>,
): Finding | null {
  if (link.addresses.length > 0) return null;
  const what = `${interfaceName} has no IPv4 address to send from`;
  const isOurs = isHost(listenIp) && !promiscuous; // else it is another host's, or nobody's
  return find('no_address', what, {
    interface: interfaceName,
    ...(isOurs ? { ip: listenIp } : {}),
  });
}

/** Whether nothing that is sent there could be received. */
export function checkFeedAddress(
  { interfaceName, promiscuous }: Pick<Config, 'interfaceName' | 'promiscuous'>,
  ip: string,
  link: Pick<Interface, 'addresses' | 'others'>,
): Finding | null {
  if (isReceived(ip, link) || (promiscuous && isHost(ip))) return null;
  const what = `${ip} is neither an address of this host nor a multicast group, so the kernel receives nothing there`;
  const other = isHost(ip) ? { promiscuous: '--promiscuous' } : {};
  return find('listen_address', what, { ip, interface: interfaceName, ...other });
}

/** `noXdpBecause`: why there is no AF_XDP, or null. */
export function checkPromiscuous(
  { mode, interfaceName, promiscuous }: Pick<Config, 'mode' | 'interfaceName' | 'promiscuous'>,
  noXdpBecause: string | null,
): Finding | null {
  const why = mode === 'socket' ? 'in socket mode only what is for this host comes' : noXdpBecause;
  if (!promiscuous || why === null) return null;
  const what = `--promiscuous is not possible on ${interfaceName}: ${why}`;
  return find('promiscuous_impossible', what);
}

/**
 * Whether another host could have that address: not "this network", nor a loopback's (RFC 1122,
 * 3.2.1.3), nor multicast or above.
 */
function isHost(ip: string): boolean {
  const [first = 0] = ip.split('.').map(Number);
  return first > 0 && first < 224 && first !== 127;
}

/** Whether the kernel delivers what is sent there: to the host, to a group, or to all. */
export function isReceived(
  listenIp: string,
  { addresses, others }: Pick<Interface, 'addresses' | 'others'>,
): boolean {
  return (
    isMulticast(listenIp) ||
    listenIp === ALL ||
    addresses.some(({ ip, prefix }) => broadcastOf(`${ip}/${prefix}`) === listenIp) ||
    [...addresses, ...others].some(({ ip }) => ip === listenIp)
  );
}

export const activeQueues = (link: Interface | null): number =>
  link === null ? 1 : Math.min(link.rx_queues, link.tx_queues);

/** That the queues which were asked for are there, and not too many. */
export function checkQueues(
  { queues, interfaceName }: Pick<Config, 'queues' | 'interfaceName'>,
  link: Interface | null,
  isSocket: boolean,
): Finding | null {
  const active = activeQueues(link);
  if (queues === 'all') {
    if (isSocket || active <= limits.QUEUES_MAX) return null;
    const what = `${interfaceName} has ${active} queues; choose up to ${limits.QUEUES_MAX} with --queues`;
    return find('queues_many', what, { queues: `0-${limits.QUEUES_MAX - 1}` });
  }
  const beyond = Math.max(...queues);
  if (link === null || beyond < active) return null;
  const what = `queue ${beyond} is out of range: ${interfaceName} has ${active} active (0 to ${active - 1})`;
  const count = beyond + 1;
  const { combined, queues_max } = link;
  if (count > queues_max) return find('queue_range', what);
  const channels = combined ? `combined ${count}` : `rx ${count} tx ${count}`;
  return find('queue_range', what, { interface: interfaceName, channels });
}

/** `reached`: queues that the card may choose for the feed, where that is known. */
export function checkServed(
  {
    interfaceName,
    listenIp,
    listenPort,
  }: Pick<Config, 'interfaceName' | 'listenIp' | 'listenPort'>,
  link: Interface,
  {
    queues,
    reached = Array.from({ length: link.rx_queues }, (_, queue) => queue),
    takesRules,
  }: {
    readonly queues: readonly number[];
    readonly reached?: readonly number[];
    readonly takesRules: boolean;
  },
): Finding | null {
  const unserved = reached.filter((queue) => !queues.includes(queue));
  const [queue] = queues;
  if (unserved.length === 0 || queue === undefined) return null;
  const what =
    `queue ${unserved.join(', ')} of ${interfaceName} is not served here: what the card hashes to it ` +
    'comes by the kernel, unless another launcher serves it';
  const rule = { interface: interfaceName, ip: listenIp, port: listenPort, queue };
  return find('queue_unserved', what, takesRules ? rule : {});
}

export function checkWorkers({ workers }: Pick<Config, 'workers'>, queues: number): Finding | null {
  if (workers === null || workers <= queues) return null;
  const what = `--workers ${workers} is more than the ${queues} queues served; each worker owns one`;
  return find('workers_many', what, { queues });
}

export function checkMtu(
  { interfaceName }: Pick<Config, 'interfaceName'>,
  link: Pick<Interface, 'mtu'>,
): Finding | null {
  if (link.mtu <= MTU_MAX) return null;
  const what = `the MTU ${link.mtu} of ${interfaceName} does not fit a ${limits.FRAME_SIZE}-byte frame`;
  return find('mtu_frame', what, { interface: interfaceName });
}

export function checkBulkMtu(
  { interfaceName, transmit }: Pick<Config, 'interfaceName' | 'transmit'>,
  link: Pick<Interface, 'mtu'>,
): Finding | null {
  if (transmit !== 'bulk' || link.mtu <= BULK_MTU_MAX) return null;
  const what = `--transmit bulk takes packets of up to ${BULK_MTU_MAX} bytes, and the MTU of ${interfaceName} is ${link.mtu}`;
  return find('mtu_bulk', what, { interface: interfaceName });
}

export function checkBulkDriver(
  { transmit }: Pick<Config, 'transmit'>,
  link: Pick<Interface, 'driver'>,
): Finding | null {
  const fault = faultOfBulk(link.driver);
  if (transmit !== 'bulk' || fault === null) return null;
  return find('bulk_unmeasured', `--transmit bulk: ${fault}`);
}

/** `fault`: what is in its way. */
export const bulkImpossible = (interfaceName: string, fault: string): Finding =>
  find('bulk_impossible', `--transmit bulk is not possible on ${interfaceName}: ${fault}`);

/**
 * A program that is nobody's whom this launcher knows. `holder`: who has it by a link, if known.
 */
export function checkProgram(
  { interfaceName }: Pick<Config, 'interfaceName'>,
  found: XdpProgram,
  holder: Holder | null = null,
): Finding {
  const name = found.name === '' ? '' : ` "${found.name}"`;
  const what = `XDP program ${found.id}${name} is attached to ${interfaceName}`;
  if (found.by_link === true) {
    const who = holder === null ? 'a running process' : `${holder.name} (pid ${holder.pid})`;
    return find('xdp_held', `${what} by ${who}`, pidOf(holder));
  }
  const keyword = { native: 'xdpdrv', generic: 'xdpgeneric', offload: 'xdpoffload' }[found.mode];
  // who may not look (that takes CAP_SYS_ADMIN) cannot tell which of the two it is
  const unless = found.by_link === null ? ' (if a process holds it, end that instead)' : '';
  return find('xdp_foreign', `${what}${unless}`, { interface: interfaceName, keyword });
}
