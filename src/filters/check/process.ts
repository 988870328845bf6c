/**
 * Checks a module in a process of its own that is thrown away: compiling and trying a stranger's
 * module may take long, take much, or find a fault of the engine, and neither the supervisor nor
 * the packets are to notice.
 */
import { createHash } from 'node:crypto';
import { type Code, FantailError } from '../../domain/errors.js';
import type { Facts } from '../../domain/filter.js';
import { programFile } from '../../domain/installation.js';
import { COMPILER_FLAGS, refuse } from '../module.js';
import { throwAway } from './throw-away.js';

const CHILD = programFile('filters/check/child.js');
/**
 * What compiling as workers do may take, whatever else the machine does, up to a second more: an
 * ordinary filter takes 10 ms. A worker, which compiles with a fifth of a core where loops spin,
 * must be done well before ORDER_MS_MAX of processes/filter-orders.ts.
 *
 * Nested loops cost the optimising compiler more than the square of their number: 560 KB of them
 * take minutes. Nothing ends a compilation but the end of its process.
 */
export const COMPILE_CPU_S_MAX = 1;
/** All of it, on cores that are busy; the samples have a limit of their own a call. */
const CHECK_MS_MAX = 30_000;

/** child.ts prints this when it has compiled the module, and then its verdict. */
export const COMPILED = 'compiled\n';
export type Verdict =
  | { readonly abi: number; readonly state: number; readonly report: number | null }
  | { readonly code: Code; readonly message: string };

/** The facts of a lawful module; throws FILTER_REJECTED with the rule and the place otherwise. */
export async function checkFilter(bytes: Uint8Array): Promise<Facts> {
  const { how, late, output, error } = await throwAway(CHILD, COMPILER_FLAGS, {
    input: bytes,
    ms: CHECK_MS_MAX,
  });
  const isCompiled = output.startsWith(COMPILED);
  if (how === 'SIGXCPU' && !isCompiled)
    refuse(
      `compiling it as workers do takes over ${COMPILE_CPU_S_MAX} s of CPU time: split long functions and nested loops`,
    );
  if (late) refuse(`checking it took over ${CHECK_MS_MAX / 1000} s`);
  if (typeof how === 'string')
    refuse(`${isCompiled ? 'trying' : 'compiling'} it ended the process that checks it by ${how}`);
  if (how !== 0) throw new Error(`the checker ended with status ${how}: ${error}`);
  const verdict = JSON.parse(isCompiled ? output.slice(COMPILED.length) : output) as Verdict;
  if ('code' in verdict) throw new FantailError(verdict.code, verdict.message);
  const { abi, state, report } = verdict;
  return { abi, state, report, hash: hashOf(bytes) };
}

/** SHA-256, hexadecimal: what `sha256sum` prints of the file. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
