/**
 * The processes of the data path: fantail-rx and the TX workers. Started in order, replaced when
 * they die from the descriptors kept here (so the kernel's rings and the arena are as they left
 * them), ended in reverse order.
 *
 *   BOOT ── opened, attached ──▶ RUN ── stop() ──▶ HALT        a death in RUN: the process is started again
 *     └── anything fails ──▶ HALT                             nothing leaves HALT
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Failure, FantailError } from '../domain/errors.js';
import type { FilterModule, Placed } from '../domain/filter.js';
import type { Mode, Stats } from '../domain/statistics.js';
import { addon } from '../memory/addon.js';
import { Arena } from '../memory/arena.js';
import type { Config } from '../replicator/config.js';
import type { Deployment } from '../replicator/deployment.js';
import { log } from '../terminal/log.js';
import { encodeOrder, type Order } from '../worker/orders.js';
import type { SharedXdp } from './launchers.js';

const RX_PROGRAM = fileURLToPath(new URL('../../../native/build/fantail-rx', import.meta.url));
const WORKER_PROGRAM = fileURLToPath(new URL('../worker/tx-worker.js', import.meta.url));

const OPEN_MS_MAX = 30_000; // a NIC that resets its link on attach takes seconds
const ATTACH_MS_MAX = 10_000;
const STOP_MS_MAX = 1000;
/** Compiling a module in each worker, on a machine that is busy. */
const ORDER_MS_MAX = 10_000;
const POLL_MS = 2;
/** A process that dies so often within so long of its start is beyond repair. */
const QUICK_DEATHS_MAX = 20;
const QUICK_DEATH_MS = 1000;

/** What fantail-rx tells over its socket. */
type RxMessage =
  | { event: 'opened'; mode: Mode; attach: SharedXdp['attach']; fallbacks: Stats['fallbacks'] }
  | { event: 'running' }
  | { event: 'failed'; message: string; tried?: Stats['fallbacks'] };

/** None of several modes was possible; another kind of data path may be. */
export class NoMode extends Failure {
  constructor(readonly tried: Stats['fallbacks']) {
    super(tried.map(({ mode, reason }) => `${mode}: ${reason}`).join('; '));
    this.name = 'NoMode';
  }
}

export interface DataPlaneOptions {
  readonly config: Config;
  readonly deployment: Deployment;
  /** Those that every worker has from its start, checked. */
  readonly filters: readonly FilterModule[];
  /** The program of another launcher, or null to load it. */
  readonly shared: SharedXdp | null;
  /** Per worker: sockets for subscribers in kernel state. */
  readonly kernelSockets: readonly (readonly number[])[];
  /** The data path cannot go on; the reason is a sentence. */
  readonly onFatal: (failure: Failure) => void;
}

interface Running {
  child: ChildProcess;
  startedAt_ms: number;
  restarts: number;
  quickDeaths: number;
}

/** Passes descriptors to a child: each gets the number of its place in `stdio`. */
class Stdio {
  readonly list: ('ignore' | 'pipe' | 'inherit' | number)[];
  constructor(stdin: 'ignore' | 'pipe') {
    this.list = [stdin, 'inherit', 'inherit'];
  }
  place(fd: number): number {
    return this.list.push(fd) - 1;
  }
  placeAll(fds: readonly number[]): number[] {
    return fds.map((fd) => this.place(fd));
  }
}

/** A module in a slot: its own, or the one to go back to. */
interface Filling {
  readonly placed: Placed;
  readonly bytes: Uint8Array;
}

function fillingOf({ slot, module, block, owner, bytes }: FilterModule): Filling {
  return { placed: { slot, module, block, owner }, bytes };
}

export class DataPlane {
  private state: 'BOOT' | 'RUN' | 'HALT' = 'BOOT';
  private rx: Running | null = null;
  private readonly workers: Running[] = [];
  private arenaFd = -1;
  private readonly rxWake: number;
  private readonly workerWakes: number[];
  /** What a worker that starts now is to have, by slot. */
  private readonly fillings = new Map<number, Filling>();
  /** Orders given so far. */
  private orders = 0;
  /** Every descriptor that is ours to close, in order of opening. */
  private readonly owned: number[] = [];
  private opened: { arena: Arena; mode: Mode; fallbacks: Stats['fallbacks'] } | null = null;
  rxSockets: number[] = [];
  txSockets: number[] = [];
  xdp: SharedXdp | null = null;

