/**
 * A TX worker: one process per queue that it owns. Attaches to the arena, lays it over each
 * filter's memory, and then runs one loop that never returns to the event loop:
 *
 *     wait()     native: the next burst
 *     burst()    a filter answers its jobs
 *     finish()   native: send
 *
 * Started by processes/programs.ts, it gives up every privilege and waits for its task (task.ts),
 * the place of one that died perhaps. Filters come by orders (orders.ts), are compiled by a thread
 * (loader.ts), and are taken over between two bursts.
 *
 * A burst is packets for subscribers; a filter call is the part of a burst that one filter answers.
 */
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { messageOf } from '../domain/errors.js';
import { programFile } from '../domain/installation.js';
import { lowerOtherThreads } from '../filters/background.js';
import { memoryOfOneJob } from '../filters/check/samples.js';
import { type Burst, COMPILER_FLAGS, instantiate } from '../filters/module.js';
import { addon } from '../memory/addon.js';
import { Arena } from '../memory/arena.js';
import { limits, offsetOf, structOf } from '../memory/layout.js';
import type { Loaded, LoaderStart, LoaderTold, ReadyOrder } from './loader.js';
import { awaitTask, type WorkerTask } from './task.js';

const WASM_PAGE_SIZE = 0x10000;
const WORD_SIZE = 4;
/** Bursts before the first packet, so that the call from JavaScript is compiled too. */
const WARM_UP_BURSTS = 20_000;
/** How long the first look at an empty port takes while the loader starts. */
const PORT_WAIT_MS = 1;
const JOBS = limits.WINDOW_JOBS;
/** Places in struct filter_calls, which wait() writes. */
const wordOf = (field: string) => offsetOf('filter_calls', field) / WORD_SIZE;
const TIMED = wordOf('timed');
const ORDERS = wordOf('orders');
const CALLS = wordOf('calls');
/** In place of a number of calls: told to halt. */
const ENDED = 2 ** 32 - 1;
/** By call: its filter slot, and its jobs. */
const SLOT = wordOf('slot');
const FIRST = wordOf('first');
const COUNT = wordOf('count');

/**
 * The optimising compiler at once: a filter that is compiled while packets wait costs milliseconds.
 */
function chooseCompiler(): void {
  for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);
}

/** Nobody answers: the jobs of an empty slot drop as filter_trap. */
const unanswered: Burst = () => {};
/** By filter slot. */
const bursts: Burst[] = new Array(limits.FILTERS_MAX).fill(unanswered);
/** The filter calls of the burst that wait() returned last. */
const calls = new Uint32Array(structOf('filter_calls').size / WORD_SIZE);
const { port1: port, port2 } = new MessageChannel();
let memorySize = 0;
/** 1 + the filter slot that is being called, or 0; in the arena, for the supervisor's watchdog. */
let calling = new Int32Array(1);

/** Resolves when it has read all its code. */
async function startLoader(): Promise<void> {
  const loader = new Worker(programFile('worker/loader.js'), {
    workerData: { port: port2 } satisfies LoaderStart,
    transferList: [port2],
  });
  await once(loader, 'message');
  loader.unref();
}

const tellLoader = (told: LoaderTold): void => port.postMessage(told);

/** The next thing that the loader has done, or null. */
function take(): ReadyOrder | null {
  // from loader.ts
  const received = receiveMessageOnPort(port)?.message as Loaded | undefined;
  if (received === undefined) return null;
  if ('failure' in received) throw new Error(`a filter cannot be loaded: ${received.failure}`);
  return received;
}

/** Waits for everything that is loaded before the start. */
function takeFirst(): ReadyOrder[] {
  const sleeper = new Int32Array(new SharedArrayBuffer(WORD_SIZE));
  const first = [];
  for (;;) {
    const next = take();
    if (next === null) Atomics.wait(sleeper, 0, 0, PORT_WAIT_MS);
    else first.push(next);
    if (next?.order.kind === 'begin') return first;
  }
}

/** Runs the filter on a sample packet in a memory of its own. */
function warmUp(module: WebAssembly.Module): void {
  const { burst } = instantiate(module, memoryOfOneJob());
  for (let i = 0; i < WARM_UP_BURSTS; i++) burst(JOBS, 0, 1);
}

function carryOut({ order, module }: ReadyOrder): void {
  if (order.kind === 'load' && module !== null) {
    const pages = Math.ceil(memorySize / WASM_PAGE_SIZE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    addon.overlayWindow(memory.buffer, order);
    bursts[order.slot] = instantiate(module, memory).burst;
  } else if (order.kind === 'drop') {
    bursts[order.slot] = unanswered;
  }
  addon.ordersDone(order.number);
}

/** How many calls those are, and the one that is next. */
let callCount = 0;
let callIndex = 0;

function run(): void {
  const { wait, finish, called } = addon;
  for (;;) {
    for (; callIndex < callCount; callIndex++) {
      const slot = calls[SLOT + callIndex] as number; // here and below: inside struct filter_calls
      const first = calls[FIRST + callIndex] as number;
      calling[0] = slot + 1;
      (bursts[slot] as Burst)(JOBS, first, calls[COUNT + callIndex] as number);
      if (calls[TIMED] !== 0) called(callIndex);
    }
    calling[0] = 0;
    finish();
    if (calls[ORDERS] !== 0) for (let next = take(); next !== null; next = take()) carryOut(next);
    wait();
    callCount = calls[CALLS] as number;
    callIndex = 0;
    if (callCount === ENDED) return;
  }
}

/**
 * What a filter can throw: a trap, or recursion past the stack, which V8 reports as a RangeError.
 */
function isTrap(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}

/**
 * After a trap: the rest of that call, past each job that traps; those stay unanswered and drop as
 * filter_trap.
 */
function answerRest(): void {
  const end = (calls[FIRST + callIndex] as number) + (calls[COUNT + callIndex] as number);
  const burst = bursts[calls[SLOT + callIndex] as number] as Burst;
  for (let first = addon.trapped(callIndex); first < end; first = addon.trapped(callIndex)) {
    try {
      burst(JOBS, first, end - first);
      return;
    } catch (error) {
      if (!isTrap(error)) throw error;
    }
  }
}

async function main(): Promise<void> {
  const title = `fantail-tx ${process.argv[2]}`; // the interface: for people who look at processes
  process.title = `${title} standby`;
  chooseCompiler();
  lowerOtherThreads();
  await startLoader(); // before this thread is pinned: the loader compiles wherever there is room
  addon.dropPrivileges('worker');
  tellLoader('drop privileges');
  addon.forbidWaysOut('worker');
  const task = await awaitTask();
  if (task === null) process.exit(0);
  process.title = title;
  work(task);
}

/** Does not return. */
function work({ descriptors, orders, cpu }: WorkerTask): void {
  tellLoader({ orders });
  const first = takeFirst();
  if (cpu !== null) addon.pinToCpu(cpu);
  for (const { module } of first.slice(0, 1)) if (module !== null) warmUp(module);
  const arena = new Arena(descriptors.arena);
  calling = new Int32Array(arena.buffer, arena.worker(descriptors.worker, 'calling'), 1);
  memorySize = addon.attachWorker(descriptors, calls);
  for (const each of first) carryOut(each);
  for (;;) {
    try {
      run();
      process.exit(0); // the loader may still wait for orders
    } catch (error) {
      if (!isTrap(error)) throw error;
      answerRest();
      callIndex++;
    }
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`fantail: tx worker: ${messageOf(error)}\n`);
  process.exit(1);
}
