import type { Endpoint } from '../domain/endpoint.js';
import type { Failure } from '../domain/errors.js';
import { Closers } from '../domain/process/closers.js';
import { Feeds } from '../feeds/feeds.js';
import { FilterDesk, type FilterDeskOptions } from '../filters/desk.js';
import { Gaps } from '../filters/gaps.js';
import { Reports } from '../filters/reports.js';
import { addon } from '../memory/addon.js';
import { Recent } from '../memory/recent.js';
import { Pulse } from '../processes/pulse.js';
import { InterfaceWatch } from '../routes/interface-watch.js';
import type { KernelSockets } from '../routes/kernel-sockets.js';
import { NextHops } from '../routes/next-hops.js';
import { Reach } from '../routes/reach.js';
import { Leases } from '../subscribers/leases.js';
import { Publisher } from '../subscribers/publisher.js';
import { type Subscriber, Subscribers } from '../subscribers/subscribers.js';
import { SubscriberTable } from '../subscribers/table.js';
import { log } from '../terminal/log.js';
import { FeedDesk } from './feed-desk.js';
import { inheritanceOf, rememberBuild, resume } from './handover.js';
import { destinationsOf, observe, sourceIpOf, sourceOf } from './interface.js';
import { type ActionTargets, take } from './interface-events.js';
import type { FleetParts, OpenedFleet } from './member/open.js';
import { type Deployment, deploymentOf } from './plan/deployment.js';
import { onlyPath, Paths } from './plan/paths.js';
import { type OpenedPlane, type Opening, openPlaneFor } from './planes.js';
import { type Configuration, type InForce, placedOf, type Reread } from './reload/configured.js';
import type { Reloader } from './reload/reloader.js';
import type { Roster } from './reload/roster.js';
import { checkFirst, openFeeds, openRoster } from './reload/start.js';
import { LiveReplicator, type Router, SOCKET_ROUTER } from './replicator.js';
import type { StateKeeper } from './state/state.js';

/** What it is to be. */
export interface Told {
  readonly configuration: Configuration;
  /** Null: there is no file to be read again. */
  readonly reread: Reread | null;
}

/** A replicator at a glance. */
export interface Standing {
  readonly mode: string;
  readonly feeds: number;
  readonly subscribers: number;
}

/** A replicator that is open. */
export interface Supervisor {
  /** What `fantail up` prints once packets flow and control answers. */
  readonly readyLine: string;
  /** How it stands. */
  readonly standing: () => Standing;
  /** Reads the configuration again; `who` asks. What becomes of it is in the log. */
  readonly reload: (who: string) => Promise<unknown>;
  /** Closes everything; a second call finds nothing left to close. */
  readonly close: () => Promise<void>;
}

/** What it tells of itself. */
export interface Listener {
  readonly onFatal: (failure: Failure) => void;
  /** It has no work any more: a member of a group that was drained. */
  readonly onEnd: () => void;
  /** Whoever asked for it: a reload begins, or has ended. */
  readonly onReload: (isUnderWay: boolean) => void;
}

