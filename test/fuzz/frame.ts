/**
 * What every generated module has around its random part: a burst that walks over its jobs, calls
 * the random part for each, and answers. Written as text and assembled with binaryen.
 *
 * Most random parts would fail on the checker's sample packets and never be seen again. So most
 * frames are gated: the random part runs for packets of TRIGGER_LENGTH bytes only, which no sample
 * has.
 */
import binaryen from 'binaryen';
import { limits, offsetOf } from '../../src/memory/layout.js';
import { TRIGGER_LENGTH } from './window.js';

export interface Parts {
  /** Pages of memory that it declares, or what else stands there: `1 16`. */
  readonly memory: string;
  readonly gated: boolean;
  /** Says that it keeps state, and gets a block for it. */
  readonly stateful: boolean;
  /** Statements; the job's address is in $job. */
  readonly work: string;
  /** Stores that answer the job. */
  readonly answer: string;
  /** Definitions beside the two exports. */
  readonly more: string;
}

const JOB = '(local.get $job)';
const field = (name: string) => offsetOf('job', name);

/** Stores an answer; the parts are expressions. */
export function answerOf(verdict: string, start: string, length: string, replaced: string): string {
  return `(i32.store16 offset=${field('header_start')} ${JOB} ${start})
    (i32.store16 offset=${field('header_length')} ${JOB} ${length})
    (i32.store offset=${field('replaced')} ${JOB} ${replaced})
    (i32.store offset=${field('verdict')} ${JOB} ${verdict})`;
}

export function constant(value: number): string {
  return `(i32.const ${value | 0})`;
}

export function filterText({ memory, gated, stateful, work, answer, more }: Parts): string {
  const length = `(i32.load offset=${field('length')} ${JOB})`;
  const jobs = (name: string) => `(i32.mul (local.get $${name}) (i32.const ${limits.JOB_SIZE}))`;
  return `(module
    (import "env" "memory" (memory $memory ${memory}))
    (func (export "fantail_abi") (result i32) (i32.const ${limits.FILTER_ABI}))
    (func (export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32)
      (local $job i32) (local $end i32)
      (local.set $job (i32.add (local.get $jobs) ${jobs('first')}))
      (local.set $end (i32.add (local.get $job) ${jobs('count')}))
      (block $done (loop $next
        (br_if $done (i32.ge_u ${JOB} (local.get $end)))
        ${gated ? `(if (i32.eq ${length} (i32.const ${TRIGGER_LENGTH})) (then ${work}))` : work}
        ${answer}
        (local.set $job (i32.add ${JOB} (i32.const ${limits.JOB_SIZE})))
        (br $next))))
    ${stateful ? '(func (export "fantail_state") (result i32) (i32.const 9))' : ''}
    ${more})`;
}

/**
 * What modules may be written with; all that binaryen knows would be written in ways that no engine
 * reads yet.
 */
const { Features } = binaryen;
const FEATURES =
  Features.Atomics |
  Features.BulkMemory |
  Features.BulkMemoryOpt |
  Features.ExceptionHandling |
  Features.Multivalue |
  Features.MutableGlobals |
  Features.NontrappingFPToInt |
  Features.ReferenceTypes |
  Features.SIMD128 |
  Features.SignExt |
  Features.TailCall;

/** The module's bytes. A text that binaryen does not take is an error of its generator. */
export function assemble(text: string): Uint8Array {
  let module: binaryen.Module;
  try {
    module = binaryen.parseText(text);
  } catch (error) {
    // binaryen throws plain objects
    throw new Error(`${(error as { message?: string }).message ?? error} in\n${text}`);
  }
  try {
    module.setFeatures(FEATURES);
    return module.emitBinary();
  } finally {
    module.dispose();
  }
}
