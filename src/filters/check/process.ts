/**
 * Checks a module in a thread of its own: compiling and trying a stranger's module may take long,
 * and the control channel and the neighbours must not wait for it.
 */
import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Code, FantailError } from '../../domain/errors.js';
import type { Facts } from '../../domain/filter.js';

/** Compiling 1 MiB and running the samples; past this the thread is ended. */
const CHECK_MS_MAX = 20_000;

/** What thread.ts posts. */
export type Verdict =
  | { readonly abi: number; readonly state: number }
  | { readonly code: Code; readonly message: string };

/** The facts of a lawful module; throws FILTER_REJECTED with the rule and the place otherwise. */
export async function checkFilter(bytes: Uint8Array): Promise<Facts> {
  const thread = new Worker(new URL('./thread.js', import.meta.url), { workerData: { bytes } });
  const timer = setTimeout(() => void thread.terminate(), CHECK_MS_MAX);
  try {
    const verdict = await new Promise<Verdict>((resolve, reject) => {
      thread.once('message', resolve);
      thread.once('error', reject);
      thread.once('exit', () =>
        reject(
          new FantailError('FILTER_REJECTED', `checking it took over ${CHECK_MS_MAX / 1000} s`),
        ),
      );
    });
    if ('code' in verdict) throw new FantailError(verdict.code, verdict.message);
    return { abi: verdict.abi, state: verdict.state, hash: hashOf(bytes) };
  } finally {
    clearTimeout(timer);
    void thread.terminate();
  }
}

/** SHA-256, hexadecimal: what `sha256sum` prints of the file. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
