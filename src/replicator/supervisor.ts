/**
 * The supervisor: opens everything in order, serves the control channel, keeps the subscriber table
 * and the neighbours in step with the kernel, and closes in reverse. It is never on the data path.
 *
 *   interface → deployment → side sockets → launchers → data plane → publisher → neighbours → control, legacy → `ready`
 */
import { closeSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isFantail } from '../control/client.js';
import { type Control, startControl } from '../control/server.js';
import type { Counts } from '../domain/counts.js';
import { Failure, messageOf, never } from '../domain/errors.js';
import type { Holder } from '../domain/filter.js';
import type { Replicator } from '../domain/replicator.js';
import type { FilterInfo, FilterRow, Stats, SubscriberRow } from '../domain/statistics.js';
import { checkFilter, hashOf } from '../filters/check/process.js';
import { FilterDesk } from '../filters/desk.js';
import { BUILT_IN, FILTER_NAME_LENGTH_MAX, Filters } from '../filters/registry.js';
import { startLegacy } from '../legacy/server.js';
import { addon, type Interface } from '../memory/addon.js';
import { limits } from '../memory/layout.js';
import { DataPlane, NoMode } from '../processes/data-plane.js';
import { Launchers, type SharedXdp } from '../processes/launchers.js';
import { Pulse } from '../processes/pulse.js';
import { type InterfaceEvent, Neighbours } from '../routes/neighbours.js';
import { Reach } from '../routes/reach.js';
import { Publisher } from '../subscribers/publisher.js';
import { type Route, SubscriberTable } from '../subscribers/table.js';
import { log } from '../terminal/log.js';
import { type Config, CPU_MAX, numberListOf } from './config.js';
import { type Deployment, deploymentOf } from './deployment.js';
import { Destinations, defaultAllow, defaultAllowOf } from './destinations.js';
import { statsOf, verdictsOf } from './stats.js';

const FILTER_DEFAULT = fileURLToPath(
  new URL('../../../build/filters/rewrite.wasm', import.meta.url),
);
const CONTROL_PORTS_TRIED_MAX = 100;
/** Socket mode: the kernel finds the neighbours. */
const SOCKET_ROUTE: Route = { state: 'live', mac: null, kernelSocket: null };

export class Supervisor implements Replicator {
  private readonly startedAt_ms = Date.now();
  private closers: (() => Promise<void> | void)[] = [];
  private deployment!: Deployment; // set first thing in start(), before anything reads it
  private plane!: DataPlane;
  private table!: SubscriberTable;
  private publisher!: Publisher;
  private filters!: Filters;
  private desk!: FilterDesk;
  private pulse!: Pulse;
  private reach: Reach | null = null;
  private link: Interface | null = null;
  // set in open() and whenever the interface's addresses change
  private destinations!: Destinations;
  private before: Counts[] = [];
  control: Control | null = null;

  constructor(
    private readonly config: Config,
    private readonly onFatal: (failure: Failure) => void,
  ) {}

  // -- opening and closing ------------------------------------------------------------------------

