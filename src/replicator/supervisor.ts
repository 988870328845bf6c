/**
 * The life of a replicator: opens everything in order and closes it in reverse, also what was
 * opened before something failed. It is never on the data path.
 *
 *   filters → interface → deployment → listen port, kernel sockets, launchers → data plane
 *           → publisher → routes → pulse → control → legacy control → `ready`
 */
import { closeSync } from 'node:fs';
import { isFantail } from '../control/client.js';
import { type Control, startControl } from '../control/server.js';
import { Closers } from '../domain/closers.js';
import type { Counts } from '../domain/counts.js';
import { Failure, messageOf } from '../domain/errors.js';
import type { Replicator } from '../domain/replicator.js';
import type { Stats } from '../domain/statistics.js';
import { FilterDesk } from '../filters/desk.js';
import { firstFilters } from '../filters/first.js';
import type { Filters } from '../filters/registry.js';
import { startLegacy } from '../legacy/server.js';
import { addon, type Interface } from '../memory/addon.js';
import { DataPlane } from '../processes/data-plane.js';
import { Launchers, type SharedXdp } from '../processes/launchers.js';
import { Pulse } from '../processes/pulse.js';
import { NoMode } from '../processes/rx-protocol.js';
import { InterfaceWatch } from '../routes/interface-watch.js';
import { KernelSockets, openUdpSource } from '../routes/kernel-sockets.js';
import { NextHops } from '../routes/next-hops.js';
import { Reach } from '../routes/reach.js';
import { Publisher } from '../subscribers/publisher.js';
import { Subscribers } from '../subscribers/subscribers.js';
import { SubscriberTable } from '../subscribers/table.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import { type Deployment, deploymentOf } from './deployment.js';
import { destinationsOf, observe, sourceOf } from './interface.js';
import { type ActionTargets, take } from './interface-events.js';
import { LiveReplicator, type Router, SOCKET_ROUTER } from './replicator.js';
import { verdictsOf } from './stats.js';

const CONTROL_PORTS_TRIED_MAX = 100;

/** A replicator that is open. */
export interface Supervisor {
  /** What `fantail up` prints once packets flow and control answers. */
  readonly readyLine: string;
  /** Closes everything; a second call finds nothing left to close. */
  readonly close: () => Promise<void>;
}

/** What every step of opening needs. */
interface Opening {
  readonly config: Config;
  /** Null for the interface `-`. */
  readonly link: Interface | null;
  readonly filters: Filters;
  /** The data path cannot go on. */
  readonly onFatal: (failure: Failure) => void;
  /** Whatever is opened is registered here. */
  readonly closers: Closers;
}

