/**
 * The data path as processes: fantail-rx and the TX workers. Started in order, replaced when they
 * die, by one that stands by, from the descriptors kept here (so the kernel's rings and the arena
 * are as they left them), ended all together. Or adopted, when the supervisor that started them is
 * gone.
 *
 *   descriptors → fantail-rx → it has opened all → workers → they have attached → run → `running`
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../domain/errors.js';
import type { FilterModule } from '../domain/filter.js';
import type { Feed, Feeds } from '../feeds/feeds.js';
import { addon } from '../memory/addon.js';
import { Arena } from '../memory/arena.js';
import type { KernelSockets } from '../routes/kernel-sockets.js';
import { log } from '../terminal/log.js';
import { Child } from './child.js';
import { Descriptors, type Pair } from './descriptors.js';
import { FilterOrders } from './filter-orders.js';
import { fileOf, holdersOf } from './holders.js';
import { type Inheritance, leave } from './inheritance.js';
import { commonFdsOf, type SharedXdp } from './launchers.js';
import { beginRx, beginWorker, startRx, startRxAgain, startWorker } from './programs.js';
import { adopted, killed, type Running, runningOf } from './running.js';
import { type Opened, type RxOpening, untilOpened, untilRunning } from './rx-protocol.js';
import { Standby } from './standby.js';

/**
 * From a worker's start until it has the arena. It ends only what hangs: with emulated cores on a
 * loaded machine a start has taken more than 10 s.
 */
const ATTACH_MS_MAX = 30_000;
const POLL_MS = 2;

export interface DataPlaneOptions {
  readonly opening: RxOpening;
  /** The program of another launcher, or null to load it. */
  readonly shared: SharedXdp | null;
  /** Core of fantail-rx and of each worker; null: wherever the kernel puts them. */
  readonly rxCpu: number | null;
  readonly workerCpus: readonly (number | null)[];
  /** Of each worker's pump; null: there are none. */
  readonly pumpCpus: readonly (number | null)[] | null;
  /** Those that every worker has from its start, checked. */
  readonly filters: readonly FilterModule[];
  readonly kernelSockets: KernelSockets;
  /** The first feed's socket of the slow path; null: there is none. */
  readonly slowPath: number | null;
  readonly feeds: Feeds;
  readonly descriptors: Descriptors;
  /** The data path cannot go on; the reason is a sentence. */
  readonly onFatal: (failure: Failure) => void;
}

/** A data plane that runs without a supervisor. */
export interface Orphaned {
  readonly opened: Opened;
  /** fantail-rx, and the connection to it. */
  readonly pid: number;
  readonly socket: number;
}

export class DataPlane {
  private stopped = false;
  private isInCharge = true;
  private isServing = false;
  readonly workers: Child[] = [];
  readonly filters: FilterOrders;
  /** For the place of fantail-rx, and of whichever worker. */
  private readonly rxStandby: Standby;
  private readonly workerStandby: Standby;
  /** What fantail-rx keeps for the next supervisor. */
  private kept: Inheritance | null = null;

  private constructor(
    private readonly options: DataPlaneOptions,
    /** fantail-rx. */
    readonly receiver: Child,
    /** The socket of fantail-rx's messages; another one with each successor. */
    private socket: number,
    /** What fantail-rx has opened. */
    readonly opened: Opened,
    readonly arena: Arena,
  ) {
    const { filters, descriptors, opening } = options;
    this.rxStandby = new Standby(() => startRxAgain(opening.interface));
    this.workerStandby = new Standby(() => startWorker(opening.interface));
    this.filters = new FilterOrders({
      arena,
      modules: filters,
      sockets: descriptors.orders.map(([ours]) => ours),
      onDeaf: (worker) => this.workers[worker]?.kill(),
      wake: () => this.wake(),
    });
  }

