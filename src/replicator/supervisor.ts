import { isFantail } from '../control/client.js';
import { type Control, schemeOf, startControl } from '../control/server.js';
import type { Change } from '../control/session/audit.js';
import { Closers } from '../domain/closers.js';
import { Failure, messageOf } from '../domain/errors.js';
import type { Replicator } from '../domain/replicator.js';
import type { Stats } from '../domain/statistics.js';
import { FilterDesk } from '../filters/desk.js';
import { startLegacy } from '../legacy/server.js';
import { addon } from '../memory/addon.js';
import { Pulse } from '../processes/pulse.js';
import { InterfaceWatch } from '../routes/interface-watch.js';
import type { KernelSockets } from '../routes/kernel-sockets.js';
import { NextHops } from '../routes/next-hops.js';
import { Reach } from '../routes/reach.js';
import { Leases } from '../subscribers/leases.js';
import { Publisher } from '../subscribers/publisher.js';
import { Subscribers } from '../subscribers/subscribers.js';
import { SubscriberTable } from '../subscribers/table.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import { deploymentOf } from './deployment.js';
import { inheritanceOf, resume } from './handover.js';
import { destinationsOf, observe, sourceOf } from './interface.js';
import { type ActionTargets, take } from './interface-events.js';
import { type OpenedPlane, type Opening, openPlaneFor } from './planes.js';
import { LiveReplicator, type Router, SOCKET_ROUTER } from './replicator.js';
import { readState, restore, StateKeeper, type StateParts } from './state.js';
import { StateFile } from './state-file.js';

const CONTROL_PORTS_TRIED_MAX = 100;

/** A replicator that is open. */
export interface Supervisor {
  /** What `fantail up` prints once packets flow and control answers. */
  readonly readyLine: string;
  /** Closes everything; a second call finds nothing left to close. */
  readonly close: () => Promise<void>;
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
  addon.noNewPrivileges(); // ours and everybody's whom we start
  const subscribers = new Subscribers();
  const observed = observe(config);
  const { link } = observed;
  const deployment = deploymentOf(config, observed);
  const opening = { config, link, subscribers, onFatal, closers };
  const opened = await openPlaneFor(opening, deployment);
  const { plane, sockets, filters, fallbacks } = opened;
  if (opened.adopted === null) logFallbacks(plane.opened.mode, fallbacks);
  const { arena } = plane;
  const table = new SubscriberTable(arena, subscribers, sourceOf(config, link));
  const publisher = new Publisher({ table, sockets, wake: () => plane.wake() });
  const targets: ActionTargets = {
    move: (moved) => {
      replicator.destinations = destinationsOf(config, moved);
      const source = sourceOf(config, moved);
      table.moveTo(source);
      nextHops?.moveTo(source.ip);
    },
    publish: () => publisher.pump(),
    end: onFatal,
  };
  const watch = link === null ? null : openWatch(opening, targets);
  const { router, nextHops } =
    watch === null || plane.opened.mode === 'socket'
      ? { router: SOCKET_ROUTER, nextHops: null }
      : openRoutes(opening, { watch, sockets, publisher });
  if (opened.adopted !== null)
    resume(opened.adopted.filters, { table, subscribers, filters, router });
  const keep = () => {
    try {
      plane.keep(inheritanceOf({ ...opened, config, link, subscribers }));
    } catch (error) {
      log.error(error, 'what the next supervisor is to know');
    }
  };
  keep();
  const workers = plane.filters;
  const desk = new FilterDesk({
    filters,
    workers,
    arena,
    subscribers,
    table,
    publisher,
    onChange: keep,
  });
  const leases = closers.keep(
    new Leases(arena, subscribers, (subscriber) => replicator.expire(subscriber)),
  );
  if (opened.adopted !== null) leases.takeOver();
  const pulse = new Pulse({ filters, plane, desk });
  closers.add(() => pulse.stop());
  const replicator = new LiveReplicator(
    { ...opened, config, subscribers, leases, publisher, router, desk, pulse },
    destinationsOf(config, link),
  );
  publisher.pump();
  const state = await openState(config, opened.adopted !== null, {
    filters,
    desk,
    subscribers,
    leases,
    replicator,
  });
  const control = await openControl(opening, replicator);
  await openLegacy(opening, replicator);
  // first to go: whoever waits is told before the channel closes
  closers.add(() => publisher.stop());
  // before sessions end, and the leases on them
  if (state !== null) closers.keep(state);
  plane.takeCharge();
  return readyLine(opened, config, control);
}

/** What an earlier run has left in --state, unless it was adopted; kept up to date from now on. */
async function openState(
  { state: path }: Config,
  isAdopted: boolean,
  parts: StateParts,
): Promise<StateKeeper | null> {
  if (path === null) return null;
  const file = new StateFile(path);
  const before = isAdopted ? null : await readState(file);
  if (before !== null) await restore(before, file, parts);
  const keeper = new StateKeeper(file, parts);
  try {
    await keeper.start();
  } catch (error) {
    throw new Failure(`cannot write the state: ${messageOf(error)}`);
  }
  return keeper;
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

/** Follows the interface, by its index, whatever it is called. */
function openWatch({ config, closers }: Opening, targets: ActionTargets): InterfaceWatch {
  const { netns, interfaceName } = config;
  const watch = new InterfaceWatch({
    netns,
    interfaceName,
    onEvent: (event) => take(event, { ...config, interfaceName: watch.interface.name }, targets),
  });
  return closers.keep(watch);
}

/** Follows how each subscriber is reached. */
function openRoutes(
  { config, link, subscribers, closers }: Opening,
  parts: {
    readonly watch: InterfaceWatch;
    readonly sockets: KernelSockets;
    readonly publisher: Publisher;
  },
): { router: Router; nextHops: NextHops } {
  const { netns } = config;
  const { watch, sockets, publisher } = parts;
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
  return { router: reach, nextHops };
}

async function openControl({ config, closers }: Opening, replicator: Replicator): Promise<Control> {
  const { address, port: first, explicit } = config.control;
  const { tokens, tls } = config;
  const onError = (error: unknown) => log.error(error, 'control channel');
  const onChange = ({ who, what, answer }: Change) =>
    log.info(`control: ${who} asked: ${what}: ${answer}`);
  if (tls === null && !address.startsWith('127.'))
    log.warn('the control channel is not encrypted, tokens neither; see --tls-cert');
  for (let port = first; ; port++) {
    try {
      const control = await startControl({
        address,
        port,
        tokens,
        tls,
        replicator,
        onChange,
        onError,
      });
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
  { plane, deployment, adopted }: OpenedPlane,
  { interfaceName, listenIp, listenPort, legacyControl, tls, control: { address } }: Config,
  { port }: Control,
): string {
  const { queues, workers, layout } = deployment;
  return (
    `ready ${interfaceName} ${listenIp}:${listenPort} mode=${plane.opened.mode} layout=${layout} ` +
    `queues=${queues.join(',')} workers=${workers} control=${schemeOf(tls)}://${address}:${port}` +
    (legacyControl === null ? '' : ` legacy=${legacyControl.address}:${legacyControl.port}`) +
    (adopted === null ? '' : ` adopted=${adopted.pid}`)
  );
}