  constructor(private readonly options: DataPlaneOptions) {
    for (const module of options.filters) this.fillings.set(module.slot, fillingOf(module));
    this.rxWake = this.own(addon.eventFd());
    this.workerWakes = Array.from({ length: options.deployment.workers }, () =>
      this.own(addon.eventFd()),
    );
  }

  private own(fd: number): number {
    this.owned.push(fd);
    return fd;
  }

  private get plane() {
    if (this.opened === null) throw new Error('the data path is not open');
    return this.opened;
  }

  get arena(): Arena {
    return this.plane.arena;
  }

  get mode(): Mode {
    return this.plane.mode;
  }

  get fallbacks(): Stats['fallbacks'] {
    return this.plane.fallbacks;
  }

  get processes(): readonly { readonly pid: number; readonly restarts: number }[] {
    return this.workers.map(({ child, restarts }) => ({ pid: child.pid ?? 0, restarts }));
  }

  /** Makes every sleeper look at the arena. */
  wake(): void {
    for (const fd of [this.rxWake, ...this.workerWakes]) addon.signal(fd);
  }

  /** Opens everything; when it returns, packets can flow. Throws Failure; stop() then cleans up. */
  async start(): Promise<void> {
    const { deployment } = this.options;
    const [ours, theirs] = addon.socketPair();
    this.own(ours);
    try {
      this.rx = this.run(this.spawnRx(theirs, null), 'rx');
    } finally {
      closeSync(theirs);
    }
    await this.awaitOpened(ours);
    for (let w = 0; w < deployment.workers; w++) this.workers[w] = this.run(this.spawnWorker(w), w);
    for (let w = 0; w < deployment.workers; w++) await this.awaitAttached(w);
    this.arena.setState('run');
    await this.awaitMessage(ours, 'running');
    this.state = 'RUN';
  }

  private spawnRx(supervisor: number, adopt: readonly number[] | null): ChildProcess {
    const { config, deployment, shared } = this.options;
    const stdio = new Stdio('ignore');
    const flags = [
      ['supervisor', stdio.place(supervisor)],
      ['wake', stdio.place(this.rxWake)],
      ['wakes', stdio.placeAll(this.workerWakes).join()],
      ['interface', config.interfaceName],
      ['modes', deployment.modes.join()],
      ['queues', deployment.queues.join()],
      ['layout', deployment.layout],
      ['workers', deployment.workers],
      ['listen', `${config.listenIp}:${config.listenPort}`],
      ['mtu', deployment.mtu],
      ['order', config.order],
    ].map(([name, value]) => `--${name}=${value}`);
    if (deployment.rxCpu !== null) flags.push(`--cpu=${deployment.rxCpu}`);
    if (config.busyPoll) flags.push('--busy-poll');
    if (deployment.yields) flags.push('--yield');
    if (config.checksumFull) flags.push('--checksum-full');
    if (config.netns !== null && adopt === null) flags.push(`--netns=${config.netns}`);
    if (adopt !== null) flags.push(`--adopt=${stdio.placeAll(adopt).join()}`);
    else if (shared !== null) {
      const { link, xsks, feeds, verdicts } = shared;
      flags.push(`--join=${stdio.placeAll([link, xsks, feeds, verdicts]).join()}`);
      if (shared.attach === 'generic') flags.push('--joined-generic');
    }
    // A session of its own, so that Ctrl-C at the terminal reaches the supervisor alone, which ends
    // the others.
    return spawn(RX_PROGRAM, flags, { stdio: stdio.list, detached: true });
  }

