/**
 * A filter's module, as a worker takes it: its exports, and from its bytes to the call that the
 * worker makes once per burst. What a module must be before a worker may have it is decided in
 * check/.
 */
import { FantailError } from '../domain/errors.js';
import { limits } from '../memory/layout.js';

export const ABI_EXPORT = 'fantail_abi';
export const BURST_EXPORT = 'fantail_burst';
/** Optional: names the layout of the state that it keeps at WINDOW_STATE. */
export const STATE_EXPORT = 'fantail_state';
/** Optional: where in its state block the report of its gaps and lines is. */
export const REPORT_EXPORT = 'fantail_report';

/**
 * From this one on V8 inlines Wasm into Wasm by counts that its baseline compiler takes; where that
 * is off and there are none, V8 of Node 26 ends the process (`function_feedback != …`).
 */
const V8_INLINES_BY_FEEDBACK = 13;
const v8 = Number.parseInt(process.versions.v8, 10);

/**
 * How workers compile: with the optimising compiler and at once, or packets would wait for it
 * later.
 */
export const COMPILER_FLAGS = [
  '--no-liftoff',
  '--no-wasm-tier-up',
  '--no-wasm-lazy-compilation',
  ...(v8 < V8_INLINES_BY_FEEDBACK
    ? []
    : ['--no-wasm-inlining', '--no-wasm-inlining-call-indirect', '--no-wasm-deopt']),
];
/** Answers jobs [first, first + count) of those at `jobs`, an address in the filter's memory. */
export type Burst = (jobs: number, first: number, count: number) => void;

export interface Filter {
  readonly abi: number;
  /** What fantail_state() answers: the layout of the state that it keeps; 0 where it keeps none. */
  readonly state: number;
  /** What fantail_report() answers: bytes into its state; null where it reports nothing. */
  readonly report: number | null;
  /** The export itself: nothing stands between the worker's loop and the module. */
  readonly burst: Burst;
}

/** FILTER_REJECTED, with the rule that is broken and the place. */
export function refuse(sentence: string): never {
  throw new FantailError('FILTER_REJECTED', sentence);
}

/** Whether a module uses the state block, which others may not write. */
export function isStateful(module: WebAssembly.Module): boolean {
  return WebAssembly.Module.exports(module).some(({ name }) => name === STATE_EXPORT);
}

/** A checked module over `memory`, ready for the first burst. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Filter {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const abi = exports[ABI_EXPORT];
  const burst = exports[BURST_EXPORT];
  if (typeof abi !== 'function' || typeof burst !== 'function') {
    return refuse(`a filter exports the functions ${ABI_EXPORT} and ${BURST_EXPORT}`);
  }
  const version = Number(abi());
  if (version !== limits.FILTER_ABI) {
    refuse(
      `${ABI_EXPORT}() answers ${version}; this fantail speaks version ${limits.FILTER_ABI} of the ABI`,
    );
  }
  const state = stateOf(exports[STATE_EXPORT]);
  const report = reportOf(exports[REPORT_EXPORT], state);
  // the rules fix its signature
  return { abi: version, state, report, burst: burst as Burst };
}

/** As u32, so that it is the same number wherever it is kept. */
function stateOf(exported: unknown): number {
  if (typeof exported !== 'function') return 0;
  const state = Number(exported()) >>> 0;
  if (state === 0)
    refuse(`${STATE_EXPORT}() answers 0, which means no state: leave the export out then`);
  return state;
}

/** Inside the state block, whole and aligned, so that whoever reads it needs to check nothing. */
function reportOf(exported: unknown, state: number): number | null {
  if (typeof exported !== 'function') return null;
  if (state === 0)
    refuse(`it exports ${REPORT_EXPORT} and not ${STATE_EXPORT}, where the report is`);
  const offset = Number(exported()) >>> 0;
  const last = limits.STATE_SIZE - limits.REPORT_SIZE;
  if (offset % 8 !== 0 || offset > last)
    refuse(`${REPORT_EXPORT}() answers ${offset}: it must be a multiple of 8, at most ${last}`);
  return offset;
}
