/** The thread of process.ts: one module, one verdict. */
import { parentPort, workerData } from 'node:worker_threads';
import { FantailError } from '../../domain/errors.js';
import { lowerOtherThreads } from '../background.js';
import { loadFilter } from '../module.js';
import { checkModule } from './checker.js';
import type { Verdict } from './process.js';
import { Samples } from './samples.js';

async function verdictOf(bytes: Uint8Array): Promise<Verdict> {
  try {
    await checkModule(bytes);
    const { abi, state } = loadFilter(bytes, new Samples().memory);
    return { abi, state };
  } catch (error) {
    if (error instanceof FantailError) return { code: error.code, message: error.message };
    throw error;
  }
}

lowerOtherThreads(); // but the first: V8 compiles on threads of its own, and this is one, too
const { bytes } = workerData as { bytes: Uint8Array }; // from process.ts
parentPort?.postMessage(await verdictOf(bytes));