  private spawnWorker(worker: number): ChildProcess {
    const { deployment, kernelSockets } = this.options;
    const stdio = new Stdio('pipe');
    const inline = deployment.layout === 'inline';
    const descriptors = {
      arena: stdio.place(this.arenaFd),
      worker,
      rx: inline
        ? stdio.placeAll(this.rxSockets.filter((_, q) => q % deployment.workers === worker))
        : [],
      tx: stdio.place(this.txSockets[worker] ?? -1),
      wake: stdio.place(this.workerWakes[worker] ?? -1),
      workerWakes: stdio.placeAll(this.workerWakes),
      kernelSockets: stdio.placeAll(kernelSockets[worker] ?? []),
    };
    const order = JSON.stringify({ descriptors, cpu: deployment.workerCpus[worker] ?? null });
    const child = spawn(process.execPath, [WORKER_PROGRAM, order], {
      stdio: stdio.list,
      detached: true,
    });
    child.stdin?.on('error', () => {}); // it died before it read the filters: its exit says so
    for (const { placed, bytes } of this.fillings.values())
      child.stdin?.write(encodeOrder(loadOrder(this.orders, placed, bytes), bytes));
    child.stdin?.write(encodeOrder({ kind: 'begin', number: this.orders }));
    return child;
  }

  // -- filters ------------------------------------------------------------------------------------

  /** Resolves when every worker has the module in its slot. */
  loadFilter(module: FilterModule): Promise<void> {
    const filling = fillingOf(module);
    this.fillings.set(module.slot, filling);
    const { placed, bytes } = filling;
    return this.order((number) => encodeOrder(loadOrder(number, placed, bytes), bytes));
  }

  /** Resolves when no worker has anything in that slot. */
  dropFilter(slot: number): Promise<void> {
    this.fillings.delete(slot);
    return this.order((number) => encodeOrder({ kind: 'drop', number, slot }));
  }

  /**
   * Workers that start from now on get that module in the slot; those that run keep what they have.
   */
  substituteFilter(slot: number, { module, block, owner, bytes }: FilterModule): void {
    this.fillings.set(slot, { placed: { slot, module, block, owner }, bytes });
  }

  /** A worker that dies meanwhile is told everything when it starts again, this among it. */
  private async order(frame: (number: number) => Buffer): Promise<void> {
    const number = ++this.orders;
    for (const { child } of this.workers) child.stdin?.write(frame(number));
    this.arena.publish(this.arena.control('filter_orders'), BigInt(number));
    this.wake();
    const deadline = Date.now() + ORDER_MS_MAX;
    const isBehind = (worker: number) =>
      this.arena.u64(this.arena.worker(worker, 'filter_orders_done')) < BigInt(number);
    while (this.state === 'RUN' && this.workers.some((_, worker) => isBehind(worker))) {
      if (Date.now() > deadline)
        throw new FantailError(
          'BUSY',
          `a worker did not load the filter within ${ORDER_MS_MAX / 1000} s; try again`,
        );
      await sleep(POLL_MS);
    }
  }

  /** Ends a worker that does not end by itself; it is replaced like any that dies. */
  kill(worker: number): void {
    this.workers[worker]?.child.kill('SIGKILL');
  }

  private run(child: ChildProcess, which: 'rx' | number, before?: Running): Running {
    const running: Running = {
      child,
      startedAt_ms: Date.now(),
      restarts: before === undefined ? 0 : before.restarts + 1,
      quickDeaths: before?.quickDeaths ?? 0,
    };
    child.on('error', (error) =>
      this.options.onFatal(new Failure(`cannot start a process: ${error.message}`)),
    );
    child.on('exit', (code, signal) => this.exited(which, running, signal ?? `status ${code}`));
    return running;
  }

  private exited(which: 'rx' | number, died: Running, how: string): void {
    if (this.state !== 'RUN') return;
    const name = which === 'rx' ? 'fantail-rx' : `tx worker ${which}`;
    const isQuick = Date.now() - died.startedAt_ms < QUICK_DEATH_MS;
    died.quickDeaths = isQuick ? died.quickDeaths + 1 : 0;
    if (died.quickDeaths > QUICK_DEATHS_MAX) {
      this.options.onFatal(new Failure(`${name} keeps dying (${how}); see the lines above`));
      return;
    }
    log.warn(`${name} (pid ${died.child.pid}) ended by ${how}; it is replaced`);
    if (which === 'rx') this.replaceRx(died);
    else this.workers[which] = this.run(this.spawnWorker(which), which, died);
  }

