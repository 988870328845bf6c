/**
 * Decides what runs where: modes to try, queues, workers, layout, cores. Pure: config and what was
 * observed in, a Deployment or a Failure with the cure out.
 */

import { isMulticast } from '../../domain/endpoint.js';
import { Failure } from '../../domain/errors.js';
import type { Mode, Stats } from '../../domain/statistics.js';
import type { Interface } from '../../memory/addon.js';
import { limits } from '../../memory/layout.js';
import type { Config } from '../config.js';
import { broadcastOf } from '../destinations.js';
import { faultOfBulk, faultOfZeroCopy } from './driver-facts.js';

export interface Observed {
  /** Null for the interface `-`. */
  readonly link: Interface | null;
  /** As `uname -r` has it. */
  readonly kernel: string;
  /** Whether the driver of `link` is a module, not part of the kernel's image. */
  readonly isModule: boolean;
  /** Effective capabilities of this process. */
  readonly capabilities: readonly string[];
  /** Whether a filter that stores where it may not is stopped there (filters/traps.ts). */
  readonly hasTrapHandler: boolean;
  /** Numbers of the cores that this process may run on. */
  readonly cores: readonly number[];
}

export interface Deployment {
  /** In order of preference; the last one's failure is final. */
  readonly modes: readonly Mode[];
  /** Modes that were ruled out before anything was opened. */
  readonly fallbacks: Stats['fallbacks'];
  readonly queues: readonly number[];
  readonly workers: number;
  readonly layout: 'inline' | 'split';
  /** Processes share cores and hand them over with sched_yield. */
  readonly yields: boolean;
  /** How workers are to send; both: bulk where it is possible. */
  readonly paths: { readonly ring: boolean; readonly bulk: boolean };
  /** With the ring alone: why. */
  readonly ringBecause: string;
  /** Bytes of IP packet. */
  readonly mtu: number;
  /** Core of the RX process and of each worker; null: wherever the kernel puts them. */
  readonly rxCpu: number | null;
  readonly workerCpus: readonly (number | null)[];
  /** Of each worker's pump (docs/bulk.md); null: it makes its calls in bulk itself. */
  readonly pumpCpus: readonly (number | null)[] | null;
  readonly warnings: readonly string[];
}

/** Major versions with which filters are checked, run, swapped and contained as they must. */
const NODES_TRIED = [20, 22, 24, 26];
/** The limited broadcast address (RFC 919). */
const ALL = '255.255.255.255';
/** What AF_XDP takes: sockets, programs and maps, and memory that stays. */
const NEEDED = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_IPC_LOCK'];
const XDP_MODES: readonly Mode[] = ['zerocopy', 'copy', 'skb'];
const WORKERS_DEFAULT_MAX = 8;
const ETHERNET_SIZE = 14;
/** A frame less the headroom that XDP leaves (XDP_PACKET_HEADROOM, 256) and the Ethernet header. */
export const MTU_MAX = limits.FRAME_SIZE - 256 - ETHERNET_SIZE;
/** What a frame holds that the kernel makes for bulk transmit. */
const BULK_MTU_MAX = limits.BULK_LENGTH_MAX - ETHERNET_SIZE;
/** The largest that every common NIC's XDP takes: ENA's limit. */
const MTU_ADVICE = 3498;

export function missingCapabilities(capabilities: readonly string[]): string[] {
  const has = new Set(capabilities);
  return NEEDED.filter(
    (name) => !has.has(name) && !(name === 'CAP_BPF' && has.has('CAP_SYS_ADMIN')),
  );
}

/** What is known against zero copy on that driver, or null. */
function zeroCopyFault({ link, kernel, isModule }: Observed): string | null {
  if (link === null) return null;
  return faultOfZeroCopy({ name: link.driver, version: link.driver_version, kernel, isModule });
}

