/** Calls into a module that is not trusted yet, which may never return or trap anywhere. */
import { createContext, Script } from 'node:vm';
import { FantailError, messageOf } from '../../domain/errors.js';
import { refuse } from '../module.js';

/**
 * What a run on the samples may take, compiling included: a filter that does not return must not
 * stop its caller.
 */
const SAMPLES_MS_MAX = 1000;
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
