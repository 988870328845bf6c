/** A subject for doctor's judgments that nothing is wrong with, but for what a test says. */
import type { Shell } from '../../src/doctor/cures.js';
import { type Clock, readMachine } from '../../src/doctor/machine.js';
import type { Device } from '../../src/doctor/network.js';
import type { Launcher, NetworkSubject, Source } from '../../src/doctor/subject.js';
import type { FeedAddress } from '../../src/domain/feed.js';
import type { Interface } from '../../src/memory/addon.js';
import type { Card } from '../../src/memory/card.js';
import { configOf, type UpFlags } from '../../src/replicator/config.js';

export interface Given {
  readonly flags?: Partial<UpFlags>;
  readonly kernel?: string;
  readonly isModule?: boolean;
  readonly cores?: readonly number[];
  readonly machine?: ReturnType<typeof readMachine>;
  readonly device?: Device;
  readonly link?: Partial<Interface>;
  readonly features?: Card['features'];
  readonly card?: Partial<Card>;
  readonly clock?: Clock;
  readonly isStamped?: boolean;
  /** N of /dev/ptpN. */
  readonly phc?: number;
  readonly source?: Source;
  readonly feeds?: readonly FeedAddress[];
  readonly chains?: readonly string[];
  readonly launcher?: Launcher;
  readonly queues?: readonly number[];
}

const WORDS = ['eth0', '10.0.0.1', '5000'];
export const SHELL: Shell = {
  netns: null,
  isRoot: true,
  hasSudo: false,
  program: 'fantail',
  words: WORDS,
  isStart: true,
};

/** Any number of queues, no offload, no rules. */
const CARD: Card = {
  enabled: true,
  multicast: true,
  arp: true,
  features: [],
  spread: null,
  rules: [],
  takes_rules: true,
  xdp: { xdp: 127, segments_max: 1, xsk: 0 },
  clock: -1,
};

const LINK: Interface = {
  index: 2,
  name: 'eth0',
  mtu: 1500,
  mac: '02:00:00:00:00:01',
  up: true,
  addresses: [{ ip: '10.0.0.1', prefix: 24 }],
  others: [],
  rx_queues: 4,
  tx_queues: 4,
  combined: true,
  queues_max: 8,
  driver: 'ixgbe',
  driver_version: '6.18.5',
  loopback: false,
};

const DEVICE: Device = {
  master: null,
  vlans: [],
  node: null,
  irqs: [],
  deferHardIrqs: 0,
  groFlushTimeout_ns: 0,
  peer: null,
};

export function subjectOf(given: Given = {}): NetworkSubject {
  const link = { ...LINK, ...given.link };
  const { features = [], phc = -1, cores = [0, 1, 2, 3] } = given;
  const all = Array.from({ length: link.rx_queues }, (_, queue) => queue);
  const listen = { interfaceName: 'eth0', listenIp: '10.0.0.1', listenPort: 5000 };
  const flags: UpFlags = {
    mode: 'auto',
    layout: 'auto',
    queues: 'all',
    order: 'rotate',
    udpChecksum: 'zero',
    transmit: 'ring',
    multicastTtl: 1,
    metricsSubscribers: 0,
    ...given.flags,
  };
  return {
    config: configOf(listen, flags),
    source: given.source ?? null,
    observed: {
      link,
      takesRules: true,
      kernel: given.kernel ?? '6.18.5',
      isModule: given.isModule ?? false,
      capabilities: ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_IPC_LOCK'],
      hasTrapHandler: true,
      cores,
      online: cores,
      openFiles: { soft: 4096, hard: 4096 },
      addressSpace: { soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY },
      memlock: { soft: 8 << 20, hard: 8 << 20 },
      canRaise: false,
      shell: 4711,
    },
    machine: given.machine ?? readMachine('/nowhere'),
    clock: given.clock ?? {
      passed_us: 20_000,
      monotonic_us: 20_000,
      isSynchronised: true,
      isPreloaded: false,
    },
    isStamped: given.isStamped ?? false,
    launcher: given.launcher ?? null,
    upLine: 'fantail up eth0 10.0.0.1 5000',
    program: 'fantail',
    feeds: given.feeds ?? [{ ip: '10.0.0.1', port: 5000, source: null }],
    queues: given.queues ?? all,
    network: {
      link,
      card: { ...CARD, features, clock: phc, ...given.card },
      device: given.device ?? DEVICE,
      peer: null,
      program: null,
      programHolder: null,
      isServed: false,
      orphans: [],
      ports: [],
      rpFilter: 0,
      chains: given.chains ?? [],
      vias: [],
      unseen: [],
    },
  };
}
