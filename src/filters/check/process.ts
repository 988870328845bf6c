/**
 * Checks a module in processes of their own that are thrown away: compiling and trying a stranger's
 * module may take long, take much, or find a fault of the engine, and neither the supervisor nor
 * the packets are to notice.
 */
import { createHash } from 'node:crypto';
import { type Code, FantailError } from '../../domain/errors.js';
import type { Facts } from '../../domain/filter.js';
import { programFile } from '../../domain/installation.js';
import { refuse } from '../module.js';
import { compileAsWorkers } from './checker.js';
import { throwAway } from './throw-away.js';

const CHILD = programFile('filters/check/child.js');
/** The rules, and the samples (SAMPLES_MS_MAX a call), on cores that are busy. */
const CHECK_MS_MAX = 20_000;

/** What child.ts prints. */
export type Verdict =
  | { readonly abi: number; readonly state: number }
  | { readonly code: Code; readonly message: string };

/** The facts of a lawful module; throws FILTER_REJECTED with the rule and the place otherwise. */
export async function checkFilter(bytes: Uint8Array): Promise<Facts> {
  const { how, late, output, error } = await throwAway(CHILD, [], {
    input: bytes,
    ms: CHECK_MS_MAX,
  });
  if (late) refuse(`checking it took over ${CHECK_MS_MAX / 1000} s`);
  if (typeof how === 'string') refuse(`the process that checks it ended by ${how}`);
  if (how !== 0) throw new Error(`the checker ended with status ${how}: ${error}`);
  const verdict = JSON.parse(output) as Verdict; // child.ts's
  if ('code' in verdict) throw new FantailError(verdict.code, verdict.message);
  await compileAsWorkers(bytes);
  return { abi: verdict.abi, state: verdict.state, hash: hashOf(bytes) };
}

/** SHA-256, hexadecimal: what `sha256sum` prints of the file. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
