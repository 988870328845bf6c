/**
 * What a supervisor leaves to the next one (processes/inheritance.ts carries it): all that cannot
 * be read from the arena, and the descriptors in an order of their own. Who subscribes, and by
 * which route, is in the arena.
 */
import assert from 'node:assert';
import { closeSync } from 'node:fs';
import type { Counts } from '../domain/counts.js';
import { Failure } from '../domain/errors.js';
import { buildIdentity } from '../domain/installation.js';
import type { Stats } from '../domain/statistics.js';
import type { Feed, Feeds } from '../feeds/feeds.js';
import type { FilterRecords, Filters } from '../filters/registry.js';
import type { FleetInheritance } from '../fleet/member/inheritance.js';
import { addon, type Interface } from '../memory/addon.js';
import { layoutVersion, limits } from '../memory/layout.js';
import { contentOf } from '../memory/memory-file.js';
import type { DataPlane } from '../processes/data-plane.js';
import { Descriptors } from '../processes/descriptors.js';
import type { Adopted, Inheritance } from '../processes/inheritance.js';
import { fdsOf, type SharedXdp, sharedXdp } from '../processes/launchers.js';
import type { Opened } from '../processes/rx-protocol.js';
import { KernelSockets } from '../routes/kernel-sockets.js';
import type { Route } from '../routes/reach.js';
import type { Subscribers } from '../subscribers/subscribers.js';
import type { PublishedRow, SubscriberTable } from '../subscribers/table.js';
import type { Config } from './config.js';
import type { Deployment } from './plan/deployment.js';
import type { Placed } from './reload/configured.js';
import { type Router, SOCKET_ROUTER } from './replicator.js';

/** What an arena is made for: a supervisor that wants another one cannot adopt it. */
type Shape = Readonly<Record<string, string>>;

/** What a data plane has had since it was opened, whoever watches over it. */
export interface Lasting {
  /** Modes that were not possible, and why. */
  readonly fallbacks: Stats['fallbacks'];
  readonly startedAt_ms: number;
  /** By queue: what the verdict counters held before this launcher used the program. */
  readonly verdictsBefore: readonly Counts[];
  /** What the driver's figures of XDP were before. */
  readonly figuresBefore: Counts;
  /** The socket of the slow path, which holds the listen port; null: there is none. */
  readonly slowPath: number | null;
  /** The packet socket that keeps the interface promiscuous; null: nobody asked for that. */
  readonly promiscuity: number | null;
}

/** JSON. */
interface HandoverRecord extends Omit<Lasting, 'slowPath' | 'promiscuity'> {
  /** How many descriptors of a kind there are: of the XDP program, and by worker. */
  readonly xdpFds: number;
  readonly txFds: number;
  readonly pagesFds: number;
  readonly intakeFds: number;
  readonly ringBecause: string;
  readonly build: string;
  /** Renaming makes it no other. */
  readonly interface: { readonly name: string; readonly index: number };
  readonly shape: Shape;
  readonly mode: Stats['mode'];
  readonly attach: SharedXdp['attach'] | null;
  readonly filters: FilterRecords;
  readonly hasSlowPath: boolean;
  readonly hasPromiscuity: boolean;
  /** Those but the first; `sockets`: how many each has. */
  readonly feeds: readonly (Omit<Feed, 'epoch' | 'sockets'> & {
    readonly epoch: string;
    readonly sockets: number;
  })[];
  readonly placed: Placed | null;
  readonly fleet: FleetInheritance | null;
}

/** What is left, as the one that leaves has it. */
export interface Handover extends Lasting {
  readonly config: Config;
  readonly link: Interface | null;
  readonly deployment: Deployment;
  readonly plane: DataPlane;
  readonly sockets: KernelSockets;
  readonly filters: Filters;
  readonly subscribers: Subscribers;
  readonly feeds: Feeds;
  readonly placed: Placed | null;
  readonly fleet: FleetInheritance | null;
}

/** The same as the one that adopts gets it. */
export interface TakenOver extends Lasting {
  readonly opened: Opened;
  readonly descriptors: Descriptors;
  readonly sockets: KernelSockets;
  readonly filters: FilterRecords;
  readonly feeds: readonly Feed[];
  readonly placed: Placed | null;
  readonly fleet: FleetInheritance | null;
  /** By number of the module. */
  readonly modules: ReadonlyMap<number, Uint8Array>;
}

let build: string | null = null;

