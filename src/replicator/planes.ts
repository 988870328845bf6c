/**
 * How a data plane comes to be: opened anew, in the best mode that is possible, or taken over from
 * a supervisor that is gone. What is opened is registered with the closers of who asks.
 */
import { closeSync } from 'node:fs';
import { Failure } from '../domain/errors.js';
import { monotonicMs } from '../domain/process/clock.js';
import type { Closers } from '../domain/process/closers.js';
import type { Feed, Feeds } from '../feeds/feeds.js';
import { openFeedSockets } from '../feeds/sockets.js';
import { firstFilters } from '../filters/first.js';
import type { FilterRecords, Filters } from '../filters/registry.js';
import type { FleetInheritance } from '../fleet/member/inheritance.js';
import { addon, type Interface } from '../memory/addon.js';
import { DataPlane, type DataPlaneOptions } from '../processes/data-plane.js';
import { Descriptors } from '../processes/descriptors.js';
import { type Adopted, type Claimed, claim } from '../processes/inheritance.js';
import { fdsOf, Launchers, type SharedXdp } from '../processes/launchers.js';
import { NoMode } from '../processes/rx-protocol.js';
import { KernelSockets } from '../routes/kernel-sockets.js';
import type { Subscribers } from '../subscribers/subscribers.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import { type Lasting, nameOf, type TakenOver, takenOver } from './handover.js';
import { sourceIpOf, xdpFigures } from './interface.js';
import { checkListenAddress, type Deployment } from './plan/deployment.js';
import type { Placed } from './reload/configured.js';
import { verdictsOf } from './stats.js';

/** What every step of opening needs. */
export interface Opening {
  readonly config: Config;
  /** Null for the interface `-`. */
  readonly link: Interface | null;
  readonly subscribers: Subscribers;
  readonly feeds: Feeds;
  /** Done before a data plane is opened anew; throws where one would be in vain. */
  readonly checkFirst: () => Promise<void>;
  /** The data path cannot go on. */
  readonly onFatal: (failure: Failure) => void;
  /** Whatever is opened is registered here. */
  readonly closers: Closers;
}

/** Takes over the data plane that runs for this, or opens one. Throws Failure. */
export async function openPlaneFor(opening: Opening, deployment: Deployment): Promise<OpenedPlane> {
  const { config, link } = opening;
  const { name, what } = nameOf(config, deployment, link?.index ?? 0);
  const claimed = await claim(config.netns, name, what);
  return 'pid' in claimed
    ? adoptPlane(opening, deployment, claimed)
    : openNewPlane(opening, deployment, claimed);
}

/** The data plane, and what was opened for it or taken over with it. */
export interface OpenedPlane extends Lasting {
  readonly plane: DataPlane;
  readonly sockets: KernelSockets;
  readonly filters: Filters;
  readonly deployment: Deployment;
  /** Null: it is new. */
  readonly adopted: {
    readonly pid: number;
    readonly filters: FilterRecords;
    readonly feeds: readonly Feed[];
    /** Null: its supervisor had not put all in place. */
    readonly placed: Placed | null;
    readonly fleet: FleetInheritance | null;
  } | null;
}

/** What a new data plane has before its mode is known. */
type New = Pick<OpenedPlane, 'filters'> & { readonly descriptors: Descriptors };

async function openNewPlane(
  opening: Opening,
  deployment: Deployment,
  { listener }: Claimed,
): Promise<OpenedPlane> {
  const { config, subscribers, closers } = opening;
  const descriptors = closers.keep(Descriptors.open(listener, deployment.workers));
  await opening.checkFirst();
  for (const warning of deployment.warnings) log.warn(warning);
  const filters = await firstFilters(config.filter, () => subscribers.all());
  if (config.filter !== null) {
    const { name } = filters.forNewcomer().module;
    const about = { op: 'filter.use', who: 'command line', code: 'ok', filter: name };
    log.info(about, `command line asked: filter.use ${name}: ok`);
  }
  return openBestPlane(opening, deployment, { filters, descriptors });
}

/**
 * A data plane that runs without a supervisor, as it is: nothing is lost or sent twice. `--filter`
 * is among what is taken over.
 */
async function adoptPlane(
  opening: Opening,
  wanted: Deployment,
  adopted: Adopted,
): Promise<OpenedPlane> {
  const { config, link, subscribers, closers } = opening;
  let taken: TakenOver;
  try {
    taken = takenOver(adopted, config, { deployment: wanted, index: link?.index ?? 0 });
  } catch (error) {
    for (const fd of [...adopted.fds, adopted.socket]) closeQuietly(fd);
    throw error;
  }
  for (const warning of wanted.warnings) log.warn(warning);
  const { opened, slowPath, promiscuity, fallbacks, startedAt_ms } = taken;
  const { verdictsBefore, figuresBefore } = taken;
  const { pid, socket } = adopted;
  const descriptors = closers.keep(taken.descriptors);
  const sockets = closers.keep(taken.sockets);
  for (const fd of [slowPath, promiscuity]) if (fd !== null) closers.add(() => closeSync(fd));
  const filters = await firstFilters(null, () => subscribers.all());
  filters.restore(taken.filters, (module) => taken.modules.get(module) ?? filters.builtIn.bytes);
  const deployment = { ...wanted, modes: [opened.mode] };
  const options = planeOptions(opening, deployment, {
    filters,
    descriptors,
    sockets,
    slowPath,
    shared: null,
  });
  const plane = await DataPlane.adopt(options, { opened, pid, socket });
  closers.add(() => plane.stop());
  if (opened.xdp !== null && link !== null) {
    const launchers = closers.keep(new Launchers(config.netns, link));
    launchers.adopt(opened.xdp);
  }
  log.info(`adopted the data plane of an earlier fantail up: fantail-rx, pid ${pid}`);
  if (config.filter !== null)
    log.info('its filters are as they were: --filter is not loaded again');
  return {
    plane,
    sockets,
    slowPath,
    promiscuity,
    filters,
    deployment,
    fallbacks,
    startedAt_ms,
    verdictsBefore,
    figuresBefore,
    adopted: {
      pid,
      filters: taken.filters,
      feeds: taken.feeds,
      placed: taken.placed,
      fleet: taken.fleet,
    },
  };
}