/** Opens everything. On failure what was opened is closed again, and the reason thrown. */
export async function openSupervisor(told: Told, listener: Listener): Promise<Supervisor> {
  const closers = new Closers((error) => log.error(error, 'while stopping'));
  try {
    const opened = await open(told, listener, closers);
    return { ...opened, close: () => closers.close() };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

async function open(
  { configuration, reread }: Told,
  { onFatal, onEnd, onReload }: Listener,
  closers: Closers,
): Promise<Omit<Supervisor, 'close'>> {
  const { config } = configuration;
  renouncePrivileges();
  const subscribers = new Subscribers();
  const feeds = new Feeds({ ip: config.listenIp, port: config.listenPort, source: null });
  const observed = observe(config);
  const { link } = observed;
  const deployment = deploymentOf(config, observed);
  const first = () => checkFirst(configuration, destinationsOf(config, link));
  const opening = { config, link, subscribers, feeds, checkFirst: first, onFatal, closers };
  const { opened, ports, states } = await openPlaneAndLoad(opening, deployment);
  const { sockets, filters, plane } = opened;
  const inForce = inForceFrom(config, opened);
  logLacks(opened);
  const table = new SubscriberTable(plane.arena, subscribers, feeds, sourceOf(config, link));
  const paths = openPaths(opening, opened);
  const wake = wakerOf(paths, plane);
  const publisher = closers.keep(new Publisher({ table, sockets, wake }));
  const targets: ActionTargets = {
    judge: (now) => {
      replicator.destinations = destinationsOf(inForce.config, now);
      feedDesk.interfaceChanged();
    },
    move: (moved) => {
      const source = sourceOf(inForce.config, moved);
      table.moveTo(source);
      nextHops?.moveTo(source.ip);
    },
    publish: () => publisher.pump(),
    end: onFatal,
  };
  const watch = link === null ? null : openWatch(opening, targets);
  const isRouted = watch !== null && plane.opened.mode !== 'socket';
  const { router, nextHops } = isRouted
    ? openRoutes(opening, { watch, sockets, publisher })
    : { router: SOCKET_ROUTER, nextHops: null };
  if (opened.adopted !== null) resume(opened.adopted, { ...opening, table, filters, router });
  const keep = () => leaveToNext(opening, opened, inForce);
  keep();
  const feedDesk = openFeedDesk(opening, { opened, publisher, keep, watch });
  const { reports, gaps } = reportsOf(opening, opened, table);
  const desk = openDesk(opening, opened, { table, publisher, reports, onChange: keep });
  const endLease = (subscriber: Subscriber) => replicator.expire(subscriber);
  const leases = closers.keep(new Leases(plane.arena, subscribers, endLease));
  if (opened.adopted !== null) leases.takeOver();
  const pulse = new Pulse({ filters, plane, desk, gaps });
  closers.add(() => pulse.stop());
  const recent = closers.keep(new Recent(plane.arena));
  const served = { leases, publisher, router, desk, feedDesk, gaps, pulse, paths, recent };
  const parts = { ...opening, ...opened, ...served };
  const replicator = closers.keep(new LiveReplicator(parts, destinationsOf(config, link)));
  await openFeeds(opened, feedDesk, config);
  const kept = { filters, desk, subscribers, leases, feeds, replicator, keep };
  const state = await states.openState(opening, opened.adopted !== null, kept);
  const { roster, held } = await openRoster(opened, configuration, { ...kept, publisher });
  publisher.pump();
  const joining = { ...kept, feedDesk, publisher, recent, inForce, onEnd };
  const fleet = await openMember(opening, opened, joining);
  const control = await ports.openControl(opening, inForce, plane, { replicator, fleet });
  const living = { table, publisher, feedDesk, replicator, roster, control };
  const remember = (now: Configuration) => tellPlaced(now, { inForce, roster, keep });
  remember(held);
  const linkNow = () => watch?.interface ?? link;
  const reloading = { ...living, linkNow, inForce, reread, keep: remember, onReload };
  const reloader = await ports.openReloader(opening, held, reloading);
  replicator.reloader = reloader;
  closeFirst(closers, publisher, state, reloader);
  await ports.joinFleet(fleet, config, control, closers);
  plane.takeCharge();
  return {
    readyLine: ports.readyLine(opened, config, control),
    standing: () => standingOf(opening, opened),
    reload: (who) => reloader.reload(who),
  };
}

const standingOf = ({ feeds, subscribers }: Opening, { plane }: OpenedPlane): Standing => {
  return { mode: plane.opened.mode, feeds: feeds.all().length, subscribers: subscribers.size };
};

/** The next supervisor is to know what of the configuration is in place. */
function tellPlaced(
  now: Configuration,
  parts: { readonly inForce: InForce; readonly roster: Roster; readonly keep: () => void },
): void {
  parts.inForce.placed = placedOf(now, parts.roster.loaded);
  parts.keep();
}

function closeFirst(
  closers: Closers,
  publisher: Publisher,
  state: StateKeeper | null,
  reloader: Reloader,
): void {
  // whoever waits is told before the channel closes
  closers.add(() => publisher.close());
  // before sessions end, and the leases on them
  if (state !== null) closers.keep(state);
  // first to go: what is half changed is told to nobody
  closers.keep(reloader);
}

function openDesk(
  { subscribers }: Opening,
  { filters, plane }: OpenedPlane,
  parts: Pick<FilterDeskOptions, 'table' | 'publisher' | 'reports' | 'onChange'>,
): FilterDesk {
  const { arena, filters: workers } = plane;
  return new FilterDesk({ ...parts, subscribers, filters, arena, workers });
}

/** What filters tell of gaps and lines. */
function reportsOf(
  { feeds }: Opening,
  { plane: { arena }, filters }: OpenedPlane,
  { sets }: SubscriberTable,
): { reports: Reports; gaps: Gaps } {
  const feedAt = (endpoint: Endpoint) => feeds.at(endpoint)?.name ?? null;
  const reports = new Reports({ arena, sets, feedAt });
  const { workers } = arena;
  const now = () => performance.now();
  return { reports, gaps: new Gaps({ filters, reports, sets, workers, now }) };
}

/** What the next supervisor is to know, as it is now. */
function leaveToNext(opening: Opening, opened: OpenedPlane, { placed, fleet }: InForce): void {
  try {
    opened.plane.keep(inheritanceOf({ ...opened, ...opening, placed, fleet }));
  } catch (error) {
    log.error(error, 'what the next supervisor is to know');
  }
}

/** Feeds may come and go from then on. */
function openFeedDesk(
  opening: Opening,
  parts: {
    readonly opened: OpenedPlane;
    readonly publisher: Publisher;
    readonly keep: () => void;
    readonly watch: InterfaceWatch | null;
  },
): FeedDesk {
  const link = () => parts.watch?.interface ?? null;
  const desk = new FeedDesk({ ...opening, ...parts, link });
  // what changed while nobody watched; and an earlier one may not have told all that it had
  desk.interfaceChanged();
  for (const feed of opening.feeds.all()) parts.opened.plane.tellFeed(feed);
  return opening.closers.keep(desk);
}

/** What is loaded last takes a quarter of a second, in which fantail-rx and the workers start. */
async function openPlaneAndLoad(opening: Opening, deployment: Deployment) {
  const planeOpening = openPlaneFor(opening, deployment);
  const loading = loadRest();
  await Promise.allSettled([planeOpening, loading]); // what is opened is known before anything throws
  return { opened: await planeOpening, ...(await loading) };
}

/** What is not needed before packets flow. */
async function loadRest() {
  const [ports, states] = await Promise.all([import('./ports.js'), import('./state/state.js')]);
  rememberBuild();
  return { ports, states };
}

/** What an earlier supervisor has left of it holds until this one says otherwise. */
function inForceFrom(config: InForce['config'], { adopted }: OpenedPlane): InForce {
  return { config, placed: adopted?.placed ?? null, fleet: adopted?.fleet ?? null };
}

function renouncePrivileges(): void {
  addon.noNewPrivileges(); // ours and everybody's whom we start
  addon.clearAmbientCapabilities(); // for all whom we start but fantail-rx (programs.ts)
}

/** What the publisher does once a table is there. */
const wakerOf = (paths: Paths, plane: OpenedPlane['plane']) => () => {
  paths.choose();
  plane.wake();
};

/** Only members of a group pay for the room. */
async function openMember(
  opening: Opening,
  opened: OpenedPlane,
  parts: FleetParts,
): Promise<OpenedFleet | null> {
  if (opening.config.fleet === null) return null;
  return (await import('./member/open.js')).openFleet(opening, opened, parts);
}

/** Of a data plane that it has opened itself. */
function logLacks(opened: OpenedPlane): void {
  if (opened.adopted !== null) return;
  logFallbacks(opened);
  logUntold(opened);
}

/** One warning: what it runs in, and why nothing better. */
function logFallbacks({ plane, fallbacks }: OpenedPlane): void {
  if (fallbacks.length === 0) return;
  const reasons = [...new Set(fallbacks.map(({ reason }) => reason))].map((reason) => {
    const modes = fallbacks.filter((each) => each.reason === reason).map((each) => each.mode);
    return `${modes.join(', ')}: ${reason}`;
  });
  log.warn(`running in ${plane.opened.mode} mode, since it cannot be ${reasons.join('; ')}`);
}

/** What this kernel cannot tell of bulk transmit. */
function logUntold({ plane }: OpenedPlane): void {
  const [pages] = plane.opened.pages;
  if (pages === undefined || addon.livePools(pages) !== null) return;
  log.info(
    'transmit.live_pools is null: this kernel has no tracepoint page_pool:page_pool_release',
  );
}

/** Follows what each worker sends at once. */
function openPaths({ subscribers, closers }: Opening, { deployment, plane }: OpenedPlane): Paths {
  const { arena, opened } = plane;
  const only = onlyPath(deployment, opened);
  return closers.keep(new Paths({ arena, subscribers, only, wake: () => plane.wake() }));
}

/** Follows the interface, by its index, whatever it is called. */
function openWatch({ config, closers }: Opening, targets: ActionTargets): InterfaceWatch {
  const { netns, interfaceName } = config;
  const watch = new InterfaceWatch({
    netns,
    interfaceName,
    onEvent: (event) => {
      const { interface: known } = watch;
      take(event, { config: { ...config, interfaceName: known.name }, known }, targets);
    },
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
    source: sourceIpOf(config, link),
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