  /** Opens everything; when it returns, packets can flow. What fails leaves nothing open. */
  static async open(options: DataPlaneOptions): Promise<DataPlane> {
    const { opening, shared } = options;
    const first = startRx(opening.interface);
    const ours = first.socket;
    let plane: DataPlane | null = null; // there by the time that a first fantail-rx is replaced
    const rx = new Child({
      name: 'fantail-rx',
      spawn: () =>
        plane === null
          ? beginRx(first, {
              ...rxCommon(options),
              open: { ...opening, join: shared && { ...shared, fds: commonFdsOf(shared) } },
              adopt: null,
            })
          : plane.replaceRx(),
      onFatal: options.onFatal,
    });
    let opened: Opened | null = null;
    try {
      opened = await untilOpened(ours, opening);
      plane = new DataPlane(options, rx, ours, opened, new Arena(opened.arena));
    } catch (error) {
      await rx.end();
      for (const fd of [ours, ...(opened?.fds ?? [])].reverse()) closeSync(fd);
      throw error;
    }
    try {
      await plane.startWorkers();
      return plane;
    } catch (error) {
      await plane.stop();
      throw error;
    }
  }

  /**
   * Takes over one that runs, and leaves it alone as far as it is whole: a worker that has died is
   * started, one that was starting or has missed an order is replaced.
   */
  static async adopt(options: DataPlaneOptions, orphaned: Orphaned): Promise<DataPlane> {
    const { opened, pid, socket } = orphaned;
    let plane: DataPlane | null = null;
    let rx: Child;
    try {
      rx = new Child({
        name: 'fantail-rx',
        adopted: adopted(pid),
        spawn: () => {
          if (plane === null) throw new Failure('it ended while it was adopted');
          return plane.replaceRx();
        },
        onFatal: options.onFatal,
      });
    } catch (error) {
      for (const fd of [socket, ...opened.fds].reverse()) closeSync(fd);
      throw error;
    }
    plane = new DataPlane(options, rx, socket, opened, new Arena(opened.arena));
    plane.isInCharge = false;
    try {
      await plane.adoptWorkers(pid);
      return plane;
    } catch (error) {
      await plane.stop();
      throw error;
    }
  }

  /** A worker has died, by a signal's name or `status N`; before it is replaced. */
  onWorkerDeath: (worker: number, death: { how: string; pid: number }) => void = () => {};

  /** All is open. Until this is said stop() leaves an adopted data plane as it was found. */
  takeCharge(): void {
    this.isInCharge = this.isServing = true;
    this.standBy();
  }

  /** Makes every sleeper look at the arena. */
  wake(): void {
    this.options.descriptors.signal();
  }

  /** What the next supervisor is to have, instead of what was said before. */
  keep(inheritance: Inheritance): void {
    this.kept = inheritance;
    this.tellKept(this.socket);
  }

  /** Each of its processes runs; and all is open, and nothing stops yet. */
  get standing(): { isHealthy: boolean; isReady: boolean } {
    const isHealthy = [this.receiver, ...this.workers].every(({ hasEnded }) => !hasEnded);
    return { isHealthy: isHealthy && !this.stopped, isReady: this.isServing && !this.stopped };
  }

  /** The descriptors of the data plane, in the order in which replicator/handover.ts takes them. */
  get fds(): number[] {
    return [...this.opened.fds, ...this.options.descriptors.all];
  }