/** Opens everything. On failure what was opened is closed again, and the reason thrown. */
export async function openSupervisor(
  config: Config,
  onFatal: (failure: Failure) => void,
): Promise<Supervisor> {
  const closers = new Closers((error) => log.error(error, 'while stopping'));
  try {
    const readyLine = await open(config, onFatal, closers);
    return { readyLine, close: () => closers.close() };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/** Returns the line that says so. */
async function open(
  config: Config,
  onFatal: (failure: Failure) => void,
  closers: Closers,
): Promise<string> {
  const startedAt_ms = Date.now();
  addon.noNewPrivileges(); // ours and everybody's whom we start
  const subscribers = new Subscribers();
  const filters = await firstFilters(config.filter, () => subscribers.all());
  const observed = observe(config);
  const { link } = observed;
  const wanted = deploymentOf(config, observed);
  for (const warning of wanted.warnings) log.warn(warning);
  const opening: Opening = { config, link, filters, onFatal, closers };
  const opened = await openBestPlane(opening, wanted);
  const { plane, sockets, deployment } = opened;
  const { mode } = plane.opened;
  const fallbacks = [...deployment.fallbacks, ...plane.opened.fallbacks];
  logFallbacks(mode, fallbacks);
  const { arena } = plane;
  const table = new SubscriberTable(arena, subscribers, sourceOf(config, link));
  const publisher = new Publisher({ table, sockets, wake: () => plane.wake() });
  const targets: ActionTargets = {
    move: (moved) => {
      replicator.destinations = destinationsOf(config, moved);
      table.moveTo(sourceOf(config, moved));
    },
    publish: () => publisher.pump(),
    end: onFatal,
  };
  const router =
    mode === 'socket'
      ? SOCKET_ROUTER
      : openRoutes(opening, { sockets, subscribers, publisher, targets });
  const workers = plane.filters;
  const desk = new FilterDesk({ filters, workers, arena, subscribers, table, publisher });
  const pulse = new Pulse({ filters, plane, desk });
  closers.add(() => pulse.stop());
  const replicator = new LiveReplicator(
    {
      config,
      deployment,
      startedAt_ms,
      plane,
      fallbacks,
      verdictsBefore: opened.verdictsBefore,
      subscribers,
      publisher,
      router,
      filters,
      desk,
      pulse,
    },
    destinationsOf(config, link),
  );
  const control = await openControl(opening, replicator);
  await openLegacy(opening, replicator);
  // first to go: whoever waits is told before the channel closes
  closers.add(() => publisher.stop());
  return readyLine(config, deployment, mode, control);
}

/** The data plane, and what was opened for it. */
interface OpenedPlane {
  readonly plane: DataPlane;
  readonly sockets: KernelSockets;
  readonly deployment: Deployment;
  /** By queue: what the verdict counters held before this launcher used the program. */
  readonly verdictsBefore: readonly Counts[];
}

/**
 * AF_XDP with its side sockets; if no such mode is possible and socket mode is allowed, that, and
 * none of those.
 */
async function openBestPlane(opening: Opening, deployment: Deployment): Promise<OpenedPlane> {
  const modes = deployment.modes.filter((mode) => mode !== 'socket');
  let fallbacks = deployment.fallbacks;
  if (modes.length > 0) {
    const { closers } = opening;
    const kept = closers.count;
    try {
      return await openXdpPlane(opening, { ...deployment, modes });
    } catch (error) {
      if (!(error instanceof NoMode) || modes.length === deployment.modes.length) throw error;
      await closers.close(kept);
      fallbacks = error.tried;
    }
  }
  return openPlane(
    opening,
    { ...deployment, modes: ['socket'], fallbacks },
    { shared: null, sockets: new KernelSockets([]) },
  );
}

async function openXdpPlane(opening: Opening, deployment: Deployment): Promise<OpenedPlane> {
  const { config, link, closers } = opening;
  // deploymentOf has seen to it
  if (link === null) throw new Error('an XDP mode needs an interface');
  const { listenIp, listenPort, netns } = config;
  // Keeps the listen port, so that packets which pass the XDP program draw no ICMP errors.
  if (link.addresses.some(({ ip }) => ip === listenIp)) {
    const fd = openUdpSource(config, { ip: listenIp, port: listenPort });
    closers.add(() => closeSync(fd));
  }
  const { ip, port } = sourceOf(config, link);
  const sockets = KernelSockets.open({
    netns,
    interfaceName: config.interfaceName,
    source: { ip, port },
    workers: deployment.workers,
  });
  closers.keep(sockets);
  const launchers = new Launchers(netns, link.index);
  closers.keep(launchers);
  const shared = await launchers.join();
  if (shared !== null)
    for (const fd of [shared.link, shared.xsks, shared.feeds, shared.verdicts])
      closers.add(() => closeSync(fd));
  const opened = await openPlane(opening, deployment, { shared, sockets });
  const program = shared ?? opened.plane.opened.xdp;
  if (program !== null) launchers.share(program);
  return opened;
}

async function openPlane(
  { config, filters, onFatal, closers }: Opening,
  deployment: Deployment,
  { shared, sockets }: { shared: SharedXdp | null; sockets: KernelSockets },
): Promise<OpenedPlane> {
  const { modes, queues, layout, workers, mtu, yields, rxCpu, workerCpus } = deployment;
  const verdictsBefore =
    shared === null ? [] : queues.map((queue) => verdictsOf(shared.verdicts, queue));
  const plane = await DataPlane.open({
    opening: {
      interface: config.interfaceName,
      netns: config.netns,
      modes,
      queues,
      layout,
      workers,
      listen: { ip: config.listenIp, port: config.listenPort },
      mtu,
      order: config.order,
      busyPoll: config.busyPoll,
      yields,
      checksumFull: config.checksumFull,
    },
    shared,
    rxCpu,
    workerCpus,
    filters: filters.loaded(),
    kernelSockets: sockets,
    onFatal,
  });
  closers.add(() => plane.stop());
  return { plane, sockets, deployment, verdictsBefore };
}

/** One warning: what it runs in, and why nothing better. */
function logFallbacks(mode: Stats['mode'], fallbacks: Stats['fallbacks']): void {
  if (fallbacks.length === 0) return;
  const reasons = [...new Set(fallbacks.map(({ reason }) => reason))].map((reason) => {
    const modes = fallbacks.filter((each) => each.reason === reason).map((each) => each.mode);
    return `${modes.join(', ')}: ${reason}`;
  });
  log.warn(`running in ${mode} mode, since it cannot be ${reasons.join('; ')}`);
}

/** Follows the interface, and how each subscriber is reached. */
function openRoutes(
  { config, link, closers }: Opening,
  parts: {
    readonly sockets: KernelSockets;
    readonly subscribers: Subscribers;
    readonly publisher: Publisher;
    readonly targets: ActionTargets;
  },
): Router {
  const { netns, interfaceName } = config;
  const { sockets, subscribers, publisher, targets } = parts;
  const watch = new InterfaceWatch({
    netns,
    interfaceName,
    onEvent: (event) => take(event, config, targets),
  });
  closers.keep(watch);
  const nextHops = new NextHops({
    netns,
    watch,
    source: sourceOf(config, link).ip,
    onChange: (ip) => reach.nextHopChanged(ip),
    onProblem: (sentence) => log.warn(sentence),
  });
  closers.keep(nextHops);
  const reach = new Reach({
    nextHops,
    sockets,
    onChange: (endpoint) => {
      const subscriber = subscribers.find(endpoint);
      if (subscriber === undefined) return;
      subscribers.reroute(subscriber, reach.of(endpoint));
      publisher.pump();
    },
  });
  closers.keep(reach);
  return reach;
}

async function openControl({ config, closers }: Opening, replicator: Replicator): Promise<Control> {
  const { address, port: first, explicit } = config.control;
  const { token } = config;
  const onError = (error: unknown) => log.error(error, 'control channel');
  for (let port = first; ; port++) {
    try {
      const control = await startControl({ address, port, token, replicator, onError });
      closers.keep(control);
      if (port !== first)
        log.warn(`control port ${first} is taken; this launcher answers on ${address}:${port}`);
      return control;
    } catch (error) {
      const taken = error instanceof Failure && error.systemCode === 'EADDRINUSE';
      if (!taken || explicit || port - first === CONTROL_PORTS_TRIED_MAX) throw error;
      if (!(await isFantail(address, port))) throw error; // a stranger's: the user should know
    }
  }
}

/**
 * Legacy clients name a replicator by its address only: if that is the interface's, they are
 * where its packets come from, in the data plane's namespace; any other address is one of the
 * caller's, like --control.
 */
async function openLegacy(
  { config, link, closers }: Opening,
  replicator: Replicator,
): Promise<void> {
  const { legacyControl: at, netns } = config;
  if (at === null) return;
  const isOwn = link?.addresses.some(({ ip }) => ip === at.address) === true;
  let fd: number;
  try {
    const options = { ip: at.address, port: at.port, device: null, drop: false, reuse: false };
    fd = addon.openUdp(isOwn ? netns : null, options);
  } catch (error) {
    throw new Failure(`legacy control: ${messageOf(error)}`);
  }
  addon.allowFragments(fd); // a list of 255 is longer than an Ethernet packet
  const legacy = await startLegacy({ fd, port: at.port, replicator, log });
  closers.keep(legacy);
  log.warn(
    `legacy control on UDP ${at.address}:${at.port} asks nobody who they are: ` +
      'whoever reaches it can subscribe and remove what --allow permits',
  );
}

function readyLine(
  { interfaceName, listenIp, listenPort, legacyControl, control: { address } }: Config,
  { queues, workers, layout }: Deployment,
  mode: Stats['mode'],
  { port }: Control,
): string {
  return (
    `ready ${interfaceName} ${listenIp}:${listenPort} mode=${mode} layout=${layout} ` +
    `queues=${queues.join(',')} workers=${workers} control=ws://${address}:${port}` +
    (legacyControl === null ? '' : ` legacy=${legacyControl.address}:${legacyControl.port}`)
  );
}
