/**
 * What doctor looks at, in the order in which it tells: each topic has what is wrong, or one line.
 */
import { counted } from '../domain/counts.js';
import type { Finding, Kinds } from '../domain/finding.js';
import { PORT_KINDS } from '../feeds/sockets.js';
import {
  ALLOWANCE_KINDS,
  checkAddressSpace,
  checkCpus,
  checkNodeVersion,
  checkOpenFiles,
  checkRights,
  checkSharing,
  checkTrapHandler,
} from '../replicator/plan/allowance.js';
import {
  CHECK_KINDS,
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
} from '../replicator/plan/checks.js';
import { checkBulk, processesOf, xdpFault } from '../replicator/plan/deployment.js';
import { factsOf, faultOfBulk } from '../replicator/plan/driver-facts.js';
import * as card from './findings/card.js';
import * as clock from './findings/clock.js';
import * as cores from './findings/cores.js';
import * as kernel from './findings/kernel.js';
import * as spread from './findings/spread.js';
import * as ways from './findings/subscribers.js';
import * as around from './findings/surroundings.js';
import { isSocket, type NetworkSubject, type Subject } from './subject.js';

export interface Topic<About extends Subject> {
  readonly name: string;
  readonly judge: (subject: About) => readonly (Finding | null)[];
  /** Said if nothing is wrong; null: there is nothing to say. */
  readonly fine: (subject: About) => string | null;
}

/** Every kind that there is; docs/doctor.md has a row for each. */
export const KINDS: Kinds = {
  ...ALLOWANCE_KINDS,
  ...CHECK_KINDS,
  ...PORT_KINDS,
  ...kernel.KERNEL_KINDS,
  ...clock.CLOCK_KINDS,
  ...cores.CORES_KINDS,
  ...card.CARD_KINDS,
  ...around.SURROUNDINGS_KINDS,
  ...spread.SPREAD_KINDS,
  ...ways.SUBSCRIBERS_KINDS,
};

const MEBIBYTE = 2 ** 20;

export const MACHINE_TOPICS: readonly Topic<Subject>[] = [
  {
    name: 'kernel',
    judge: (subject) => [kernel.checkKernel(subject), kernel.checkJit(subject)],
    fine: ({ observed }) => `Linux ${observed.kernel}`,
  },
  {
    name: 'node',
    judge: ({ observed }) => [checkTrapHandler(observed), checkNodeVersion()],
    fine: () => `${process.version} on ${process.arch}`,
  },
  {
    name: 'rights',
    judge: ({ config, observed }) => [checkRights(config, observed)],
    fine: ({ config }) => (config.mode === 'socket' ? 'none needed' : 'all that AF_XDP takes'),
  },
  {
    name: 'limits',
    judge: ({ observed }) => [checkOpenFiles(observed), checkAddressSpace(observed)],
    fine: ({ observed: { openFiles, memlock } }) =>
      `${openFiles.hard} open files, ${memlockText(memlock.soft)} locked memory`,
  },
  {
    name: 'cores',
    judge: (subject) => [
      checkCpus(subject.config, subject.observed),
      cores.checkIsolation(subject),
      cores.checkGovernor(subject),
    ],
    fine: ({ config, observed }) =>
      config.cpus === null ? `${counted(observed.cores.length, 'core')}, none named` : 'as named',
  },
  {
    name: 'clock',
    judge: (subject) => [clock.checkClock(subject), clock.checkClocksource(subject)],
    fine: ({ machine }) =>
      `read from ${machine.clocksource?.current ?? 'a clock that is not told'}`,
  },
];

const memlockText = (bytes: number) =>
  bytes === Number.POSITIVE_INFINITY ? 'any' : `${Math.floor(bytes / MEBIBYTE)} MiB of`;