  /** Opens everything. On failure what was opened is closed again, and the reason thrown. */
  async start(): Promise<void> {
    try {
      await this.open();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  private async open(): Promise<void> {
    const { config } = this;
    addon.noNewPrivileges(); // ours and everybody's whom we start
    this.filters = await firstFilters(config.filter, () => this.table?.all() ?? []);
    this.link = describe(config);
    const observed = { link: this.link, capabilities: addon.capabilities(), cores: allowedCores() };
    this.deployment = deploymentOf(config, observed);
    for (const warning of this.deployment.warnings) log.warn(warning);
    this.destinations = destinationsOf(config, this.link);
    await this.openBestPlane();
    this.logFallbacks();
    this.table = new SubscriberTable(this.plane.arena, this.source());
    this.publisher = new Publisher({
      table: this.table,
      wake: () => this.plane.wake(),
      retiring: () => this.reach?.retiring() ?? [],
      release: (slot) => this.reach?.release(slot),
    });
    if (this.plane.mode !== 'socket') this.openReach();
    const { filters, plane, table, publisher } = this;
    this.desk = new FilterDesk({ filters, plane, table, publisher });
    this.pulse = new Pulse({ filters, plane, desk: this.desk });
    this.closers.push(() => this.pulse.stop());
    await this.openControl();
    await this.openLegacy();
    // first to go: whoever waits is told before the channel closes
    this.closers.push(() => this.publisher.stop());
  }

  /**
   * AF_XDP with its side sockets; if no such mode is possible and socket mode is allowed, that, and
   * none of those.
   */
  private async openBestPlane(): Promise<void> {
    const { deployment } = this;
    const xdpModes = deployment.modes.filter((mode) => mode !== 'socket');
    if (xdpModes.length > 0) {
      const opened = this.closers.length;
      this.deployment = { ...deployment, modes: xdpModes };
      try {
        return await this.openWithLink();
      } catch (error) {
        if (!(error instanceof NoMode) || xdpModes.length === deployment.modes.length) throw error;
        await this.close(opened);
        this.deployment = { ...deployment, modes: ['socket'], fallbacks: error.tried };
      }
    }
    await this.openPlane(null, []);
  }

  private kernelSockets: number[][] = [];

  private async openWithLink(): Promise<void> {
    const { config, deployment, link } = this;
    // deploymentOf has seen to it
    if (link === null) throw new Error('an XDP mode needs an interface');
    const source = this.source();
    const udp = (ip: string) => this.openUdp(ip);
    // Keeps the listen port, so that packets which pass the XDP program draw no ICMP errors.
    if (link.addresses.some(({ ip }) => ip === config.listenIp)) udp(config.listenIp);
    this.kernelSockets = Array.from({ length: deployment.workers }, () =>
      Array.from({ length: limits.KERNEL_SOCKETS_MAX }, () => udp(source.ip)),
    );
    const launchers = new Launchers(config.netns, link.index);
    this.closers.push(() => launchers.close());
    const shared = await launchers.join();
    if (shared !== null)
      for (const fd of [shared.link, shared.xsks, shared.feeds, shared.verdicts])
        this.closeLater(fd);
    await this.openPlane(shared, this.kernelSockets);
    const program = shared ?? this.plane.xdp;
    if (program !== null) launchers.share(program);
  }

  private async openPlane(shared: SharedXdp | null, kernelSockets: readonly (readonly number[])[]) {
    const { config, deployment, filters, onFatal } = this;
    this.plane = new DataPlane({
      config,
      deployment,
      filters: filters.loaded(),
      shared,
      kernelSockets,
      onFatal,
    });
    this.closers.push(() => this.plane.stop());
    if (shared !== null)
      this.before = deployment.queues.map((queue) => verdictsOf(shared.verdicts, queue));
    await this.plane.start();
  }

  private openUdp(ip: string): number {
    const { interfaceName, listenPort, netns } = this.config;
    try {
      const fd = addon.openUdp(netns, {
        ip,
        port: listenPort,
        device: interfaceName,
        drop: true,
        reuse: true,
      });
      this.closeLater(fd);
      return fd;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      throw new Failure(
        `UDP port ${listenPort} of ${ip} is in use by another program; see: ss -lunp 'sport = :${listenPort}'`,
      );
    }
  }

  private closeLater(fd: number): void {
    this.closers.push(() => closeSync(fd));
  }

  /** One warning: what it runs in, and why nothing better. */
  private logFallbacks(): void {
    const { fallbacks, mode } = this.plane;
    if (fallbacks.length === 0) return;
    const reasons = [...new Set(fallbacks.map(({ reason }) => reason))].map((reason) => {
      const modes = fallbacks.filter((each) => each.reason === reason).map((each) => each.mode);
      return `${modes.join(', ')}: ${reason}`;
    });
    log.warn(`running in ${mode} mode, since it cannot be ${reasons.join('; ')}`);
  }

  /** Our side of every frame: the listen address if it is the interface's, else its first. */
  private source() {
    const { config, link } = this;
    const own = link?.addresses ?? [];
    const ip = own.find((each) => each.ip === config.listenIp)?.ip ?? own[0]?.ip ?? config.listenIp;
    const mac = Uint8Array.from(
      (link?.mac || '00:00:00:00:00:00').split(':').map((byte) => Number.parseInt(byte, 16)),
    );
    return { ip, port: config.listenPort, mac };
  }

  private openReach(): void {
    const { config } = this;
    const neighbours = new Neighbours({
      netns: config.netns,
      interfaceName: config.interfaceName,
      source: this.source().ip,
      onChange: (ip) => this.reach?.neighbourChanged(ip),
      onInterface: (event) => this.interfaceChanged(event),
      onProblem: (sentence) => log.warn(sentence),
    });
    this.closers.push(() => neighbours.close());
    const reach = new Reach({
      neighbours,
      sockets: this.kernelSockets,
      connect: addon.connectUdp,
      disconnect: addon.disconnectUdp,
      queued: addon.udpQueued,
      onChange: (key) => this.reachChanged(key),
    });
    this.closers.push(() => reach.close());
    this.reach = reach;
  }

  private async openControl(): Promise<void> {
    const { address, port: first, explicit } = this.config.control;
    for (let port = first; ; port++) {
      try {
        const { token } = this.config;
        const onError = (error: unknown) => log.error(error, 'control channel');
        this.control = await startControl({ address, port, token, replicator: this, onError });
        break;
      } catch (error) {
        const taken = error instanceof Failure && error.systemCode === 'EADDRINUSE';
        if (!taken || explicit || port - first === CONTROL_PORTS_TRIED_MAX) throw error;
        if (!(await isFantail(address, port))) throw error; // a stranger's: the user should know
      }
    }
    if (this.control.port !== first)
      log.warn(
        `control port ${first} is taken; this launcher answers on ${address}:${this.control.port}`,
      );
    this.closers.push(() => this.control?.close());
  }

  /**
   * Legacy clients name a replicator by its address only: if that is the interface's, they are
   * where its packets come from, in the data plane's namespace; any other address is one of the
   * caller's, like --control.
   */
  private async openLegacy(): Promise<void> {
    const { legacyControl: at, netns } = this.config;
    if (at === null) return;
    const isOwn = this.link?.addresses.some(({ ip }) => ip === at.address) === true;
    let fd: number;
    try {
      const options = { ip: at.address, port: at.port, device: null, drop: false, reuse: false };
      fd = addon.openUdp(isOwn ? netns : null, options);
    } catch (error) {
      throw new Failure(`legacy control: ${messageOf(error)}`);
    }
    addon.allowFragments(fd); // a list of 255 is longer than an Ethernet packet
    const legacy = await startLegacy({ fd, port: at.port, replicator: this, log });
    this.closers.push(() => legacy.close());
    log.warn(
      `legacy control on UDP ${at.address}:${at.port} asks nobody who they are: ` +
        'whoever reaches it can subscribe and remove what --allow permits',
    );
  }

  /** Closes in reverse order of opening; a second call finds nothing left to close. */
  async stop(): Promise<void> {
    await this.close(0);
  }

  /** Closes, in reverse, everything that was opened after the first `kept` things. */
  private async close(kept: number): Promise<void> {
    for (const close of this.closers.splice(kept).reverse()) {
      try {
        await close();
      } catch (error) {
        log.error(error, 'while stopping'); // the rest must be closed all the same
      }
    }
  }

  readyLine(): string {
    const { interfaceName, listenIp, listenPort, legacyControl } = this.config;
    const { queues, workers, layout } = this.deployment;
    const control = `${this.config.control.address}:${this.control?.port}`;
    return (
      `ready ${interfaceName} ${listenIp}:${listenPort} mode=${this.plane.mode} layout=${layout} ` +
      `queues=${queues.join(',')} workers=${workers} control=ws://${control}` +
      (legacyControl === null ? '' : ` legacy=${legacyControl.address}:${legacyControl.port}`)
    );
  }

  // -- subscribers --------------------------------------------------------------------------------

  async add(ip: string, port: number): Promise<{ existing: boolean }> {
    this.destinations.check(ip, port);
    if (this.table.find(ip, port) !== undefined) {
      await this.publisher.applied();
      return { existing: true };
    }
    const worker = this.table.leastLoadedWorker();
    const filter = this.filters.forNewcomer();
    const added = this.table.add({ ip, port, worker, route: SOCKET_ROUTE, filter });
    if (this.reach !== null) added.route = routeOf(this.reach.track({ ip, port, worker }));
    await this.publisher.applied();
    return { existing: false };
  }

  async remove(ip: string, port: number): Promise<{ removed: boolean }> {
    const removed = this.table.remove(ip, port);
    if (removed) this.reach?.untrack({ ip, port });
    await this.publisher.applied();
    return { removed };
  }

  list(): SubscriberRow[] {
    return [...this.table.all()].map(({ ip, port, worker, route, filter }) => ({
      ip,
      port,
      state: route.state === 'no_route' ? 'unresolved' : route.state,
      mac:
        route.mac === null
          ? null
          : Buffer.from(route.mac)
              .toString('hex')
              .replace(/(..)(?=.)/g, '$1:'),
      worker,
      filter: filter.module.name,
    }));
  }

  stats(): Stats {
    const { config, plane, deployment } = this;
    const program = plane.xdp;
    return statsOf(plane.arena, this.table, {
      filters: this.desk.stats(),
      interfaceName: config.interfaceName,
      queues: deployment.queues,
      mode: plane.mode,
      fallbacks: plane.fallbacks,
      layout: deployment.layout,
      feed: { ip: config.listenIp, port: config.listenPort },
      startedAt_ms: this.startedAt_ms,
      verdicts: program === null ? null : { fd: program.verdicts, before: this.before },
      rxSockets: plane.mode === 'socket' ? [] : plane.rxSockets,
      txSockets: plane.mode === 'socket' ? [] : plane.txSockets,
      workers: plane.processes,
    });
  }

  async filterLoad(name: string, module: Uint8Array): Promise<FilterInfo> {
    const info = await this.desk.load(name, module);
    this.pulse.hurry();
    return info;
  }

  filterUse(
    name: string,
    param: Uint8Array,
    to: { ip: string; port: number } | null,
  ): Promise<number> {
    return this.desk.use(name, param, to);
  }

  filterList(): FilterRow[] {
    return this.desk.list();
  }

  filterInfo(name: string): FilterInfo {
    return this.desk.info(name);
  }

  filterUnload(name: string): Promise<void> {
    return this.desk.unload(name);
  }

  private reachChanged(key: string): void {
    const subscriber = this.table.at(key);
    if (subscriber === undefined || this.reach === null) return;
    this.table.reroute(subscriber, routeOf(this.reach.of(subscriber)));
    this.publisher.pump();
  }

  // -- the interface ------------------------------------------------------------------------------

  private interfaceChanged(event: InterfaceEvent): void {
    const { interfaceName } = this.config;
    switch (event.kind) {
      case 'state':
        log.warn(
          `${interfaceName} is ${event.up ? 'up again' : 'down; nothing is sent until it is up'}`,
        );
        return;
      case 'mtu':
        log.warn(`the MTU of ${interfaceName} is ${event.mtu} now; start fantail again to use it`);
        return;
      case 'mac':
      case 'address':
        this.link = describe(this.config);
        this.destinations = destinationsOf(this.config, this.link);
        this.table.source = this.source();
        this.table.touch();
        log.warn(
          `${interfaceName} has changed its ${event.kind}; copies leave from ${this.table.source.ip} now`,
        );
        this.publisher.pump();
        return;
      case 'gone':
        this.onFatal(new Failure(`the interface ${interfaceName} is gone`));
        return;
      default:
        never(event);
    }
  }
}

function routeOf(way: {
  state: Route['state'];
  mac: Uint8Array | null;
  kernelSocket: number | null;
}): Route {
  return { state: way.state, mac: way.mac, kernelSocket: way.kernelSocket };
}

/**
 * The built-in filter, which a test of this build has checked, and the user's, checked, for
 * everybody.
 */
async function firstFilters(
  file: string | null,
  subscribers: () => Iterable<Holder>,
): Promise<Filters> {
  const bytes = readModule(FILTER_DEFAULT);
  const filters = new Filters(
    bytes,
    { abi: limits.FILTER_ABI, state: 0, hash: hashOf(bytes) },
    subscribers,
  );
  if (file === null) return filters;
  const own = readModule(file);
  const facts = await checkFilter(own);
  const name = nameOf(file);
  filters.checkName(name);
  filters.name(filters.place(name, own, facts));
  filters.use(name, new Uint8Array(), null);
  return filters;
}

/**
 * `dir/My Filter.wasm` → `my-filter`; one that would pass for the built-in gets a name that says
 * whose it is.
 */
function nameOf(file: string): string {
  const plain = basename(file, '.wasm')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-');
  const name = plain.replace(/^[^a-z0-9]+/, '').slice(0, FILTER_NAME_LENGTH_MAX);
  return name === '' || name === BUILT_IN ? `own-${name}` : name;
}

function readModule(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Failure(`cannot read the filter: ${messageOf(error)}`);
  }
}

/** The cores that this process, and so everything that it starts, may run on. */
function allowedCores(): number[] {
  const list =
    /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return numberListOf('Cpus_allowed_list', list, CPU_MAX);
}

function describe({ interfaceName, netns }: Config): Interface | null {
  if (interfaceName === '-') return null;
  try {
    return addon.describeInterface(netns, interfaceName);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV')
      throw new Failure(`there is no interface ${interfaceName}; see: ip link`);
    throw new Failure(messageOf(error));
  }
}

function destinationsOf(config: Config, link: Interface | null): Destinations {
  const { listenIp, listenPort } = config;
  const local = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const allow =
    config.allow ?? (link === null ? defaultAllowOf(listenIp, local) : defaultAllow(link));
  const own = link === null || link.loopback ? [] : link.addresses;
  return new Destinations({ feed: { ip: listenIp, port: listenPort }, own, allow });
}
