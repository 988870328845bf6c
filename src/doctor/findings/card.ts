/** What the card's driver offers, and its settings that XDP and AF_XDP do not go with. */
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import type { Mode } from '../../domain/statistics.js';
import { zeroCopyFault } from '../../replicator/plan/checks.js';
import { mtuMaxOf } from '../../replicator/plan/driver-facts.js';
import { isSocket, type NetworkSubject } from '../subject.js';

/** enum netdev_xdp_act of linux/netdev.h. */
const ACT = { basic: 1, redirect: 2, ndoXmit: 4, zeroCopy: 8 } as const;
/** What joins several datagrams to one before the XDP program of mode skb sees them. */
const MERGING = ['large-receive-offload', 'rx-gro-hw', 'rx-gro-list', 'rx-udp-gro-forwarding'];
const SENDS_UNFILLED = /^tx-checksum-(ip-generic|ipv4)$/;
const VLAN_STRIPPED = 'rx-vlan-hw-parse';
/** What DPDK's AF_XDP guide advises with preferred busy polling. */
const DEFER_HARD_IRQS = 2;
const FLUSH_TIMEOUT_NS = 200_000;

export const CARD_KINDS = {
  xdp_native: {
    level: 'better',
    why: "zero copy and copy are native XDP; without, there is mode skb, behind the kernel's own work for each frame",
    cure: 'ethtool -L {interface} rx {queues}',
    isOfNetwork: true,
    instead: 'the driver has none, or not with these settings: --mode skb, or another card',
  },
  zero_copy_missing: {
    level: 'must',
    why: 'a named mode does not fall back',
    flags: '--mode auto',
  },
  bulk_target: {
    level: 'better',
    why: 'bulk transmit redirects frames to the device, and this one takes none',
    cure: 'ethtool -K {peer} gro on',
    isOfNetwork: true,
    instead: 'of a veth the other end needs GRO, where that is: ethtool -K ITS_NAME gro on',
  },
  mtu_driver: {
    level: 'better',
    why: 'the driver takes no XDP program with frames that are longer',
    cure: 'ip link set dev {interface} mtu {mtu}',
    isOfNetwork: true,
  },
  offload_merges: {
    level: 'better',
    why: 'drivers refuse XDP with it, or datagrams come joined and leave the fast path to be cut apart',
    cure: 'ethtool -K {interface} {offloads}',
    isOfNetwork: true,
    instead: 'the driver does not let it be switched off',
  },
  offload_vlan: {
    level: 'better',
    why: 'the tag is gone before XDP looks: a packet of a VLAN passes for one of the feed',
    cure: 'ethtool -K {interface} rxvlan off',
    isOfNetwork: true,
    instead: 'the driver does not let it be switched off',
  },
  offload_checksum: {
    level: 'better',
    why: 'in mode skb a checksum that is not filled in may stand over several datagrams, so those go the slow path',
    cure: 'ethtool -K {peer} tx off',
    isOfNetwork: true,
  },
  napi_timers: {
    level: 'better',
    why: "only with both are the card's interrupts put off while --busy-poll polls",
    cure: `echo ${DEFER_HARD_IRQS} > /sys/class/net/{interface}/napi_defer_hard_irqs; echo ${FLUSH_TIMEOUT_NS} > /sys/class/net/{interface}/gro_flush_timeout`,
    isOfNetwork: true,
  },
} as const satisfies Kinds;

const find = finder(CARD_KINDS);

/** All of them; null: the kernel does not tell. */
const has = ({ network }: NetworkSubject, bits: number): boolean | null =>
  network.card.xdp === null ? null : (network.card.xdp.xdp & bits) === bits;

const levelIf = (isNamed: boolean) => ({ level: isNamed ? 'must' : 'better' }) as const;

const isNamed = ({ config }: NetworkSubject, ...modes: Mode[]) =>
  (modes as string[]).includes(config.mode);

/** Of a veth the kernel wants an RX queue for each TX queue of the other end. */
export function checkNative(subject: NetworkSubject): Finding | null {
  if (has(subject, ACT.basic | ACT.redirect) !== false || isNamed(subject, 'skb')) return null;
  if (isSocket(subject)) return null;
  const { name, driver, rx_queues, queues_max } = subject.network.link;
  const level = levelIf(subject.config.mode !== 'auto');
  const isShort = driver === 'veth' && rx_queues < queues_max;
  const what = `${driver || 'the driver'} offers no native XDP on ${name}`;
  if (!isShort) return find('xdp_native', what, level);
  const why = `${what} with ${rx_queues} RX queues, fewer than the other end sends on`;
  return find('xdp_native', why, { ...level, interface: name, queues: queues_max });
}