/** Frames to other hosts are taken off the wire or not at all: the kernel delivers none of them. */
function checkPromiscuous({ mode, interfaceName }: Config, noXdpBecause: string | null): void {
  const why = mode === 'socket' ? 'in socket mode only what is for this host comes' : noXdpBecause;
  if (why === null) return;
  throw new Failure(
    `--promiscuous is not possible on ${interfaceName}: ${why}; it takes a network interface and ` +
      '--mode auto, zerocopy, copy or skb',
  );
}

/** Which modes to try, and which are out already. */
function modesOf(config: Config, observed: Observed) {
  const { mode, interfaceName, promiscuous } = config;
  const { link, capabilities } = observed;
  const missing = missingCapabilities(capabilities);
  let reason: string | null = null;
  if (link === null) reason = "the interface '-' is no link";
  else if (link.loopback) reason = 'a loopback has no link for AF_XDP';
  else if (missing.length > 0)
    reason = `AF_XDP takes ${missing.join(', ')}: run with sudo, or grant them to the service`;
  if (promiscuous) checkPromiscuous(config, reason);
  if (mode === 'auto') {
    if (reason === null) {
      const modes: Mode[] = promiscuous ? [...XDP_MODES] : [...XDP_MODES, 'socket'];
      const fault = zeroCopyFault(observed);
      if (fault === null) return { modes, fallbacks: [] };
      const passedOver = { mode: 'zerocopy' as const, reason: fault };
      return { modes: modes.filter((each) => each !== 'zerocopy'), fallbacks: [passedOver] };
    }
    const why = reason;
    return {
      modes: ['socket' as const],
      fallbacks: XDP_MODES.map((each) => ({ mode: each, reason: why })),
    };
  }
  if (mode !== 'socket' && reason !== null)
    throw new Failure(`--mode ${mode} is not possible on ${interfaceName}: ${reason}`);
  return { modes: [mode], fallbacks: [] };
}

function queuesOf(
  { queues, interfaceName }: Config,
  link: Interface | null,
  modes: readonly Mode[],
): number[] {
  const active = link === null ? 1 : Math.min(link.rx_queues, link.tx_queues);
  if (queues === 'all') {
    const count = modes[0] === 'socket' ? 1 : active;
    if (count > limits.QUEUES_MAX)
      throw new Failure(
        `${interfaceName} has ${active} queues; choose up to ${limits.QUEUES_MAX} with --queues`,
      );
    return Array.from({ length: count }, (_, i) => i);
  }
  const beyond = queues.find((queue) => queue >= active);
  if (beyond !== undefined && link !== null)
    throw new Failure(
      `queue ${beyond} is out of range: ${interfaceName} has ${active} active (0 to ${active - 1}); ` +
        `more with: ethtool -L ${interfaceName} combined ${beyond + 1}`,
    );
  return [...queues];
}

/** AF_XDP builds whole frames: it needs an address to send from. */
function checkAddress(
  { interfaceName, listenIp }: Config,
  link: Interface | null,
  modes: readonly Mode[],
): void {
  if (link === null || modes[0] === 'socket') return;
  if (link.addresses.length === 0)
    throw new Failure(
      `${interfaceName} has no IPv4 address to send from; give it one with: ` +
        `ip addr add ${listenIp}/24 dev ${interfaceName}`,
    );
}

/** Throws if nothing that is sent to the listen address could be received. */
export function checkListenAddress(
  config: Pick<Config, 'interfaceName' | 'listenIp' | 'promiscuous'>,
  link: Pick<Interface, 'addresses' | 'others'>,
): void {
  const why = checkFeedAddress(config, config.listenIp, link);
  if (why !== null) throw new Failure(why);
}

