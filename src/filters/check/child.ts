/**
 * A process to throw away (throw-away.ts): reads one module and tries it on samples, and prints its
 * verdict.
 */
import { FantailError } from '../../domain/errors.js';
import { loadFilter } from '../module.js';
import { compileByRules, runOnSamples } from './checker.js';
import type { Verdict } from './process.js';
import { Samples } from './samples.js';
import { moduleAndGiveUp } from './throw-away.js';

async function verdictOf(bytes: Uint8Array): Promise<Verdict> {
  try {
    runOnSamples(await compileByRules(bytes));
    const { abi, state } = loadFilter(bytes, new Samples().memory);
    return { abi, state };
  } catch (error) {
    if (error instanceof FantailError) return { code: error.code, message: error.message };
    throw error;
  }
}

process.stdout.write(JSON.stringify(await verdictOf(moduleAndGiveUp())));