export function checkZeroCopyOffered(subject: NetworkSubject): Finding | null {
  if (!isNamed(subject, 'zerocopy') || has(subject, ACT.zeroCopy) !== false) return null;
  const { driver } = subject.network.link;
  return find('zero_copy_missing', `${driver} has no zero copy, as the kernel tells`);
}

/** A sentence for who has it, or does not miss it. */
export function zeroCopyText(subject: NetworkSubject): string | null {
  if (isSocket(subject)) return null;
  const { xdp } = subject.network.card;
  const fault = zeroCopyFault(subject.observed);
  if (fault !== null) return `passed over by --mode auto: ${fault}`;
  if (xdp === null) return 'the kernel does not tell (it does since Linux 6.3); up tries it';
  if (!has(subject, ACT.zeroCopy)) return 'not with this driver, as the kernel tells; copy instead';
  return `offered, ${xdp.segments_max} segment${xdp.segments_max === 1 ? '' : 's'} a packet at most`;
}

export function checkBulkTarget(subject: NetworkSubject): Finding | null {
  const { config, network } = subject;
  if (config.transmit === 'ring' || has(subject, ACT.ndoXmit) !== false) return null;
  const level = levelIf(config.transmit === 'bulk');
  const peer = network.device.peer;
  const what = `${network.link.name} takes no frames that a program sends`;
  return find('bulk_target', what, { ...level, ...(peer === null ? {} : { peer }) });
}

export function checkDriverMtu({ config, network }: NetworkSubject): Finding | null {
  const { driver, mtu, name } = network.link;
  const most = mtuMaxOf(driver);
  if (config.mode === 'socket' || most === null || mtu <= most) return null;
  const what = `the MTU of ${name} is ${mtu}, and XDP of ${driver} takes ${most} at most`;
  return find('mtu_driver', what, {
    interface: name,
    mtu: most,
    ...levelIf(config.mode !== 'auto'),
  });
}

export function checkMerging(subject: NetworkSubject): Finding | null {
  const { link, card } = subject.network;
  const merging = card.features.filter(({ name }) => MERGING.includes(name));
  if (merging.length === 0 || isSocket(subject)) return null;
  const what = `${link.name} joins datagrams: ${merging.map(({ name }) => name).join(', ')}`;
  const isFixed = merging.some(({ changeable }) => !changeable);
  const offloads = merging.map(({ name }) => `${name} off`).join(' ');
  return find('offload_merges', what, isFixed ? {} : { interface: link.name, offloads });
}

export function checkVlan(subject: NetworkSubject): Finding | null {
  const { link, card, device } = subject.network;
  const stripping = card.features.find(({ name }) => name === VLAN_STRIPPED);
  if (stripping === undefined || device.vlans.length === 0 || isSocket(subject)) return null;
  const what = `${link.name} takes VLAN tags off, and carries ${device.vlans.join(', ')}`;
  return find('offload_vlan', what, stripping.changeable ? { interface: link.name } : {});
}

export function checkChecksum({ config, network }: NetworkSubject): Finding | null {
  const { peer, device } = network;
  if (config.mode !== 'skb' || peer === null || device.peer === null) return null;
  if (!peer.features.some(({ name }) => SENDS_UNFILLED.test(name))) return null;
  const what = `the other end, ${device.peer}, leaves UDP checksums to be filled in`;
  return find('offload_checksum', what, { peer: device.peer });
}

export function checkTimers({ config, network }: NetworkSubject): Finding | null {
  const { deferHardIrqs, groFlushTimeout_ns } = network.device;
  if (!config.busyPoll || (deferHardIrqs > 0 && groFlushTimeout_ns > 0)) return null;
  const { name } = network.link;
  const what = `napi_defer_hard_irqs of ${name} is ${deferHardIrqs}, gro_flush_timeout ${groFlushTimeout_ns}`;
  return find('napi_timers', what, { interface: name });
}
