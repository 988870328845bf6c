/**
 * Decides what runs where: modes to try, queues, workers, layout, cores. Pure: config and what was
 * observed in, a Deployment or a Failure with the cure out.
 */

import { Failure } from '../../domain/errors.js';
import { type Finding, sentenceOf } from '../../domain/finding.js';
import type { Mode, Stats } from '../../domain/statistics.js';
import type { Interface } from '../../memory/addon.js';
import type { Config } from '../config.js';
import {
  checkAddressSpace,
  checkCpus,
  checkNodeVersion,
  checkOpenFiles,
  checkRights,
  checkSharing,
  checkTrapHandler,
} from './allowance.js';
import {
  activeQueues,
  BULK_MTU_MAX,
  bulkImpossible,
  checkBulkDriver,
  checkBulkMtu,
  checkFeedAddress,
  checkLink,
  checkMtu,
  checkOwnAddress,
  checkPromiscuous,
  checkQueues,
  checkServed,
  checkWorkers,
  checkZeroCopy,
  MTU_MAX,
  zeroCopyFault,
} from './checks.js';
import { faultOfBulk } from './driver-facts.js';
import type { Limit } from './process.js';

export interface Observed {
  /** Null for the interface `-`. */
  readonly link: Interface | null;
  /** The card can be told which queue a flow goes to (ethtool -N). */
  readonly takesRules: boolean;
  /** As `uname -r` has it. */
  readonly kernel: string;
  /** Whether the driver of `link` is a module, not part of the kernel's image. */
  readonly isModule: boolean;
  /** Effective capabilities of this process. */
  readonly capabilities: readonly string[];
  /** Whether a filter that stores where it may not is stopped there (filters/traps.ts). */
  readonly hasTrapHandler: boolean;
  /** Numbers of the cores that this process may run on, and of all that there are. */
  readonly cores: readonly number[];
  readonly online: readonly number[];
  /** Memory that may be locked without CAP_IPC_LOCK, bytes. */
  readonly memlock: Limit;
  readonly openFiles: Limit;
  /** Bytes. */
  readonly addressSpace: Limit;
  /** Root could raise such a limit (CAP_SYS_RESOURCE): in a container often not. */
  readonly canRaise: boolean;
  /** Whence this is started (pid): what that may, so may all that it starts. */
  readonly shell: number | null;
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

const XDP_MODES: readonly Mode[] = ['zerocopy', 'copy', 'skb'];
const WORKERS_DEFAULT_MAX = 8;

/** Throws what cannot be done without. */
function refuse(finding: Finding | null): void {
  if (finding !== null) throw new Failure(sentenceOf(finding));
}

/** Why there is no AF_XDP, as far as it shows before anything is opened, or null. */
export function xdpFault({ mode }: Config, observed: Observed): string | null {
  const { link } = observed;
  if (link === null) return "the interface '-' is no link";
  if (link.loopback) return 'a loopback has no link for AF_XDP';
  const rights = checkRights({ mode }, observed);
  return rights === null ? null : sentenceOf(rights);
}

/** Which modes to try, and which are out already. */
function modesOf(config: Config, observed: Observed) {
  const { mode, interfaceName, promiscuous } = config;
  const reason = xdpFault(config, observed);
  refuse(checkPromiscuous(config, reason));
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

function queuesOf(config: Config, link: Interface | null, modes: readonly Mode[]): number[] {
  const isSocket = modes[0] === 'socket';
  refuse(checkQueues(config, link, isSocket));
  if (config.queues !== 'all') return [...config.queues];
  return Array.from({ length: isSocket ? 1 : activeQueues(link) }, (_, i) => i);
}

function checkAddress(config: Config, link: Interface | null, modes: readonly Mode[]): void {
  if (link !== null && modes[0] !== 'socket') refuse(checkOwnAddress(config, link));
}

/** Throws if nothing that is sent to the listen address could be received. */
export function checkListenAddress(
  config: Pick<Config, 'interfaceName' | 'listenIp' | 'promiscuous'>,
  link: Pick<Interface, 'addresses' | 'others'>,
): void {
  refuse(checkFeedAddress(config, config.listenIp, link));
}

function warningsOf(
  config: Config,
  observed: Observed,
  { queues, modes, share }: { queues: number[]; modes: readonly Mode[]; share: Finding | null },
): string[] {
  const { link } = observed;
  const found = [checkNodeVersion(), checkOpenFiles(observed), checkAddressSpace(observed), share];
  if (link !== null) {
    const served =
      modes[0] === 'socket'
        ? null
        : checkServed(config, link, { queues, takesRules: observed.takesRules });
    found.push(checkLink(config, link), checkZeroCopy(config, observed), served);
    found.push(checkBulkDriver(config, link), checkBulkMtu(config, link));
  }
  return found.filter((each) => each !== null).map(sentenceOf);
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
    if (fault !== null) refuse(bulkImpossible(interfaceName, fault));
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

function mtuOf(config: Config, link: Interface | null, modes: readonly Mode[]): number {
  if (link === null) return MTU_MAX;
  if (modes[0] !== 'socket') refuse(checkMtu(config, link));
  return Math.min(link.mtu, config.transmit === 'bulk' ? BULK_MTU_MAX : MTU_MAX);
}

/** How many processes of the data path there are, and whether they have to share cores. */
export function processesOf(
  config: Pick<Config, 'cpus' | 'workers' | 'layout'>,
  observed: Pick<Observed, 'cores'>,
  queues: number,
): Pick<Deployment, 'workers' | 'layout' | 'yields'> & {
  readonly cores: number;
  readonly processes: number;
} {
  const cores = new Set(config.cpus ?? observed.cores).size;
  const workers = config.workers ?? Math.max(1, Math.min(queues, cores - 1, WORKERS_DEFAULT_MAX));
  const spare = cores - (workers + 1);
  const layout = config.layout === 'auto' ? (spare >= 1 ? 'split' : 'inline') : config.layout;
  const processes = layout === 'split' ? workers + 1 : workers;
  const yields = processes >= cores && !(layout === 'inline' && workers === 1);
  return { cores, workers, layout, processes, yields };
}

/** What stands in the way of `--transmit bulk`. */
export function checkBulk(config: Config, observed: Observed): Finding | null {
  if (config.transmit !== 'bulk') return null;
  const fault = bulkFault(
    config,
    observed,
    modesOf({ ...config, mode: 'auto', promiscuous: false }, observed),
  );
  return fault === null ? null : bulkImpossible(config.interfaceName, fault);
}

export function deploymentOf(config: Config, observed: Observed): Deployment {
  refuse(checkTrapHandler(observed));
  const addresses = checkAddressSpace(observed);
  if (addresses?.level === 'must') refuse(addresses);
  const { modes, fallbacks, paths, ringBecause } = sendingOf(config, observed);
  const queues = queuesOf(config, observed.link, modes);
  const mtu = mtuOf(config, observed.link, modes);
  checkAddress(config, observed.link, modes);
  refuse(checkCpus(config, observed));
  refuse(checkWorkers(config, queues.length));
  const { cores, workers, layout, processes, yields } = processesOf(
    config,
    observed,
    queues.length,
  );
  const share = yields ? checkSharing(processes, cores) : null;
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
