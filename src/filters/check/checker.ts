/**
 * The check that a module must pass before it goes live: it keeps the rules (rules.ts), and answers
 * sample packets lawfully (samples.ts) in a memory that is thrown away. process.ts does it where a
 * module can do no harm.
 */
import { messageOf } from '../../domain/errors.js';
import { limits } from '../../memory/layout.js';
import { BURST_EXPORT, type Filter, instantiate, isStateful, refuse } from '../module.js';
import { limited } from './limited.js';
import { checkRules } from './rules.js';
import { Samples } from './samples.js';

/**
 * Refuses (FILTER_REJECTED) a module that breaks a rule or does not answer sample packets as it
 * must. `onCompiled`: it keeps the rules, and is tried next.
 */
export function checkModule(
  bytes: Uint8Array,
  onCompiled: () => void = () => {},
): Pick<Filter, 'abi' | 'state' | 'report'> {
  const module = compileByRules(bytes);
  onCompiled();
  const { abi, state, report } = runOnSamples(module);
  return { abi, state, report };
}

/** The first half: what can be told without running it. */
export function compileByRules(bytes: Uint8Array): WebAssembly.Module {
  if (bytes.length > limits.MODULE_SIZE_MAX) {
    refuse(`the module has ${bytes.length} bytes; at most ${limits.MODULE_SIZE_MAX} are taken`);
  }
  const module = compile(bytes);
  checkRules(module, bytes);
  return module;
}

/** The engine's own opinion; its message names the byte. */
function compile(bytes: Uint8Array): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    return refuse(`not a WebAssembly module that this engine takes: ${messageOf(error)}`);
  }
}

/**
 * All samples in one burst, then a few in the middle, whose neighbours must stay as they are, then
 * none.
 */
function runOnSamples(module: WebAssembly.Module): Filter {
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
  return filter;
}
