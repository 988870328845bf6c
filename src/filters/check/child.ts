/**
 * A process to throw away (throw-away.ts), which compiles as workers do: reads one module, prints
 * COMPILED once that is done and the rules are kept, tries it on samples, and prints its verdict.
 */
import { FantailError } from '../../domain/errors.js';
import { addon } from '../../memory/addon.js';
import { checkModule } from './checker.js';
import { COMPILE_CPU_S_MAX, COMPILED, type Verdict } from './process.js';
import { CPU_S_MAX, moduleAndGiveUp } from './throw-away.js';

function verdictOf(bytes: Uint8Array): Verdict {
  try {
    addon.limitCpu(COMPILE_CPU_S_MAX);
    return checkModule(bytes, () => {
      addon.limitCpu(CPU_S_MAX);
      process.stdout.write(COMPILED);
    });
  } catch (error) {
    if (error instanceof FantailError) return { code: error.code, message: error.message };
    throw error;
  }
}

process.stdout.write(JSON.stringify(verdictOf(moduleAndGiveUp())));