/**
 * AF_XDP with its side sockets; if no such mode is possible and socket mode is allowed, that, and
 * none of those.
 */
async function openBestPlane(
  opening: Opening,
  deployment: Deployment,
  fresh: New,
): Promise<OpenedPlane> {
  const modes = deployment.modes.filter((mode) => mode !== 'socket');
  let fallbacks = deployment.fallbacks;
  if (modes.length > 0) {
    const { closers } = opening;
    const kept = closers.count;
    try {
      return await openXdpPlane(opening, { ...deployment, modes }, fresh);
    } catch (error) {
      if (!(error instanceof NoMode)) throw error;
      if (modes.length === deployment.modes.length)
        throw new Failure(`no mode that --promiscuous allows is possible: ${error.message}`);
      await closers.close(kept);
      fallbacks = error.tried;
    }
  }
  return openPlane(
    opening,
    { ...deployment, modes: ['socket'], fallbacks },
    { ...fresh, shared: null, sockets: new KernelSockets([]), slowPath: null, promiscuity: null },
  );
}

async function openXdpPlane(
  opening: Opening,
  deployment: Deployment,
  fresh: New,
): Promise<OpenedPlane> {
  const { config, link, closers } = opening;
  // deploymentOf has seen to it
  if (link === null) throw new Error('an XDP mode needs an interface');
  checkListenAddress(config, link);
  const { interfaceName, netns, promiscuous } = config;
  const source = sourceIpOf(config, link);
  const { workers } = deployment;
  const sockets = closers.keep(KernelSockets.open({ netns, interfaceName, source, workers }));
  const feed = opening.feeds.main;
  const [slowPath = -1] = openFeedSockets({ netns, interfaceName, feed, promiscuous, count: 1 });
  closers.add(() => closeSync(slowPath));
  const promiscuity = promiscuous ? addon.openPromiscuous(netns, interfaceName) : null;
  if (promiscuity !== null) closers.add(() => closeSync(promiscuity));
  const launchers = closers.keep(new Launchers(netns, link));
  const shared = await launchers.join();
  if (shared !== null) for (const fd of fdsOf(shared)) closers.add(() => closeSync(fd));
  const parts = { ...fresh, shared, sockets, slowPath, promiscuity };
  const opened = await openPlane(opening, deployment, parts);
  const program = shared ?? opened.plane.opened.xdp;
  if (program !== null) launchers.share(program);
  return opened;
}

async function openPlane(
  opening: Opening,
  deployment: Deployment,
  parts: PlaneParts,
): Promise<OpenedPlane> {
  const startedAt_ms = monotonicMs();
  const { shared, sockets, slowPath, promiscuity, filters } = parts;
  const verdictsBefore =
    shared === null ? [] : deployment.queues.map((queue) => verdictsOf(shared.verdicts, queue));
  const figuresBefore = xdpFigures(opening.config);
  const plane = await DataPlane.open(planeOptions(opening, deployment, parts));
  opening.closers.add(() => plane.stop());
  const fallbacks = [...deployment.fallbacks, ...plane.opened.fallbacks];
  return {
    plane,
    sockets,
    slowPath,
    promiscuity,
    filters,
    deployment,
    fallbacks,
    startedAt_ms,
    verdictsBefore,
    figuresBefore,
    adopted: null,
  };
}

type PlaneParts = New & {
  readonly shared: SharedXdp | null;
  readonly sockets: KernelSockets;
  readonly slowPath: number | null;
  readonly promiscuity: number | null;
};

function planeOptions(
  { config, feeds, onFatal }: Opening,
  deployment: Deployment,
  { filters, descriptors, sockets, slowPath, shared }: Omit<PlaneParts, 'promiscuity'>,
): DataPlaneOptions {
  const { modes, queues, layout, workers, mtu, yields, paths } = deployment;
  const { rxCpu, workerCpus, pumpCpus } = deployment;
  return {
    opening: {
      interface: config.interfaceName,
      netns: config.netns,
      modes,
      queues,
      layout,
      workers,
      listen: { ip: config.listenIp, port: config.listenPort },
      promiscuous: config.promiscuous,
      mtu,
      order: config.order,
      busyPoll: config.busyPoll,
      yields,
      checksumFull: config.checksumFull,
      paths,
      bulkCpus: pumpCpus ?? workerCpus,
    },
    shared,
    rxCpu,
    workerCpus,
    pumpCpus,
    filters: filters.loaded(),
    kernelSockets: sockets,
    slowPath,
    feeds,
    descriptors,
    onFatal,
  };
}

/** One that may be closed already. */
function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // it was
  }
}
