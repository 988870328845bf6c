/**
 * The data path as processes: fantail-rx and the TX workers. Started in order, replaced when they
 * die from the descriptors kept here (so the kernel's rings and the arena are as they left them),
 * ended all together.
 *
 *   eventfds → fantail-rx → it has opened all → workers → they have attached → run → `running`
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../domain/errors.js';
import type { FilterModule } from '../domain/filter.js';
import { addon } from '../memory/addon.js';
import { Arena } from '../memory/arena.js';
import type { KernelSockets } from '../routes/kernel-sockets.js';
import { log } from '../terminal/log.js';
import { Child } from './child.js';
import { FilterOrders } from './filter-orders.js';
import type { SharedXdp } from './launchers.js';
import { spawnRx, spawnWorker } from './programs.js';
import { type Opened, type RxOpening, untilOpened, untilRunning } from './rx-protocol.js';

const ATTACH_MS_MAX = 10_000;
const POLL_MS = 2;

export interface DataPlaneOptions {
  readonly opening: RxOpening;
  /** The program of another launcher, or null to load it. */
  readonly shared: SharedXdp | null;
  /** Core of fantail-rx and of each worker; null: wherever the kernel puts them. */
  readonly rxCpu: number | null;
  readonly workerCpus: readonly (number | null)[];
  /** Those that every worker has from its start, checked. */
  readonly filters: readonly FilterModule[];
  readonly kernelSockets: KernelSockets;
  /** The data path cannot go on; the reason is a sentence. */
  readonly onFatal: (failure: Failure) => void;
}

/** The eventfds that wake who sleeps. */
class Wakes {
  readonly rx = addon.eventFd();
  readonly workers: readonly number[];

  constructor(workers: number) {
    this.workers = Array.from({ length: workers }, () => addon.eventFd());
  }

  /** Makes every sleeper look at the arena. */
  signal(): void {
    for (const fd of [this.rx, ...this.workers]) addon.signal(fd);
  }

  close(): void {
    for (const fd of [this.rx, ...this.workers].reverse()) closeSync(fd);
  }
}

/** fantail-rx, and what it has opened. */
interface Receiving {
  readonly child: Child;
  /** The socket of its messages. */
  readonly socket: number;
  readonly opened: Opened;
  readonly arena: Arena;
}

export class DataPlane {
  private stopped = false;

  private constructor(
    private readonly options: DataPlaneOptions,
    private readonly wakes: Wakes,
    private readonly rx: Receiving,
    readonly workers: readonly Child[],
    readonly filters: FilterOrders,
  ) {}

  /** Opens everything; when it returns, packets can flow. What fails leaves nothing open. */
  static async open(options: DataPlaneOptions): Promise<DataPlane> {
    const wakes = new Wakes(options.opening.workers);
    let rx: Receiving;
    try {
      rx = await openReceiving(options, wakes);
    } catch (error) {
      wakes.close();
      throw error;
    }
    const workers: Child[] = [];
    const { arena } = rx;
    const wake = () => wakes.signal();
    const filters = new FilterOrders({ arena, modules: options.filters, workers, wake });
    const plane = new DataPlane(options, wakes, rx, workers, filters);
    try {
      await plane.startWorkers(workers);
      return plane;
    } catch (error) {
      await plane.stop();
      throw error;
    }
  }

  get arena(): Arena {
    return this.rx.arena;
  }

  /** What fantail-rx has opened. */
  get opened(): Opened {
    return this.rx.opened;
  }

  /** Makes every sleeper look at the arena. */
  wake(): void {
    this.wakes.signal();
  }

