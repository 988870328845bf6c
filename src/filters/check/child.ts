/**
 * A process to throw away (throw-away.ts), which compiles as workers do: reads one module, prints
 * COMPILED once that is done and the rules are kept, tries it on samples, and prints its verdict.
 */
import { FantailError } from '../../domain/errors.js';
import { instantiate } from '../module.js';
import { compileByRules, runOnSamples } from './checker.js';
import { COMPILED, type Verdict } from './process.js';
import { Samples } from './samples.js';
import { moduleAndGiveUp } from './throw-away.js';

function verdictOf(bytes: Uint8Array): Verdict {
  try {
    const module = compileByRules(bytes);
    process.stdout.write(COMPILED);
    runOnSamples(module);
    const { abi, state } = instantiate(module, new Samples().memory);
    return { abi, state };
  } catch (error) {
    if (error instanceof FantailError) return { code: error.code, message: error.message };
    throw error;
  }
}

process.stdout.write(JSON.stringify(verdictOf(moduleAndGiveUp())));