/** So that it is what this process runs, whatever is built meanwhile. */
export const rememberBuild = (): void => void buildOf();

/** Two of the same build understand one another's arena, orders and messages. */
function buildOf(): string {
  build ??= `${layoutVersion()}-${buildIdentity()}`;
  return build;
}

/** As the user would write it. */
function shapeOf(config: Config, deployment: Deployment): Shape {
  const { listenIp, listenPort, order, busyPoll, checksumFull, transmit } = config;
  const { promiscuous, fleet } = config;
  const { queues, workers, layout, mtu } = deployment;
  return {
    'listen address': `${listenIp}:${listenPort}`,
    '--queues': queues.join(','),
    '--workers': String(workers),
    '--layout': layout,
    '--order': order,
    '--busy-poll': busyPoll ? 'on' : 'off',
    '--udp-checksum': checksumFull ? 'full' : 'zero',
    '--transmit': transmit,
    '--promiscuous': promiscuous ? 'on' : 'off',
    MTU: String(mtu),
    fleet: fleet === null ? 'none' : `${fleet.group} as ${fleet.member}`,
  };
}

/**
 * The abstract name of a data plane, where whoever would open the same one meets it, and what it
 * stands for in words.
 */
export function nameOf(
  { interfaceName, listenIp, listenPort }: Config,
  { modes, queues }: Deployment,
  interfaceIndex: number,
): { name: string; what: string } {
  const [first = 0] = queues;
  return modes[0] === 'socket'
    ? { name: `fantail-rx-${listenIp}:${listenPort}`, what: `${listenIp}:${listenPort}` }
    : { name: `fantail-rx-${interfaceIndex}-${first}`, what: `queue ${first} of ${interfaceName}` };
}

export function inheritanceOf(handover: Handover): Inheritance {
  const { plane, sockets, filters, slowPath, promiscuity, deployment, subscribers } = handover;
  const { mode, xdp, tx, pages, intakes, ringBecause } = plane.opened;
  const others = handover.feeds.all().filter(({ index }) => index !== 0);
  const record: HandoverRecord = {
    build: buildOf(),
    interface: { name: handover.config.interfaceName, index: handover.link?.index ?? 0 },
    shape: shapeOf(handover.config, deployment),
    mode,
    attach: xdp?.attach ?? null,
    xdpFds: xdp === null ? 0 : fdsOf(xdp).length,
    txFds: tx.length,
    pagesFds: pages.length,
    intakeFds: intakes.length,
    ringBecause,
    fallbacks: handover.fallbacks,
    startedAt_ms: handover.startedAt_ms,
    verdictsBefore: handover.verdictsBefore,
    figuresBefore: handover.figuresBefore,
    filters: filters.records(subscribers.all()),
    hasSlowPath: slowPath !== null,
    hasPromiscuity: promiscuity !== null,
    placed: handover.placed,
    fleet: handover.fleet,
    feeds: others.map(({ epoch, sockets, ...feed }) => {
      return { ...feed, epoch: String(epoch), sockets: sockets.length };
    }),
  };
  const pools = Array.from({ length: deployment.workers }, (_, worker) => sockets.fdsOf(worker));
  const own = filters.loaded().filter((module) => module !== filters.builtIn);
  return {
    about: record,
    fds: [
      ...plane.fds,
      ...pools.flat(),
      ...(slowPath === null ? [] : [slowPath]),
      ...(promiscuity === null ? [] : [promiscuity]),
      ...own.map(({ bytes }) => plane.filters.fileOf(bytes)),
      ...others.flatMap((feed) => feed.sockets),
    ],
  };
}

/**
 * What was left, if it is of our build and what is wanted now; throws Failure that says what not.
 */
