/**
 * The check that a module must pass before it goes live: it keeps the rules (rules.ts), answers
 * sample packets lawfully (samples.ts) in a memory that is thrown away, and can be compiled as
 * workers compile.
 */
import { messageOf } from '../../domain/errors.js';
import { programFile } from '../../domain/installation.js';
import { limits } from '../../memory/layout.js';
import { BURST_EXPORT, COMPILER_FLAGS, instantiate, isStateful, refuse } from '../module.js';
import { limited } from './limited.js';
import { checkRules } from './rules.js';
import { Samples } from './samples.js';
import { throwAway } from './throw-away.js';

/**
 * What compiling as workers do may take, starting a process included: an ordinary filter takes 10
 * ms. It must stay well below what a worker gets to load one (ORDER_MS_MAX of
 * processes/filter-orders.ts), which has to share its cores.
 */
const COMPILE_MS_MAX = 4000;
const COMPILE = programFile('filters/check/compile.js');

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
export async function compileAsWorkers(bytes: Uint8Array): Promise<void> {
  const options = { input: bytes, ms: COMPILE_MS_MAX };
  const { how, late, error } = await throwAway(COMPILE, COMPILER_FLAGS, options);
  if (how === 0) return;
  if (late) {
    refuse(
      `compiling it as workers do takes over ${COMPILE_MS_MAX / 1000} s: split long functions and nested loops`,
    );
  }
  if (typeof how === 'string') refuse(`the optimising compiler fails on it: it ended by ${how}`);
  throw new Error(`the compiling process ended with status ${how}: ${error}`);
}

/** The first half: what can be told without running it. */
export async function compileByRules(bytes: Uint8Array): Promise<WebAssembly.Module> {
  if (bytes.length > limits.MODULE_SIZE_MAX) {
    refuse(`the module has ${bytes.length} bytes; at most ${limits.MODULE_SIZE_MAX} are taken`);
  }
  const module = await compile(bytes);
  checkRules(module, bytes);
  return module;
}

/** The engine's own opinion; its message names the byte. */
async function compile(bytes: Uint8Array): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    return refuse(`not a WebAssembly module that this engine takes: ${messageOf(error)}`);
  }
}

/**
 * All samples in one burst, then a few in the middle, whose neighbours must stay as they are, then
 * none.
 */
export function runOnSamples(module: WebAssembly.Module): void {
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
