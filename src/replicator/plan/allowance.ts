/**
 * What the process may that is to be a replicator, as far as `up` cannot do without or is worse
 * without it: its Node, rights, limits and cores. Pure, as checks.ts is; `doctor` lists the same.
 */
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import type { Interface } from '../../memory/addon.js';
import { limits } from '../../memory/layout.js';
import type { Config } from '../config.js';
import type { Observed } from './deployment.js';
import { raised } from './process.js';

/** Major versions with which filters are checked, run, swapped and contained as they must. */
const NODES_TRIED = [20, 22, 24, 26];
/** What AF_XDP takes: sockets, programs and maps, and memory that stays. */
const NEEDED = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_IPC_LOCK'];
const MEBIBYTE = 2 ** 20;
const GIBIBYTE = 2 ** 30;
/** With one queue, one worker and no session a launcher has 66 open; each session is one more. */
const FILES_MIN = 128;
const FILES_ADVICE = 1024;
/**
 * A worker was seen to run with 12 GiB of addresses and one filter, not with 11; with 16 GiB it
 * loads no second filter, with 24 it does (Node 20, x86-64).
 */
const ADDRESSES_BASE = 2 * GIBIBYTE;
const ADDRESSES_A_FILTER = 10 * GIBIBYTE;

export const ALLOWANCE_KINDS = {
  node_traps: {
    level: 'must',
    why: 'only a trap stops a filter that stores where it may not; without one it ends its worker',
    instead: 'use Node 22 or newer, without --disable-wasm-trap-handler',
  },
  node_untried: {
    level: 'better',
    why: 'filters are checked, run, swapped and contained as V8 does it, and that changes',
    instead: `use Node ${NODES_TRIED.join(', ')}`,
  },
  rights: {
    level: 'must',
    why: 'XDP, AF_XDP and frames that stay in memory take capabilities; without, there is socket mode',
    isRights: true,
    instead: 'run with sudo, or grant them to the service',
  },
  memlock: {
    level: 'must',
    why: 'the frames stay in memory: that takes CAP_IPC_LOCK, or as high a limit; else there is socket mode',
    cure: 'prlimit --pid {shell} --memlock={limit}',
    isRights: true,
    instead:
      'grant CAP_IPC_LOCK, or a higher limit, where it is started: LimitMEMLOCK=infinity of a unit, --ulimit memlock=-1 of a container',
  },
  open_files: {
    level: 'must',
    why: 'rings, sockets, feeds and sessions are open files; where they end, so does what needs one more',
    cure: 'prlimit --pid {shell} --nofile={limit}',
    instead:
      'raise it where this is started: LimitNOFILE= of a unit, --ulimit nofile= of a container',
  },
  address_space: {
    level: 'must',
    why: 'V8 lays 10 GiB of addresses aside for the memory of each filter, though it fills few of them',
    cure: 'prlimit --pid {shell} --as={limit}',
    instead: 'raise it where this is started: LimitAS=infinity of a unit',
  },
  cpu_denied: {
    level: 'must',
    why: 'a process can be pinned to no core that it may not run on',
    cure: 'taskset -pc {wanted} {shell}',
    flags: '--cpus {cores}',
  },
  cores_shared: {
    level: 'better',
    why: 'latency grows to milliseconds as soon as anything else wants a core',
    flags: '--layout inline --workers 1',
  },
} as const satisfies Kinds;

const find = finder(ALLOWANCE_KINDS);

export function checkTrapHandler({ hasTrapHandler }: Pick<Observed, 'hasTrapHandler'>) {
  if (hasTrapHandler) return null;
  const node = `this Node (${process.version} on ${process.arch})`;
  return find('node_traps', `${node} does not stop a filter that stores where it may not`);
}

export function checkNodeVersion(): Finding | null {
  const major = Number.parseInt(process.versions.node, 10);
  if (NODES_TRIED.includes(major)) return null;
  const what = `fantail was never tried with Node ${major}; it was with ${NODES_TRIED.join(', ')}`;
  return find('node_untried', what);
}