export function takenOver(
  { about, fds, pid }: Adopted,
  config: Config,
  { deployment, index }: { readonly deployment: Deployment; readonly index: number },
): TakenOver {
  const record = about as HandoverRecord; // of our own user, and its build is looked at first
  checkSame(record, pid, config, { deployment, index });
  const { mode, attach, filters } = record;
  const { queues, workers } = deployment;
  let at = 0;
  const take = (count: number) => {
    at += count;
    return fds.slice(at - count, at);
  };
  const [arena = -1] = take(1);
  const rx = take(queues.length);
  const [tx, pages] = [take(record.txFds), take(record.pagesFds)];
  const intakes = take(record.intakeFds);
  const xdp = attach === null ? null : sharedXdp(attach, take(record.xdpFds));
  assert((xdp === null) === (mode === 'socket'), 'an XDP mode has a program');
  const opened: Opened = {
    fds: fds.slice(0, at),
    mode,
    fallbacks: [],
    arena,
    rx,
    tx,
    pages,
    intakes,
    ringBecause: record.ringBecause,
    xdp,
  };
  const descriptors = Descriptors.of(take(Descriptors.count(workers)), workers);
  const poolSize = mode === 'socket' ? 0 : limits.KERNEL_SOCKETS_MAX;
  const pools = Array.from({ length: mode === 'socket' ? 0 : workers }, () => take(poolSize));
  const [slowPath = null] = record.hasSlowPath ? take(1) : [];
  const [promiscuity = null] = record.hasPromiscuity ? take(1) : [];
  const own = filters.modules.filter(({ slot }) => slot !== 0);
  const modules = new Map(own.map(({ module }) => [module, contentAndClose(take(1)[0] ?? -1)]));
  const feeds = record.feeds.map((feed) => {
    return { ...feed, epoch: BigInt(feed.epoch), sockets: take(feed.sockets) };
  });
  return {
    ...record,
    feeds,
    opened,
    descriptors,
    sockets: new KernelSockets(pools, addon, 'leaving'),
    slowPath,
    promiscuity,
    modules,
  };
}

function contentAndClose(file: number): Uint8Array {
  try {
    return contentOf(file);
  } finally {
    closeSync(file);
  }
}

function checkSame(
  record: HandoverRecord,
  pid: number,
  config: Config,
  { deployment, index }: { readonly deployment: Deployment; readonly index: number },
): void {
  // of another build it may say nothing that we know
  const cure = `stop it with: fantail clean ${record.interface?.name ?? ''}`.trim();
  if (record.build !== buildOf())
    throw new Failure(
      `a data plane of another build runs here without a supervisor (fantail-rx, pid ${pid}); ${cure}`,
    );
  const wanted = shapeOf(config, deployment);
  const different = Object.entries(record.shape)
    .filter(([name, value]) => wanted[name] !== value)
    .map(([name, value]) => `${name} ${value}, not ${wanted[name]}`);
  if (record.interface.index !== index)
    different.push(`interface ${record.interface.name}, not ${config.interfaceName}`);
  if (config.mode !== 'auto' && config.mode !== record.mode)
    different.push(`--mode ${record.mode}, not ${config.mode}`);
  if (different.length > 0)
    throw new Failure(
      `a data plane runs here without a supervisor (fantail-rx, pid ${pid}) with ` +
        `${different.join('; ')}; start with the same words to adopt it, or ${cure}`,
    );
}

/** Goes on with the subscribers that an earlier supervisor has published. */
export function resume(
  { filters: records, feeds: left }: Pick<TakenOver, 'filters' | 'feeds'>,
  parts: {
    readonly feeds: Feeds;
    readonly table: SubscriberTable;
    readonly subscribers: Subscribers;
    readonly filters: Filters;
    readonly router: Router;
  },
): void {
  const { table, subscribers, filters, router, feeds } = parts;
  const { rows, retired, epochs, feeds: known, feedEpochs } = table.published();
  const isLeft = (epoch: bigint) => epoch === 1n || left.some((feed) => feed.epoch === epoch);
  const gone = known.filter(({ epoch }) => !isLeft(epoch));
  const last = left.at(-1)?.epoch ?? 0n;
  feeds.restore(
    left,
    gone.map((feed) => ({ ...feed, name: '', sockets: [], base: [] })),
    last > feedEpochs ? last : feedEpochs,
  );
  const before = new Map(records.before);
  const routes = new Map<PublishedRow, Route>();
  // those that have a kernel socket first: no other may be given it
  const inTurn = [...rows].sort(
    (a, b) => Number(a.kernelSocket === null) - Number(b.kernelSocket === null),
  );
  for (const row of inTurn) routes.set(row, router.track(row, row.kernelSocket));
  const restored = rows.map((row) => {
    const { ip, port, worker, epoch, slot, param, isPaused } = row;
    const older = before.get(String(epoch));
    return {
      ip,
      port,
      worker,
      epoch,
      feeds: row.feeds,
      isPaused,
      row: row.row,
      route: routes.get(row) ?? SOCKET_ROUTER.track(row),
      filter: {
        module: filters.inSlot(slot),
        param,
        before: older === undefined ? null : filters.assigned(older),
      },
    };
  });
  subscribers.restore(restored, retired, epochs);
}