/** Why nothing that is sent there could be received, and what mends it; or null. */
export function checkFeedAddress(
  { interfaceName, promiscuous }: Pick<Config, 'interfaceName' | 'promiscuous'>,
  ip: string,
  link: Pick<Interface, 'addresses' | 'others'>,
): string | null {
  if (isReceived(ip, link) || (promiscuous && isHost(ip))) return null;
  const cure =
    `neither an address of this host nor a multicast group, so the kernel receives nothing there; ` +
    `give it to ${interfaceName} with: ip addr add ${ip}/32 dev ${interfaceName}`;
  const other = isHost(ip) ? ", or, if it is another host's, start fantail up --promiscuous" : '';
  return `${ip} is ${cure}${other}`;
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

/** What the card hashes to a queue that nobody serves goes the slow path. */
function unservedWarning(
  { interfaceName, listenIp, listenPort }: Config,
  link: Interface,
  queues: readonly number[],
): string | null {
  const all = Array.from({ length: link.rx_queues }, (_, queue) => queue);
  const unserved = all.filter((queue) => !queues.includes(queue));
  const [served] = queues;
  if (unserved.length === 0) return null;
  return (
    `queue ${unserved.join(', ')} of ${interfaceName} is not served here: what the card hashes to it comes ` +
    'by the kernel, slower, unless another launcher serves it; --queues all serves it, or let the ' +
    'card choose: ethtool -N ' +
    `${interfaceName} flow-type udp4 dst-ip ${listenIp} dst-port ${listenPort} action ${served}`
  );
}

function warningsOf(
  config: Config,
  observed: Observed,
  { queues, modes, share }: { queues: number[]; modes: readonly Mode[]; share: string | null },
): string[] {
  const { interfaceName, mode } = config;
  const { link } = observed;
  const major = Number.parseInt(process.versions.node, 10);
  const node = `fantail was never tried with Node ${major}; it was with ${NODES_TRIED.join(', ')}`;
  const fault = zeroCopyFault(observed);
  const bulk = link === null ? null : faultOfBulk(link.driver);
  const isSocket = modes[0] === 'socket' || link === null;
  const unserved = isSocket ? null : unservedWarning(config, link, queues);
  const down = `${interfaceName} is down or has no carrier; packets flow after: ip link set dev ${interfaceName} up`;
  return [
    ...(NODES_TRIED.includes(major) ? [] : [node]),
    ...(share === null ? [] : [share]),
    ...(link === null || link.up ? [] : [down]),
    ...(mode === 'zerocopy' && fault !== null ? [fault] : []),
    ...(unserved === null ? [] : [unserved]),
    ...(config.transmit === 'bulk' && bulk !== null ? [`--transmit bulk: ${bulk}`] : []),
    ...(config.transmit === 'bulk' && link !== null && link.mtu > BULK_MTU_MAX
      ? [`--transmit bulk takes packets of up to ${BULK_MTU_MAX} bytes; longer ones end as too_big`]
      : []),
  ];
}

/**
 * What is in the way of bulk transmit as far as it shows before anything is opened, or null.
 * Whether driver and kernel send so is found out by sending: native/rx/opening.cpp.
 */
function bulkFault(
  { mode }: Config,
  { capabilities }: Observed,
  possible: Pick<Deployment, 'modes' | 'fallbacks'>,
): string | null {
  if (mode !== 'auto' && mode !== 'copy')
    return `it is native XDP without zero copy: it goes with --mode copy, not ${mode}`;
  if (!possible.modes.includes('copy'))
    return possible.fallbacks[0]?.reason ?? 'there is no native XDP';
  if (!capabilities.includes('CAP_PERFMON') && !capabilities.includes('CAP_SYS_ADMIN'))
    return 'it takes CAP_PERFMON, too: run with sudo, or grant it to the service';
  return null;
}

/** Modes and ways to send: bulk leaves no mode but copy, `auto` takes it where nothing says no. */
function sendingOf(
  config: Config,
  observed: Observed,
): Pick<Deployment, 'modes' | 'fallbacks' | 'paths' | 'ringBecause'> {
  const possible = modesOf(config, observed);
  const byRing = (ringBecause: string) => {
    return { ...possible, paths: { ring: true, bulk: false }, ringBecause };
  };
  const { transmit, interfaceName } = config;
  if (transmit === 'ring') return byRing('--transmit ring');
  const fault = bulkFault(config, observed, possible);
  if (transmit === 'bulk') {
    if (fault !== null)
      throw new Failure(`--transmit bulk is not possible on ${interfaceName}: ${fault}`);
    return { modes: ['copy'], fallbacks: [], paths: { ring: false, bulk: true }, ringBecause: '' };
  }
  const { link } = observed;
  if (fault !== null || link === null) return byRing(fault ?? 'there is no link');
  const unknown = faultOfBulk(link.driver);
  if (unknown !== null) return byRing(unknown);
  if (link.mtu > BULK_MTU_MAX)
    return byRing(`packets of up to ${BULK_MTU_MAX} bytes go in bulk, and the MTU is ${link.mtu}`);
  return { ...possible, paths: { ring: true, bulk: true }, ringBecause: '' };
}

function checkMtu(
  { interfaceName, transmit }: Config,
  link: Interface | null,
  modes: readonly Mode[],
): number {
  if (link === null) return MTU_MAX;
  if (link.mtu > MTU_MAX && modes[0] !== 'socket')
    throw new Failure(
      `the MTU ${link.mtu} of ${interfaceName} does not fit a ${limits.FRAME_SIZE}-byte frame; ` +
        `mend it with: ip link set dev ${interfaceName} mtu ${MTU_ADVICE}`,
    );
  return Math.min(link.mtu, transmit === 'bulk' ? BULK_MTU_MAX : MTU_MAX);
}

function checkNode(hasTrapHandler: boolean): void {
  if (hasTrapHandler) return;
  throw new Failure(
    `this Node (${process.version} on ${process.arch}) does not stop a filter that stores where it may not: ` +
      'use Node 22 or newer, without --disable-wasm-trap-handler',
  );
}

function checkCpus({ cpus }: Config, cores: readonly number[]): void {
  const beyond = cpus?.find((cpu) => !cores.includes(cpu));
  if (beyond !== undefined)
    throw new Failure(
      `core ${beyond} of --cpus is not to be had: this process may run on ${cores.join(', ')}`,
    );
}

export function deploymentOf(config: Config, observed: Observed): Deployment {
  checkNode(observed.hasTrapHandler);
  const { modes, fallbacks, paths, ringBecause } = sendingOf(config, observed);
  const queues = queuesOf(config, observed.link, modes);
  const mtu = checkMtu(config, observed.link, modes);
  checkAddress(config, observed.link, modes);
  checkCpus(config, observed.cores);
  const cores = new Set(config.cpus ?? observed.cores).size;
  if (config.workers !== null && config.workers > queues.length)
    throw new Failure(
      `--workers ${config.workers} is more than the ${queues.length} queues served; each worker owns one`,
    );
  const workers =
    config.workers ?? Math.max(1, Math.min(queues.length, cores - 1, WORKERS_DEFAULT_MAX));
  const spare = cores - (workers + 1);
  const layout = config.layout === 'auto' ? (spare >= 1 ? 'split' : 'inline') : config.layout;
  const processes = layout === 'split' ? workers + 1 : workers;
  const yields = processes >= cores && !(layout === 'inline' && workers === 1);
  const share = yields
    ? `${processes} busy processes share ${cores} cores and hand them over with sched_yield: ` +
      'latency grows to milliseconds as soon as anything else wants a core'
    : null;
  const cpuOf = (turn: number) => config.cpus?.[turn % config.cpus.length] ?? null;
  const first = layout === 'split' ? 1 : 0;
  // a core each, and one is left over, unless cores were named for them; x64: native/link/pump.hpp
  const needed = processes + workers + (config.cpus === null ? 1 : 0);
  const hasPumps = paths.bulk && cores >= needed && process.arch === 'x64';
  return {
    modes,
    fallbacks,
    queues,
    workers,
    layout,
    yields,
    paths,
    ringBecause,
    mtu,
    rxCpu: layout === 'split' ? cpuOf(0) : null,
    workerCpus: Array.from({ length: workers }, (_, i) => cpuOf(first + i)),
    pumpCpus: hasPumps ? Array.from({ length: workers }, (_, i) => cpuOf(processes + i)) : null,
    warnings: warningsOf(config, observed, { queues, modes, share }),
  };
}