  /**
   * Ends every process and closes what fantail-rx has opened; the last holder of the link detaches
   * XDP. One that is not in charge ends nothing. Twice is fine.
   */
  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    const { arena, receiver, socket, opened } = this;
    if (!this.isInCharge) {
      this.filters.stop();
      for (const each of [...this.workers, receiver]) each.forget();
      for (const fd of [socket, ...opened.fds].reverse()) closeSync(fd);
      return;
    }
    const { opening } = this.options;
    this.filters.stop();
    arena.halt();
    this.wake();
    const standbys = [this.rxStandby, this.workerStandby];
    await Promise.all([...this.workers, receiver, ...standbys].map((each) => each.end()));
    if (opened.xdp !== null)
      for (const queue of opening.queues)
        for (const { ip, port } of this.options.feeds.all())
          addon.feedDelete(opened.xdp.feeds, queue, ip, port);
    for (const fd of [socket, ...opened.fds].reverse()) closeSync(fd);
  }

  private async startWorkers(): Promise<void> {
    for (let number = 0; number < this.arena.workers; number++)
      this.workers.push(this.childOf(number, null));
    for (const [number, worker] of this.workers.entries()) await this.untilAttached(number, worker);
    this.arena.setState('run');
    await untilRunning(this.socket);
    for (const each of [this.receiver, ...this.workers]) each.replaceFromNowOn();
    this.standBy();
  }

  private standBy(): void {
    for (const each of [this.rxStandby, this.workerStandby]) each.keepOne();
  }

  /** `receiver`: fantail-rx. Two owners of a queue are prevented first. */
  private async adoptWorkers(receiver: number): Promise<void> {
    const { arena } = this;
    const attached = Array.from({ length: arena.workers }, (_, number) =>
      arena.u32(arena.worker(number, 'pid')),
    );
    const holders = new Set(holdersOf(fileOf(this.opened.arena)));
    const late = new Set(this.filters.inconsistent().map((number) => attached[number]));
    for (const pid of holders)
      if (pid !== receiver && (!attached.includes(pid) || late.has(pid))) {
        const stray = runningOf(pid);
        if (stray !== null) await killed(stray); // or there would be two owners of its rings
        holders.delete(pid);
      }
    for (const [number, pid] of attached.entries())
      this.workers.push(this.childOf(number, holders.has(pid) ? runningOf(pid) : null));
    for (const each of [this.receiver, ...this.workers]) each.replaceFromNowOn();
    for (const [number, worker] of this.workers.entries()) await this.untilAttached(number, worker);
  }

  private childOf(number: number, running: Running | null): Child {
    return new Child({
      name: `tx worker ${number}`,
      spawn: () => this.beginWorker(number),
      adopted: running,
      restarts: this.restartsBefore(number, running),
      onDeath: (how, pid) => this.onWorkerDeath(number, { how, pid }),
      onFatal: this.options.onFatal,
    });
  }

  /** By an earlier supervisor; one that is started now in place of another is a restart, too. */
  private restartsBefore(number: number, running: Running | null): number {
    const starts = Number(this.arena.u64(this.arena.worker(number, 'starts')));
    return running === null ? starts : Math.max(0, starts - 1);
  }

  private beginWorker(worker: number): Running {
    const { opening, kernelSockets, slowPath, workerCpus, pumpCpus, descriptors } = this.options;
    const { arena, rx, tx, pages, intakes, xdp } = this.opened;
    const isInline = opening.layout === 'inline';
    const isOwn = (_: number, queue: number) => isInline && queue % opening.workers === worker;
    // its predecessor's
    Descriptors.drain(pairAt(descriptors.orders, worker));
    this.filters.tellFirst(worker);
    this.tellFeeds(1 + worker);
    const running = beginWorker(this.workerStandby.take(), {
      cpu: workerCpus[worker] ?? null,
      orders: pairAt(descriptors.orders, worker)[1],
      descriptors: {
        arena,
        worker,
        rx: rx.filter(isOwn),
        slowPath: isInline && worker === 0 ? slowPath : null,
        feedChannel: pairAt(descriptors.feeds, 1 + worker)[1],
        intakes: intakes.filter(isOwn), // the slow path's is the first worker's
        tx: tx[worker] ?? null,
        pages: pages[worker] ?? null,
        program: (pages.length > 0 && xdp?.bulk[0]) || null,
        pump: pages.length > 0 && pumpCpus !== null ? (pumpCpus[worker] ?? -1) : null,
        wake: descriptors.workerWakes[worker] ?? -1,
        workerWakes: descriptors.workerWakes,
        kernelSockets: kernelSockets.fdsOf(worker),
      },
    });
    this.killUnlessReady(worker, running);
    return running;
  }

  /** One that never gets so far (stopped, or stuck) would keep the place for ever. */
  private killUnlessReady(worker: number, running: Running): void {
    const timer = setTimeout(() => {
      const isReady = this.arena.u32(this.arena.worker(worker, 'pid')) === running.pid;
      if (isReady || running.hasEnded || this.stopped) return;
      log.error(`tx worker ${worker} (pid ${running.pid}) does not get ready; it is killed`);
      running.kill();
    }, ATTACH_MS_MAX);
    timer.unref();
    running.onEnd(() => clearTimeout(timer));
  }

  /** fantail-rx again, on what the first one opened. */
  private replaceRx(): Running {
    const { arena, rx, intakes } = this.opened;
    this.tellFeeds(0);
    const waiting = this.rxStandby.take();
    const { socket } = waiting;
    // before its task: if we end from here on, the next supervisor finds in it all that we had
    const isTold = this.tellKept(socket);
    const running = beginRx(waiting, {
      ...rxCommon(this.options),
      open: null,
      adopt: { arena, rx, intakes },
    });
    closeSync(this.socket);
    this.socket = socket;
    untilRunning(socket, () => this.socket === socket).then(
      () => isTold || this.tellKept(socket),
      // it exits, and is tried again
      (error: Error) => log.error(`fantail-rx: ${error.message}`),
    );
    return running;
  }

  /** To each process that has sockets of feeds: one more. Before the table that names it. */
  tellFeed(feed: Feed): void {
    const processes = 1 + this.arena.workers;
    for (let process = 0; process < processes; process++) this.sendFeed(process, feed);
  }

  /** To the successor of a process: all of them, instead of what its predecessor did not take. */
  private tellFeeds(process: number): void {
    const { descriptors, feeds } = this.options;
    Descriptors.drain(pairAt(descriptors.feeds, process));
    for (const feed of feeds.all()) this.sendFeed(process, feed);
  }

  /** `process`: 0 is fantail-rx, then the workers. native/feeds/feed_sockets.hpp reads it. */
  private sendFeed(process: number, { index, epoch, sockets }: Feed): void {
    const theirs = sockets.filter((_, link) => this.hasLink(process, link));
    if (index === 0 || theirs.length === 0) return; // the first comes with the task
    const [ours] = pairAt(this.options.descriptors.feeds, process);
    try {
      addon.sendMessage(ours, `${index} ${epoch}`, theirs);
    } catch {
      // many wait there already: its successor is sent all of them
      (process === 0 ? this.receiver : this.workers[process - 1])?.kill();
    }
  }

  /**
   * Whether a process works with the feeds' sockets of that link: of a queue in socket mode, where
   * workers send by those of their own, else of the slow path.
   */
  private hasLink(process: number, link: number): boolean {
    const { opening } = this.options;
    const isInline = opening.layout === 'inline';
    const worker = process - 1;
    if (this.opened.mode !== 'socket') return process === (isInline ? 1 : 0);
    if (process === 0) return !isInline;
    return isInline ? link % opening.workers === worker : link === worker;
  }

  private tellKept(socket: number): boolean {
    if (this.kept === null || this.stopped) return false;
    try {
      leave(socket, this.kept);
      return true;
    } catch (error) {
      // it is being replaced, and its successor is told; or it is told again
      log.debug(`fantail-rx does not hear what it is to keep: ${messageOf(error)}`);
      return false;
    }
  }

  private async untilAttached(number: number, worker: Child): Promise<void> {
    const deadline = performance.now() + ATTACH_MS_MAX;
    while (this.arena.u32(this.arena.worker(number, 'pid')) !== worker.pid) {
      if (worker.hasEnded)
        throw new Failure(`tx worker ${number} ended while it was starting; see the lines above`);
      if (performance.now() > deadline)
        throw new Failure(`tx worker ${number} did not attach within ${ATTACH_MS_MAX / 1000} s`);
      await sleep(POLL_MS);
    }
  }
}

const pairAt = (pairs: readonly Pair[], index: number): Pair => pairs[index] ?? [-1, -1];

function rxCommon({ descriptors, slowPath, rxCpu }: DataPlaneOptions) {
  return {
    slowPath,
    feedChannel: pairAt(descriptors.feeds, 0)[1],
    wake: descriptors.rxWake,
    workerWakes: descriptors.workerWakes,
    listener: descriptors.listener,
    cpu: rxCpu,
  };
}
