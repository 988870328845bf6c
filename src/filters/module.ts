/**
 * A filter from its bytes to the call that a worker makes once per burst.
 *
 * `checkModule` runs before a module goes live: it must keep the rules (rules.ts), and then answer
 * sample packets lawfully (samples.ts) in a memory that is thrown away. `loadFilter` runs in the
 * worker, on the memory that pages of the arena are mapped over, and takes a module that has been
 * checked.
 */
import { spawn } from 'node:child_process';
import { createContext, Script } from 'node:vm';
import { FantailError, messageOf } from '../domain/errors.js';
import { limits } from '../memory/layout.js';
import { ABI_EXPORT, BURST_EXPORT, checkRules, refuse, STATE_EXPORT } from './check/rules.js';
import { Samples } from './check/samples.js';

/**
 * What a run on the samples may take, compiling included: a filter that does not return must not
 * stop its caller.
 */
const SAMPLES_MS_MAX = 1000;
/**
 * How workers compile: with the optimising compiler and at once, or packets would wait for it
 * later.
 */
export const COMPILER_FLAGS = ['--no-liftoff', '--no-wasm-tier-up', '--no-wasm-lazy-compilation'];
/**
 * What that may take, starting a process included: an ordinary filter takes 10 ms. It must stay
 * well below what a worker gets to load one (ORDER_MS_MAX), which has to share its cores.
 */
const COMPILE_MS_MAX = 4000;
const COMPILE = "new WebAssembly.Module(require('node:fs').readFileSync(0))";

/** Answers jobs [first, first + count) of those at `jobs`, an address in the filter's memory. */
export type Burst = (jobs: number, first: number, count: number) => void;

export interface Filter {
  readonly abi: number;
  /** What fantail_state() answers: the layout of the state that it keeps; 0 where it keeps none. */
  readonly state: number;
  /** The export itself: nothing stands between the worker's loop and the module. */
  readonly burst: Burst;
}

/**
 * Refuses (FILTER_REJECTED) a module that breaks a rule, does not answer sample packets as it must,
 * or could not be compiled in a worker.
 */
export async function checkModule(bytes: Uint8Array): Promise<void> {
  runOnSamples(await compileByRules(bytes));
  await compileAsWorkers(bytes);
}

/**
 * Nested loops cost the optimising compiler more than the square of their number: 560 KB of them
 * take minutes. Nothing ends a compilation but the end of its process, so this one is thrown away;
 * the flags are a process's too.
 */
async function compileAsWorkers(bytes: Uint8Array): Promise<void> {
  const child = spawn(process.execPath, [...COMPILER_FLAGS, '--eval', COMPILE], {
    stdio: ['pipe', 'ignore', 'ignore'],
    timeout: COMPILE_MS_MAX,
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => {}); // it died before it had read all: its end says so
  child.stdin.end(bytes);
  const end = await new Promise<number | string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (status, signal) => resolve(signal ?? status));
  });
  if (end === 0) return;
  if (end === 'SIGKILL') {
    refuse(
      `compiling it as workers do takes over ${COMPILE_MS_MAX / 1000} s: split long functions and nested loops`,
    );
  }
  refuse(`the optimising compiler fails on it: its process ends by ${end}`);
}

/** The first half: what can be told without running it. */
export async function compileByRules(bytes: Uint8Array): Promise<WebAssembly.Module> {
  if (bytes.length > limits.MODULE_SIZE_MAX) {
    refuse(`the module has ${bytes.length} bytes; at most ${limits.MODULE_SIZE_MAX} are taken`);
  }
  const module = await compile(bytes);
  await checkRules(module, bytes);
  return module;
}

/** Whether a module uses the state block, which others may not write. */
export function isStateful(module: WebAssembly.Module): boolean {
  return WebAssembly.Module.exports(module).some(({ name }) => name === STATE_EXPORT);
}

/** A checked module over `memory`, ready for the first burst. */
export function loadFilter(bytes: Uint8Array, memory: WebAssembly.Memory): Filter {
  return instantiate(new WebAssembly.Module(bytes), memory);
}

/** The engine's own opinion; its message names the byte. */
async function compile(bytes: Uint8Array): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    return refuse(`not a WebAssembly module that this engine takes: ${messageOf(error)}`);
  }
}

/** The same of a module that is compiled already. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Filter {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const abi = exports[ABI_EXPORT];
  const burst = exports[BURST_EXPORT];
  if (typeof abi !== 'function' || typeof burst !== 'function') {
    return refuse(`a filter exports the functions ${ABI_EXPORT} and ${BURST_EXPORT}`);
  }
  const version = Number(abi());
  if (version !== limits.FILTER_ABI) {
    refuse(
      `${ABI_EXPORT}() answers ${version}; this fantail speaks version ${limits.FILTER_ABI} of the ABI`,
    );
  }
  // the rules fix its signature
  return { abi: version, state: stateOf(exports[STATE_EXPORT]), burst: burst as Burst };
}

/** As u32, so that it is the same number wherever it is kept. */
function stateOf(exported: unknown): number {
  if (typeof exported !== 'function') return 0;
  const state = Number(exported()) >>> 0;
  if (state === 0)
    refuse(`${STATE_EXPORT}() answers 0, which means no state: leave the export out then`);
  return state;
}

/**
 * All samples in one burst, then a few in the middle, whose neighbours must stay as they are, then
 * none.
 */
function runOnSamples(module: WebAssembly.Module): void {
  const samples = new Samples({ isStateful: isStateful(module) });
  const filter = limited(
    () => 'its instantiation',
    () => instantiate(module, samples.memory),
  );
  for (const [first, count] of [
    [0, samples.count],
    [3, 5],
    [samples.count, 0],
  ] as const) {
    samples.restore();
    limited(
      () => samples.describeUnanswered(first, count),
      () => filter.burst(limits.WINDOW_JOBS, first, count),
    );
    const fault = samples.fault(first, count);
    if (fault !== null) refuse(`${BURST_EXPORT}(jobs, ${first}, ${count}): ${fault}`);
  }
}

const CALL = new Script('call()');
/** Made once: a context costs a millisecond, and captures have many packets. */
let context: { call?: () => unknown } | null = null;

/**
 * Calls into the module for at most SAMPLES_MS_MAX: node:vm interrupts what it has called, Wasm
 * too.
 */
export function limited<T>(place: () => string, call: () => T): T {
  try {
    context ??= createContext({});
    context.call = call;
    return CALL.runInContext(context, { timeout: SAMPLES_MS_MAX }) as T; // what call() returned
  } catch (error) {
    if (error instanceof FantailError) throw error;
    // A trap, or what node:vm throws when the time is over; it comes from another realm, so no
    // instanceof.
    const { code, stack } = error as { code?: unknown; stack?: unknown };
    if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
      return refuse(`${place()}: it does not return within ${SAMPLES_MS_MAX} ms`);
    }
    const frame = /wasm-function\[(\d+)\]:(0x[0-9a-f]+)/.exec(String(stack));
    const where = frame === null ? '' : `function ${frame[1]}, byte ${frame[2]}, fails in `;
    return refuse(`${where}${place()}: ${messageOf(error)}`);
  }
}