  private replaceRx(died: Running): void {
    const [ours, theirs] = addon.socketPair();
    try {
      this.rx = this.run(this.spawnRx(theirs, [this.arenaFd, ...this.rxSockets]), 'rx', died);
    } finally {
      closeSync(theirs);
    }
    this.awaitMessage(ours, 'running')
      // it exits, and is tried again
      .catch((error: Error) => log.error(`fantail-rx: ${error.message}`))
      .finally(() => closeSync(ours));
  }

  private async awaitOpened(fd: number): Promise<void> {
    const { text, fds } = await this.awaitMessage(fd, 'opened');
    for (const each of fds) this.own(each);
    // awaitMessage has looked at the event
    const message = JSON.parse(text) as RxMessage & { event: 'opened' };
    const { queues, workers } = this.options.deployment;
    const [arenaFd, ...rest] = fds;
    if (arenaFd === undefined) throw new Failure('fantail-rx opened nothing');
    this.arenaFd = arenaFd;
    this.rxSockets = rest.slice(0, queues.length);
    this.txSockets = rest.slice(queues.length, queues.length + workers);
    const [link, xsks, feeds, verdicts] = rest.slice(queues.length + workers);
    if (link !== undefined && xsks !== undefined && feeds !== undefined && verdicts !== undefined)
      this.xdp = { attach: message.attach, link, xsks, feeds, verdicts };
    const fallbacks = [...this.options.deployment.fallbacks, ...message.fallbacks];
    this.opened = { arena: new Arena(arenaFd), mode: message.mode, fallbacks };
  }

  /** The next message of fantail-rx, which must be that event. */
  private async awaitMessage(
    fd: number,
    event: RxMessage['event'],
  ): Promise<{ text: string; fds: number[] }> {
    const deadline = Date.now() + OPEN_MS_MAX;
    for (;;) {
      const message = addon.receiveMessage(fd);
      if (message === 'closed')
        throw new Failure('fantail-rx ended while it was starting; see the lines above');
      if (message !== null) {
        const said = JSON.parse(message.text) as RxMessage; // our own program, built with this one
        if (said.event === 'failed')
          throw said.tried === undefined ? new Failure(said.message) : new NoMode(said.tried);
        if (said.event === event) return message;
      } else if (Date.now() > deadline) {
        throw new Failure(`fantail-rx did not say '${event}' within ${OPEN_MS_MAX / 1000} s`);
      } else {
        await sleep(POLL_MS);
      }
    }
  }

  private async awaitAttached(worker: number): Promise<void> {
    const deadline = Date.now() + ATTACH_MS_MAX;
    for (;;) {
      const child = this.workers[worker]?.child;
      if (
        child?.pid !== undefined &&
        this.arena.u32(this.arena.worker(worker, 'pid')) === child.pid
      )
        return;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null)
        throw new Failure(`tx worker ${worker} ended while it was starting; see the lines above`);
      if (Date.now() > deadline)
        throw new Failure(`tx worker ${worker} did not attach within ${ATTACH_MS_MAX / 1000} s`);
      await sleep(POLL_MS);
    }
  }

  /**
   * Ends every process and closes every descriptor; the last holder of the link detaches XDP. Twice
   * is fine.
   */
  async stop(): Promise<void> {
    if (this.state === 'HALT') return;
    this.state = 'HALT';
    this.opened?.arena.halt();
    this.wake();
    const running = [...this.workers, ...(this.rx === null ? [] : [this.rx])].map(
      ({ child }) => child,
    );
    await Promise.all(running.map((child) => ended(child)));
    const { config, deployment } = this.options;
    if (this.xdp !== null)
      for (const queue of deployment.queues)
        addon.feedDelete(this.xdp.feeds, queue, config.listenIp, config.listenPort);
    for (const fd of this.owned.splice(0).reverse()) closeSync(fd);
  }
}

function loadOrder(number: number, placed: Placed, { length }: Uint8Array): Order {
  return { kind: 'load', number, size: length, ...placed };
}

/** Waits for a process that was told to end; kills it after STOP_MS_MAX. */
async function ended(child: ChildProcess): Promise<void> {
  const isOver = () =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  if (isOver()) return;
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await exit;
  clearTimeout(timer);
}
