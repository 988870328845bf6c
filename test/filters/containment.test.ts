/**
 * A filter that goes wrong while packets flow costs the one copy it was working on, under a name
 * that says so.
 *
 * One module, written as text, behaves on every size of packet but a few; each of those few is one
 * way to go wrong.
 *
 * needs: a link
 */
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { limits } from '../../src/memory/layout.js';
import { FAULTS_MAX } from '../../src/processes/pulse.js';
import {
  assertLossless,
  assertReceived,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';

const test = suite('containment');

const GOOD_SIZE = 200;
const JOB = '(local.get $job)';
const field = (offset: number) => `(i32.load offset=${offset} ${JOB})`;
const [PACKET, SLOT, SUBSCRIBER] = [0, 8, 12].map(field);
const answer = (verdict: number, start: number, replaced: number) =>
  `(i32.store offset=20 ${JOB} (i32.const ${start})) (i32.store offset=24 ${JOB} (i32.const ${replaced}))
   (i32.store offset=16 ${JOB} (i32.const ${verdict}))`;

/**
 * Each way to go wrong: the payload size that sets it off, the code, and the drop that it must end
 * as.
 */
const FAULTS = [
  {
    what: 'a store into the packet',
    code: `(i32.store ${PACKET} (i32.const 7))`,
    drop: 'filter_trap',
  },
  {
    what: 'a store into a record',
    code: `(i32.store ${SUBSCRIBER} (i32.const 7))`,
    drop: 'filter_trap',
  },
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

/** Each form of module that may not go live: what is wrong with it, and the refusal. */
const body = (more: string, { memory = '1', work = answer(0, 0, 0), abi = '1' } = {}) => `(module
  (import "env" "memory" (memory ${memory})) ${more}
  (func (export "fantail_abi") (result i32) (i32.const ${abi}))
  (func (export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32) (local $job i32)
    (local.set $job (local.get $jobs)) ${work}))`;
const ADDRESS = `(i32.const ${limits.WINDOW_FRAMES})`;
const REFUSED: readonly (readonly [what: string, text: string, why: RegExp])[] = [
  [
    'memory.fill',
    body('', { work: `(memory.fill ${ADDRESS} (i32.const 0) (i32.const 1))` }),
    /memory\.fill/,
  ],
  [
    'memory.copy',
    body('', { work: `(memory.copy ${ADDRESS} (i32.const 0) (i32.const 1))` }),
    /memory\.copy/,
  ],
  [
    'memory.init',
    body('(data $d "x")', { work: `(memory.init $d ${ADDRESS} (i32.const 0) (i32.const 1))` }),
    /memory\.init|passive/,
  ],
  ['an atomic store', body('', { work: `(i32.atomic.store ${ADDRESS} (i32.const 1))` }), /atomic/],
  [
    'an atomic add',
    body('', { work: `(drop (i32.atomic.rmw.add ${ADDRESS} (i32.const 1)))` }),
    /atomic/,
  ],
  ['memory.grow', body('', { work: '(drop (memory.grow (i32.const 1)))' }), /memory\.grow/],
  ['a minimum over the packets', body('', { memory: '65' }), /minimum of 65 pages/],
  ['a maximum', body('', { memory: '1 65536' }), /maximum/],
  ['another import', body('(import "env" "clock" (func))'), /env\.clock/],
  ['a start function', body('(func $s) (start $s)'), /start function/],
  ['another ABI', body('', { abi: '7' }), /answers 7/],
  ['no answer', body('', { work: '' }), /not answered/],
  ['no end', body('', { work: '(loop $l (br $l))' }), /does not return/],
];

function assembled(text: string): Uint8Array {
  const module = binaryen.parseText(text);
  module.setFeatures(
    binaryen.Features.BulkMemory | binaryen.Features.Atomics | binaryen.Features.MutableGlobals,
  );
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}

networkTest(
  test,
  'every form of forbidden module is refused while packets flow, and costs nobody one',
  { queues: 1 },
  async (link) => {
    await withReplicator(
      { link, flags: ['--mode', 'copy', '--layout', 'inline'] },
      async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        let refused = 0;
        const sunk = await transfer(replicator, {
          subscribers,
          rate: 2000,
          count: 2000,
          meanwhile: async () => {
            for (const [what, text, why] of REFUSED) {
              const module = Buffer.from(assembled(text)).toString('base64');
              const said = await replicator.ask({ op: 'filter.load', name: 'bad', module }).then(
                () => `${what} was not refused`,
                (error: Error) => error.message,
              );
              assert.match(said, /\(FILTER_REJECTED\)$/, what);
              assert.match(said, why, what);
              refused++;
            }
          },
        });
        assert.is(refused, REFUSED.length);
        await assertLossless(replicator, sunk);
        const { workers, filters } = await replicator.stats();
        assert.equal([workers[0]?.restarts, filters.loaded.length, filters.rollbacks], [0, 1, []]);
      },
    );
  },
);

// a filter is called alike in each pair that is left out
for (const [layout, mode] of [
  ['inline', 'copy'],
  ['split', 'socket'],
] as const)
  networkTest(
    test,
    `each way to go wrong costs its own copies only, and no worker dies: ${layout}, ${mode}`,
    { queues: 1 },
    async (link) => {
      await withReplicator(
        { link, flags: ['--mode', mode, '--layout', layout] },
        async (replicator) => {
          const [good, ...victims] = subscribersOf(3) as [Destination, ...Destination[]];
          await replicator.subscribe([good, ...victims]);
          const module = Buffer.from(evilModule()).toString('base64');
          await replicator.change({ op: 'filter.load', name: 'evil', module });
          for (const { ip, port } of victims)
            await replicator.change({ op: 'filter.use', name: 'evil', ip, port });
          // One more and it is rolled back.
          const rounds = Math.floor((FAULTS_MAX - 1) / (FAULTS.length * victims.length));
          const sizes = FAULTS.flatMap(({ size }) => [GOOD_SIZE, size]);
          const count = sizes.length * rounds;
          const sunk = await transfer(replicator, {
            subscribers: [good],
            watched: victims,
            rate: 2000,
            count,
            sizes: sizes.join(),
          });
          // Who has another filter gets everything.
          const [seen, ...hurt] = sunk.subscribers;
          await assertReceived(replicator, sunk, seen === undefined ? [] : [seen]);
          assert.equal(
            hurt.map(({ received }) => received),
            [0, 0],
          );
          const stats = await replicator.stats();
          const expected = { filter_drop: count / 2, filter_trap: 0, filter_bad_answer: 0 };
          for (const { drop } of FAULTS) expected[drop as keyof typeof expected] += rounds;
          for (const { port, ip, drops } of stats.subscribers) {
            const { filter_drop, filter_trap, filter_bad_answer } = drops;
            const isGood = ip === good.ip && port === good.port;
            const none = { filter_drop: 0, filter_trap: 0, filter_bad_answer: 0 };
            assert.equal({ filter_drop, filter_trap, filter_bad_answer }, isGood ? none : expected);
          }
          assert.equal(
            stats.workers.map(({ restarts }) => restarts),
            [0],
            'no worker died',
          );
          await replicator.check();
        },
      );
    },
  );

test.run();