export const NETWORK_TOPICS: readonly Topic<NetworkSubject>[] = [
  {
    name: 'link',
    judge: ({ config, network: { link, card: flags } }) => [
      checkLink(config, { up: link.up, enabled: flags.enabled }),
    ],
    fine: ({ network: { link } }) => `${link.name} is up`,
  },
  {
    name: 'address',
    judge: (subject) => [
      ...judgeAddress(subject),
      around.checkMulticast(subject),
      around.checkArp(subject),
      around.checkMaster(subject),
    ],
    fine: ({ network }) =>
      network.link.addresses.map(({ ip, prefix }) => `${ip}/${prefix}`).join(', '),
  },
  {
    name: 'driver',
    judge: (subject) => [
      checkPromiscuous(subject.config, xdpFault(subject.config, subject.observed)),
      checkZeroCopy(subject.config, subject.observed),
      card.checkNative(subject),
      card.checkZeroCopyOffered(subject),
    ],
    fine: driverText,
  },
  { name: 'zero copy', judge: () => [], fine: card.zeroCopyText },
  {
    name: 'bulk transmit',
    judge: (subject) => [
      checkBulk(subject.config, subject.observed),
      checkBulkDriver(subject.config, subject.network.link),
      card.checkBulkTarget(subject),
    ],
    fine: bulkText,
  },
  {
    name: 'queues',
    judge: judgeQueues,
    fine: ({ network: { link }, queues }) =>
      `${link.rx_queues} RX, ${link.tx_queues} TX; served: ${queues.join(', ')}`,
  },
  {
    name: 'MTU',
    judge: (subject) => [
      isSocket(subject) ? null : checkMtu(subject.config, subject.network.link),
      checkBulkMtu(subject.config, subject.network.link),
      card.checkDriverMtu(subject),
    ],
    fine: ({ network }) => String(network.link.mtu),
  },
  {
    name: 'offloads',
    judge: (subject) => [
      card.checkMerging(subject),
      card.checkVlan(subject),
      card.checkChecksum(subject),
      card.checkTimers(subject),
    ],
    fine: () => 'none that joins datagrams or spoils them',
  },
  {
    name: 'XDP',
    judge: (subject) => [around.checkForeign(subject), around.checkOrphans(subject)],
    fine: ({ network }) => (network.program === null ? 'no program attached' : "fantail's program"),
  },
  {
    name: 'port',
    judge: around.checkPorts,
    fine: ({ network: { ports, isServed } }) =>
      isServed ? "fantail's" : ports.length > 0 ? 'free' : null,
  },
  {
    name: 'rules of the host',
    judge: (subject) => [around.checkRpFilter(subject), around.checkNetfilter(subject)],
    fine: ({ network: { chains } }) => (chains === null ? null : 'none that AF_XDP would pass by'),
  },
  {
    name: 'placement',
    judge: (subject) => [cores.checkIrqs(subject), cores.checkNuma(subject)],
    fine: ({ network: { device } }) =>
      device.node === null ? null : `the card is on NUMA node ${device.node}`,
  },
  {
    name: 'stamps',
    judge: (subject) => [clock.checkKept(subject)],
    fine: ({ isStamped }) => (isStamped ? 'by a clock that is kept right' : null),
  },
  {
    name: 'subscribers',
    judge: (subject) => [...ways.checkSubscribers(subject), ...ways.checkGroups(subject)],
    fine: ways.waysText,
  },
];

/** Driver, what it offers, and what is known of it. */
function driverText({
  network: {
    link,
    card: { xdp },
  },
  observed: { kernel, isModule },
}: NetworkSubject): string {
  const facts = factsOf({ name: link.driver, version: link.driver_version, kernel, isModule });
  const offered =
    xdp === null ? '' : `, XDP features 0x${xdp.xdp.toString(16)}, XSK 0x${xdp.xsk.toString(16)}`;
  const known = facts.map(({ what, handling }) => `; known: ${what} (${handling})`).join('');
  return `${link.driver || 'unknown'} ${link.driver_version}${offered}${known}`;
}

function bulkText(subject: NetworkSubject): string | null {
  if (isSocket(subject)) return null;
  const { link } = subject.network;
  const fault = faultOfBulk(link.driver);
  if (fault === null) return `${link.driver} is done with a frame when a call returns: no bound`;
  return `${fault}; tried up to some hundred calls a second (docs/bulk.md)`;
}

function judgeAddress(subject: NetworkSubject): (Finding | null)[] {
  if (isSocket(subject)) return [];
  const { config, feeds, network } = subject;
  const own = checkOwnAddress(config, network.link);
  // the line that gives it one gives it this one
  const given = own?.cure == null ? null : config.listenIp;
  const others = feeds.filter(({ ip }) => ip !== given);
  return [own, ...others.map(({ ip }) => checkFeedAddress(config, ip, network.link))];
}

function judgeQueues(subject: NetworkSubject): (Finding | null)[] {
  const { config, observed, network, queues } = subject;
  const { link } = network;
  const { cores: count, processes, yields } = processesOf(config, observed, queues.length);
  const general = [
    checkQueues(config, link, isSocket(subject)),
    checkWorkers(config, queues.length),
    yields ? checkSharing(processes, count) : null,
  ];
  if (isSocket(subject)) return general;
  const { feeds } = subject;
  if (feeds.length === 0)
    return [...general, checkServed(config, link, { queues, takesRules: false })];
  return [...general, ...feeds.map((feed) => spread.checkWay(subject, feed))];
}
