/**
 * A TX worker: one process per queue that it owns. Attaches to the arena, lays it over the filter's memory, gives up
 * every privilege, and then runs one loop that never returns to the event loop:
 *
 *     step()   native: finish the last burst, reap, wait for the next        burst()   the filter answers its jobs
 *
 * Started by data-plane.ts with its descriptors as one JSON argument and the filter's bytes on stdin.
 */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { addon, type WorkerDescriptors } from './addon.js';
import { messageOf } from './errors.js';
import { type Burst, loadFilter } from './filter.js';
import { limits } from './layout.js';
import { Samples } from './samples.js';

const WASM_PAGE_SIZE = 0x10000;
/** Bursts before the first packet, so that the call from JavaScript is compiled too. */
const WARM_UP_BURSTS = 20_000;

interface Order {
  readonly descriptors: WorkerDescriptors;
  readonly cpu: number | null;
}

/** The optimising compiler at once: a filter that is compiled while packets wait costs milliseconds. */
function chooseCompiler(): void {
  for (const flag of ['--no-liftoff', '--no-wasm-tier-up', '--no-wasm-lazy-compilation'])
    setFlagsFromString(flag);
}

/** Runs the filter on sample packets in a memory of its own. */
function warmUp(filter: Uint8Array): void {
  const samples = new Samples();
  const { burst } = loadFilter(filter, samples.memory);
  for (let i = 0; i < WARM_UP_BURSTS; i++) burst(limits.WINDOW_JOBS, 0, 1);
}

function run(burst: Burst): void {
  const { step } = addon;
  const jobs = limits.WINDOW_JOBS;
  for (;;) {
    const count = step();
    if (count > 0) burst(jobs, 0, count);
    else return;
  }
}

/** What a filter can throw: a trap, or recursion past the stack, which V8 reports as a RangeError. */
function isTrap(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}

/** After a trap: the rest of the burst, past each job that traps; those stay unanswered and drop as filter_trap. */
function answerRest(burst: Burst): void {
  const count = addon.jobs();
  for (let first = addon.trapped(); first < count; first = addon.trapped()) {
    try {
      burst(limits.WINDOW_JOBS, first, count - first);
      return;
    } catch (error) {
      if (!isTrap(error)) throw error;
    }
  }
}

function main(): void {
  process.title = 'fantail-tx';
  chooseCompiler();
  const { descriptors, cpu } = JSON.parse(process.argv[2] ?? '') as Order; // from data-plane.ts of the same build
  const bytes = readFileSync(0);
  if (cpu !== null) addon.pinToCpu(cpu);
  warmUp(bytes);
  const size = addon.attachWorker(descriptors);
  const pages = Math.ceil(size / WASM_PAGE_SIZE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  addon.overlayWindow(memory.buffer);
  const { burst } = loadFilter(bytes, memory);
  addon.dropPrivileges();
  for (;;) {
    try {
      run(burst);
      return;
    } catch (error) {
      if (!isTrap(error)) throw error;
      answerRest(burst);
    }
  }
}

try {
  main();
} catch (error) {
  process.stderr.write(`fantail: tx worker: ${messageOf(error)}\n`);
  process.exit(1);
}
