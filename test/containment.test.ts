/**
 * A filter that goes wrong while packets flow costs the one copy it was working on, under a name that says so.
 *
 * One module, written as text, behaves on every size of packet but a few; each of those few is one way to go wrong.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FAULTS_MAX } from '../src/filter-desk.js';
import { limits } from '../src/layout.js';
import { eventually } from './program.js';
import { LAYOUTS, networkTest, subscribersOf, withReplicator } from './scenario.js';
import { replicatedRoute, startFeed } from './wire.js';

const test = suite('containment');

const GOOD_SIZE = 200;
const JOB = '(local.get $job)';
const field = (offset: number) => `(i32.load offset=${offset} ${JOB})`;
const [PACKET, SLOT, SUBSCRIBER] = [0, 8, 12].map(field);
const answer = (verdict: number, start: number, replaced: number) =>
  `(i32.store offset=20 ${JOB} (i32.const ${start})) (i32.store offset=24 ${JOB} (i32.const ${replaced}))
   (i32.store offset=16 ${JOB} (i32.const ${verdict}))`;

/** Each way to go wrong: the payload size that sets it off, the code, and the drop that it must end as. */
const FAULTS = [
  { what: 'a store into the packet', code: `(i32.store ${PACKET} (i32.const 7))`, drop: 'filter_trap' },
  { what: 'a store into a record', code: `(i32.store ${SUBSCRIBER} (i32.const 7))`, drop: 'filter_trap' },
  {
    what: 'a SIMD store into the packet',
    code: `(v128.store ${PACKET} (v128.const i32x4 1 2 3 4))`,
    drop: 'filter_trap',
  },
  {
    what: 'a store past the memory',
    code: '(i32.store (i32.const -64) (i32.const 7))',
    drop: 'filter_trap',
  },
  { what: 'unreachable', code: 'unreachable', drop: 'filter_trap' },
  {
    what: 'a division by zero',
    code: `(i32.store ${SLOT} (i32.div_u (i32.const 1) (i32.load (i32.const 0))))`,
    drop: 'filter_trap',
  },
  { what: 'recursion without end', code: '(call $deep)', drop: 'filter_trap' },
  { what: 'no answer', code: '', drop: 'filter_trap' },
  {
    what: 'a header outside its slot',
    code: answer(1, limits.SLOT_SIZE - 1 + (8 << 16), 0),
    drop: 'filter_bad_answer',
  },
  { what: 'more replaced than there is', code: answer(1, 0, 5000), drop: 'filter_bad_answer' },
  { what: 'a verdict that does not exist', code: answer(77, 0, 0), drop: 'filter_bad_answer' },
].map((fault, index) => ({ ...fault, size: 301 + index }));

function evilModule(): Uint8Array {
  const cases = FAULTS.map(
    ({ size, code }) =>
      `(if (i32.eq ${field(4)} (i32.const ${size + limits.HEADER_SIZE})) (then ${code} (br $continue)))`,
  );
  const module = binaryen.parseText(`(module
    (import "env" "memory" (memory 1))
    (func (export "fantail_abi") (result i32) (i32.const 1))
    (func $deep (call $deep) (drop (i32.const 1)))
    (func (export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32)
      (local $job i32) (local $end i32)
      (local.set $job (i32.add (local.get $jobs) (i32.mul (local.get $first) (i32.const ${limits.JOB_SIZE}))))
      (local.set $end (i32.add (local.get $job) (i32.mul (local.get $count) (i32.const ${limits.JOB_SIZE}))))
      (block $done (loop $next
        (br_if $done (i32.ge_u ${JOB} (local.get $end)))
        (block $continue
          ${cases.join('\n')}
          ${answer(0, 0, 0)})
        (local.set $job (i32.add ${JOB} (i32.const ${limits.JOB_SIZE})))
        (br $next)))))`);
  module.setFeatures(binaryen.Features.SIMD128);
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}

for (const layout of LAYOUTS)
  for (const mode of ['copy', 'socket'])
    networkTest(
      test,
      `each way to go wrong costs its own copies only, and no worker dies: ${layout}, ${mode}`,
      { queues: 1 },
      async (link) => {
        const folder = mkdtempSync(join(tmpdir(), 'fantail-'));
        const file = join(folder, 'evil.wasm');
        writeFileSync(file, evilModule());
        try {
          const flags = ['--mode', mode, '--layout', layout, '--filter', file];
          await withReplicator({ link, flags }, async (replicator) => {
            await replicator.subscribe(subscribersOf(3));
            const rounds = Math.floor((FAULTS_MAX - 1) / (FAULTS.length * 3)); // one more and it is rolled back
            const sizes = FAULTS.flatMap(({ size }) => [GOOD_SIZE, size]);
            const count = sizes.length * rounds;
            const route = replicatedRoute(link);
            await startFeed(route, { rate: 2000, count, sizes: sizes.join() }).result(20_000);
            await eventually('all packets are accounted for', async () => {
              const { subscribers } = await replicator.stats();
              return subscribers.every(({ received }) => received === count);
            });
            const stats = await replicator.stats();
            const expected = { filter_drop: count / 2, filter_trap: 0, filter_bad_answer: 0 };
            for (const { drop } of FAULTS) expected[drop as keyof typeof expected] += rounds;
            for (const { drops } of stats.subscribers) {
              const { filter_drop, filter_trap, filter_bad_answer } = drops;
              assert.equal({ filter_drop, filter_trap, filter_bad_answer }, expected);
            }
            assert.equal(
              stats.workers.map(({ restarts }) => restarts),
              [0],
              'no worker died',
            );
            await replicator.cli('stats', '--check');
          });
        } finally {
          rmSync(folder, { recursive: true });
        }
      },
    );

test.run();