  /**
   * Ends every process and closes every descriptor; the last holder of the link detaches XDP. Twice
   * is fine.
   */
  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    const { arena, child, socket, opened } = this.rx;
    const { queues, listen } = this.options.opening;
    this.filters.stop();
    arena.halt();
    this.wake();
    await Promise.all([...this.workers, child].map((each) => each.end()));
    if (opened.xdp !== null)
      for (const queue of queues) addon.feedDelete(opened.xdp.feeds, queue, listen.ip, listen.port);
    for (const fd of [socket, ...opened.fds].reverse()) closeSync(fd);
    this.wakes.close();
  }

  /** `workers`: where they go, since filter orders go to them from the first on. */
  private async startWorkers(workers: Child[]): Promise<void> {
    const { opening, onFatal } = this.options;
    for (let number = 0; number < opening.workers; number++)
      workers.push(
        new Child({ name: `tx worker ${number}`, spawn: () => this.spawnWorker(number), onFatal }),
      );
    for (const [number, worker] of workers.entries()) await this.untilAttached(number, worker);
    this.arena.setState('run');
    await untilRunning(this.rx.socket);
    for (const each of [this.rx.child, ...workers]) each.replaceFromNowOn();
  }

  private spawnWorker(worker: number) {
    const { opening, kernelSockets, workerCpus } = this.options;
    const { arena, rx, tx } = this.opened;
    const isInline = opening.layout === 'inline';
    const child = spawnWorker({
      cpu: workerCpus[worker] ?? null,
      descriptors: {
        arena,
        worker,
        rx: isInline ? rx.filter((_, queue) => queue % opening.workers === worker) : [],
        tx: tx[worker] ?? -1,
        wake: this.wakes.workers[worker] ?? -1,
        workerWakes: this.wakes.workers,
        kernelSockets: kernelSockets.fdsOf(worker),
      },
    });
    child.stdin?.write(this.filters.firstOrders());
    return child;
  }

  private async untilAttached(number: number, worker: Child): Promise<void> {
    const deadline = Date.now() + ATTACH_MS_MAX;
    while (this.arena.u32(this.arena.worker(number, 'pid')) !== worker.pid) {
      if (worker.hasEnded)
        throw new Failure(`tx worker ${number} ended while it was starting; see the lines above`);
      if (Date.now() > deadline)
        throw new Failure(`tx worker ${number} did not attach within ${ATTACH_MS_MAX / 1000} s`);
      await sleep(POLL_MS);
    }
  }
}

/** Starts fantail-rx and waits until it has opened everything. */
async function openReceiving(options: DataPlaneOptions, wakes: Wakes): Promise<Receiving> {
  const { opening, shared, rxCpu, onFatal } = options;
  const [ours, theirs] = addon.socketPair();
  const common = { wake: wakes.rx, workerWakes: wakes.workers, cpu: rxCpu };
  const start = { ...common, supervisor: theirs, open: { ...opening, join: shared }, adopt: null };
  let opened: Opened | null = null; // there by the time that a first one is replaced
  const child = new Child({
    name: 'fantail-rx',
    spawn: (isFirst) =>
      isFirst || opened === null
        ? spawnRx(start)
        : spawnSuccessor({ ...common, open: null }, opened),
    onFatal,
  });
  closeSync(theirs);
  try {
    opened = await untilOpened(ours, opening);
    return { child, socket: ours, opened, arena: new Arena(opened.arena) };
  } catch (error) {
    await child.end();
    for (const fd of [ours, ...(opened?.fds ?? [])].reverse()) closeSync(fd);
    throw error;
  }
}

/** fantail-rx again, on what the first one opened. */
function spawnSuccessor(
  common: Omit<Parameters<typeof spawnRx>[0], 'supervisor' | 'adopt'>,
  { arena, rx }: Opened,
) {
  const [ours, theirs] = addon.socketPair();
  untilRunning(ours)
    // it exits, and is tried again
    .catch((error: Error) => log.error(`fantail-rx: ${error.message}`))
    .finally(() => closeSync(ours));
  try {
    return spawnRx({ ...common, supervisor: theirs, adopt: { arena, rx } });
  } finally {
    closeSync(theirs);
  }
}