/** Frames that AF_XDP would pin, bytes: RX frames a queue, TX frames and header slots a worker. */
function pinnedBytes(link: Interface): number {
  const queues = Math.min(link.rx_queues, link.tx_queues, limits.QUEUES_MAX);
  return queues * (limits.RX_FRAMES + 2 * limits.TX_FRAMES) * limits.FRAME_SIZE;
}

function missingOf({ capabilities, link, memlock }: Observed): string[] {
  const has = new Set(capabilities);
  return NEEDED.filter((name) => {
    if (has.has(name) || (name === 'CAP_BPF' && has.has('CAP_SYS_ADMIN'))) return false;
    const isPinned = name === 'CAP_IPC_LOCK' && link !== null;
    return !isPinned || memlock.soft < pinnedBytes(link);
  });
}

/** What of its rights AF_XDP lacks. A named mode cannot do without. */
export function checkRights({ mode }: Pick<Config, 'mode'>, observed: Observed): Finding | null {
  const missing = missingOf(observed);
  if (mode === 'socket' || missing.length === 0) return null;
  const level = mode === 'auto' ? 'better' : 'must';
  const { link, memlock, canRaise } = observed;
  if (link === null || missing.join() !== 'CAP_IPC_LOCK')
    return find('rights', `AF_XDP takes ${missing.join(', ')}`, { level });
  const [soft, pinned] = [memlock.soft, pinnedBytes(link)].map((it) => Math.floor(it / MEBIBYTE));
  const what = `AF_XDP takes CAP_IPC_LOCK, since the limit of locked memory, ${soft} MiB, is less than ${pinned} MiB of frames`;
  const limit = raised(memlock, Number.POSITIVE_INFINITY, canRaise);
  return find('memlock', what, { level, ...placesOf(limit, observed) });
}

const placesOf = (limit: string | null, { shell }: Observed) =>
  limit === null || shell === null ? {} : { shell, limit };

export function checkOpenFiles(observed: Observed): Finding | null {
  const { openFiles, canRaise } = observed;
  const { hard } = openFiles; // Node takes the hard one
  if (hard >= FILES_ADVICE) return null;
  return find('open_files', `a process may have ${hard} files open`, {
    level: hard < FILES_MIN ? 'must' : 'better',
    ...placesOf(raised(openFiles, FILES_ADVICE, canRaise), observed),
  });
}

export function checkAddressSpace(observed: Observed): Finding | null {
  const { addressSpace, canRaise } = observed;
  const filters = Math.floor((addressSpace.soft - ADDRESSES_BASE) / ADDRESSES_A_FILTER);
  if (filters >= limits.FILTERS_MAX) return null;
  const size = (addressSpace.soft / GIBIBYTE).toFixed(1);
  const many = filters < 1 ? 'no filter' : `${filters} of ${limits.FILTERS_MAX} filters at once`;
  const limit = raised(addressSpace, Number.POSITIVE_INFINITY, canRaise);
  return find('address_space', `a process may have ${size} GiB of addresses: ${many}`, {
    level: filters < 1 ? 'must' : 'better',
    ...placesOf(limit, observed),
  });
}

export function checkCpus({ cpus }: Pick<Config, 'cpus'>, observed: Observed): Finding | null {
  const { cores, online, shell } = observed;
  const beyond = cpus?.find((cpu) => !cores.includes(cpu));
  if (cpus == null || beyond === undefined) return null;
  const what = `core ${beyond} of --cpus is not to be had: this process may run on ${cores.join(', ')}`;
  const isThere = cpus.every((cpu) => online.includes(cpu));
  const wanted = [...new Set([...cores, ...cpus])].sort((a, b) => a - b).join(',');
  return find('cpu_denied', what, {
    cores: cores.join(','),
    ...(isThere && shell !== null ? { wanted, shell } : {}),
  });
}

/** Busy processes that have to share cores. */
export function checkSharing(processes: number, cores: number): Finding {
  const what = `${processes} busy processes share ${cores} cores and hand them over with sched_yield`;
  return find('cores_shared', what);
}
