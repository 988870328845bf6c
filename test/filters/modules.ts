/**
 * Filters that do one thing, mostly a wrong one. Apart from loading.ts, since binaryen takes more
 * than a second to load.
 */
import binaryen from 'binaryen';
import { limits } from '../../src/memory/layout.js';

export const BURST =
  '(export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32)';

/** A loop over the jobs; `each` has the job's address in $job. */
export function burst(each: string): string {
  return `(func $burst ${BURST} (local $job i32) (local $end i32)
    (local.set $job (i32.add (local.get $jobs) (i32.mul (local.get $first) (i32.const ${limits.JOB_SIZE}))))
    (local.set $end (i32.add (local.get $job) (i32.mul (local.get $count) (i32.const ${limits.JOB_SIZE}))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $job) (local.get $end)))
      ${each}
      (local.set $job (i32.add (local.get $job) (i32.const ${limits.JOB_SIZE})))
      (br $next))))`;
}

/** A module whose fantail_burst does `body` for each job, whose address is in $job. */
export function moduleOf(body: string): Uint8Array {
  const module = binaryen.parseText(`(module
    (import "env" "memory" (memory 1))
    (func (export "fantail_abi") (result i32) (i32.const ${limits.FILTER_ABI}))
    ${burst(body)})`);
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}

export const DROP = '(i32.store offset=16 (local.get $job) (i32.const 0))';
/**
 * Lawful on the samples that a module is tried on, which come from 192.0.2.253; wrong on anything
 * else.
 */
export const onFeed = (wrong: string) =>
  `(if (i32.ne (i32.load offset=26 (i32.load (local.get $job))) (i32.const 0xfd0200c0)) (then ${wrong})) ${DROP}`;
export const TRAPS = moduleOf(onFeed('unreachable'));
export const NEVER_RETURNS = moduleOf(onFeed('(loop $on (br $on))'));
/** Some milliseconds a packet: its worker is in it nearly all the time. */
export const SLOW = moduleOf(
  onFeed(`(i32.store (i32.const 0) (i32.const 1000000))
    (loop $on
      (i32.store (i32.const 0) (i32.sub (i32.load (i32.const 0)) (i32.const 1)))
      (br_if $on (i32.load (i32.const 0))))`),
);
/** A header of 100 bytes for a packet's 42: with a payload near the MTU that is too much. */
export const GROWS = moduleOf(`(i32.store offset=20 (local.get $job) (i32.const ${100 << 16}))
  (i32.store offset=24 (local.get $job) (i32.const 0)) (i32.store offset=16 (local.get $job) (i32.const 1))`);
