/**
 * Every rule of the checker: one module that breaks it and nothing else, and the sentence that says
 * so and where.
 *
 * Modules are written as text, so that each row shows what is wrong with it, and assembled with
 * binaryen.
 *
 * needs: a core
 * takes: 40 s
 */
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../src/domain/errors.js';
import { checkModule, compileByRules } from '../../src/filters/check/checker.js';
import { checkFilter } from '../../src/filters/check/process.js';
import { TABLE_ENTRIES_MAX, TABLES_MAX } from '../../src/filters/check/rules.js';
import { LOCALS_MAX } from '../../src/filters/check/sections.js';
import { instantiate } from '../../src/filters/module.js';
import { limits } from '../../src/memory/layout.js';
import { BURST, burst, DROP } from './modules.js';

const test = suite('checker');
/** The last place of a report in the block of state. */
const REPORT_MAX = limits.STATE_SIZE - limits.REPORT_SIZE;

const MEMORY = '(import "env" "memory" (memory 0))';
const ABI = '(func (export "fantail_abi") (result i32) (i32.const 1))';
const reportAt = (offset: string) => `(func (export "fantail_report") (result i32) ${offset})`;
const STATE = '(func (export "fantail_state") (result i32) (i32.const -1))';

const JOB = '(local.get $job)';
/** A lawful answer: an empty header in place of nothing; rows change one part of it. */
const SEND = `(i32.store offset=16 ${JOB} (i32.const 1))
  (i32.store offset=20 ${JOB} (i32.const 0)) (i32.store offset=24 ${JOB} (i32.const 0))`;

/**
 * What the modules here use; all that binaryen knows would be written in ways that no engine reads
 * yet.
 */
const { Features } = binaryen;
const FEATURES =
  Features.Atomics |
  Features.BulkMemory |
  Features.BulkMemoryOpt |
  Features.ExceptionHandling |
  Features.ExtendedConst |
  Features.Memory64 |
  Features.MultiMemory |
  Features.ReferenceTypes |
  Features.SIMD128;

function assemble(text: string): Uint8Array {
  const module = parse(text);
  module.setFeatures(FEATURES);
  binaryen.setDebugInfo(true); // keeps names, so that sentences can give them
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}

/** binaryen throws plain objects, which a test runner cannot print. */
function parse(text: string): binaryen.Module {
  try {
    return binaryen.parseText(text);
  } catch (error) {
    throw new Error(`${(error as { message?: string }).message} in ${text}`);
  }
}

/** The parts of a lawful filter, any of them replaced. */
function filterOf(parts: {
  memory?: string;
  abi?: string;
  burst?: string;
  more?: string;
}): Uint8Array {
  const { memory = MEMORY, abi = ABI, burst: body = burst(DROP), more = '' } = parts;
  return assemble(`(module ${memory} ${abi} ${body} ${more})`);
}

async function refusalOf(
  bytes: Uint8Array,
  check: (bytes: Uint8Array) => unknown = checkModule,
): Promise<string> {
  try {
    await check(bytes);
  } catch (error) {
    if (!(error instanceof FantailError)) throw error;
    assert.is(error.code, 'FILTER_REJECTED');
    return error.message;
  }
  throw new Error('the module was accepted');
}

/** Modules that must be accepted: what stands next to a refusal, and is lawful. */
const accepted: readonly [name: string, bytes: () => Uint8Array][] = [
  ['drops everything', () => filterOf({})],
  ['answers send', () => filterOf({ burst: burst(SEND) })],
  ['has the largest minimum', () => filterOf({ memory: '(import "env" "memory" (memory 16))' })],
  [
    'has data up to its last own byte',
    () =>
      filterOf({
        memory: '(import "env" "memory" (memory 1))',
        more: '(data (i32.const 65535) "x")',
      }),
  ],
  [
    'calls through a table, keeps state, writes its slot',
    () =>
      filterOf({
        memory: '(import "env" "memory" (memory 1))',
        burst: burst(`(call_indirect (type $one) ${JOB} (i32.const 0)) ${SEND}`),
        more: `(type $one (func (param i32))) (table 1 funcref) (elem (i32.const 0) $f) (global $n (mut i32) (i32.const 0))
          (func $f (param $job i32) (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (i32.store (i32.const 0) (global.get $n)) (i64.store offset=248 (i32.load offset=8 ${JOB}) (i64.const -1)))`,
      }),
  ],
  [
    'answers its ABI in the words of a debug build',
    () =>
      filterOf({
        abi: '(func (export "fantail_abi") (result i32) (local $a i32) (local.set $a (i32.const 1)) (return (local.get $a)))',
      }),
  ],
  [
    'has many locals and tables',
    () =>
      filterOf({
        more: `(func (local i64) (local f32) (local v128) ${'(local i32)'.repeat(40_000)})
          ${'(table 60 funcref)'.repeat(TABLES_MAX)}`,
      }),
  ],
  [
    'uses SIMD',
    () =>
      filterOf({
        burst: burst(
          `(v128.store (i32.load offset=8 ${JOB}) (v128.load (i32.load ${JOB}))) ${SEND}`,
        ),
      }),
  ],
  [
    'keeps state in its block',
    () =>
      filterOf({
        burst: burst(`(i32.store (i32.const 0x230ffc) (i32.const 9)) ${DROP}`),
        more: STATE,
      }),
  ],
  [
    'has a function with a misleading name',
    () => filterOf({ more: '(func $"(memory.grow" (export "other"))' }),
  ],
  [
    'has a string that looks like code',
    () =>
      filterOf({
        memory: '(import "env" "memory" (memory 1))',
        more: '(data (i32.const 0) "\\n (memory $x 1)")',
      }),
  ],
];

for (const [name, bytes] of accepted) {
  test(`accepts a filter that ${name}`, async () => {
    await checkFilter(bytes());
  });
}

/** A use of an instruction in function 2, between the two exports. */
const using = (instructions: string, more = '') =>
  filterOf({ more: `(func $helper ${instructions}) ${more}` });
const SHARED = '(import "env" "memory" (memory 1 1 shared))';

const refused: readonly [name: string, bytes: () => Uint8Array, sentence: RegExp][] = [
  ['nothing', () => new Uint8Array(), /^not a WebAssembly module that this engine takes: ./],
  [
    'text',
    () => new TextEncoder().encode('export function fantail_burst() {}'),
    /^not a WebAssembly module that this engine takes: ./,
  ],
  ['half a module', () => filterOf({}).slice(0, 60), /^not a WebAssembly module .*@\+\d+/],
  [
    'more than a message may carry',
    () => new Uint8Array(limits.MODULE_SIZE_MAX + 1),
    /^the module has 1048577 bytes; at most 1048576 are taken/,
  ],

  [
    'another import',
    () => filterOf({ memory: `${MEMORY} (import "env" "abort" (func))` }),
    /^it imports env\.abort \(function\)/,
  ],
  [
    'an imported table',
    () => filterOf({ memory: `${MEMORY} (import "env" "t" (table 1 funcref))` }),
    /^it imports env\.t \(table\)/,
  ],
  [
    'an imported global',
    () => filterOf({ memory: `${MEMORY} (import "env" "g" (global i32))` }),
    /^it imports env\.g \(global\)/,
  ],
  [
    'a memory by another name',
    () => filterOf({ memory: '(import "env" "mem" (memory 0))' }),
    /^it imports env\.mem \(mem/,
  ],
  [
    'a memory of its own',
    () => filterOf({ memory: '(memory 1)' }),
    /^it does not import env\.memory/,
  ],
  [
    'two memories',
    () => filterOf({ more: '(memory $own 1)' }),
    /multi-?memory|one memory|memory of its own/i,
  ],
  [
    'a 64-bit memory',
    () => assemble(`(module (import "env" "memory" (memory i64 0)) ${ABI} (func ${BURST}))`),
    /memory64|64-bit/,
  ],
  ['a shared memory', () => filterOf({ memory: SHARED }), /^env\.memory is declared shared/],
  [
    'a maximum',
    () => filterOf({ memory: '(import "env" "memory" (memory 1 128))' }),
    /^env\.memory .* maximum of 128 pages/,
  ],
  [
    'the maximum of all',
    () => filterOf({ memory: '(import "env" "memory" (memory 1 65536))' }),
    /^env\.memory .* maximum/,
  ],
  [
    'a minimum past the private pages',
    () => filterOf({ memory: '(import "env" "memory" (memory 17))' }),
    /^env\.memory .* minimum of 17 pages: at most 16/,
  ],

  ['no fantail_abi', () => filterOf({ abi: '' }), /^it does not export fantail_abi/],
  ['no fantail_burst', () => filterOf({ burst: '' }), /^it does not export fantail_burst/],
  [
    'a fantail_burst that is no function',
    () => filterOf({ burst: '(global (export "fantail_burst") i32 (i32.const 0))' }),
    /^its export fantail_burst is not a function/,
  ],
  [
    'a fantail_burst of two parameters',
    () => filterOf({ burst: '(func $two (export "fantail_burst") (param i32 i32))' }),
    /^its export fantail_burst, function 1 \(two\), must be of type \(i32, i32, i32\) -> \(\)/,
  ],
  [
    'a fantail_burst with a result',
    () => filterOf({ burst: `(func $result ${BURST} (result i32) (i32.const 0))` }),
    /^its export fantail_burst, function 1 \(result\), must be/,
  ],
  [
    'a fantail_abi with another type',
    () => filterOf({ abi: '(func $abi (export "fantail_abi") (result i64) (i64.const 1))' }),
    /^its export fantail_abi, function 0 \(abi\), must be of type \(\) -> \(i32\)/,
  ],
  [
    'another ABI',
    () => filterOf({ abi: '(func (export "fantail_abi") (result i32) (i32.const 2))' }),
    /^fantail_abi\(\) answers 2; this fantail speaks version 1/,
  ],
  [
    'a fantail_state with another type',
    () =>
      filterOf({
        more: '(func $state (export "fantail_state") (param i32) (result i32) (i32.const 1))',
      }),
    /^its export fantail_state, function 2 \(state\), must be of type \(\) -> \(i32\)/,
  ],
  [
    'a fantail_state that is computed',
    () =>
      filterOf({ more: '(func (export "fantail_state") (result i32) (i32.load (i32.const 0)))' }),
    /^its export fantail_state, function 2, must answer a constant and nothing else: it uses a load/,
  ],
  [
    'a fantail_report with another type',
    () => filterOf({ more: `${STATE}(func (export "fantail_report") (result i64) (i64.const 0))` }),
    /^its export fantail_report, function 3, must be of type \(\) -> \(i32\)/,
  ],
  [
    'a fantail_report that is computed',
    () => filterOf({ more: `${STATE}${reportAt('(i32.load (i32.const 0))')}` }),
    /^its export fantail_report, function 3, must answer a constant and nothing else: it uses a load/,
  ],
  [
    'a fantail_report without fantail_state',
    () => filterOf({ more: reportAt('(i32.const 0)') }),
    /^it exports fantail_report and not fantail_state, where the report is/,
  ],
  ...[4, REPORT_MAX + 8, -8].map((offset): [string, () => Uint8Array, RegExp] => [
    `a fantail_report of ${offset}`,
    () => filterOf({ more: `${STATE}${reportAt(`(i32.const ${offset})`)}` }),
    new RegExp(`^fantail_report\\(\\) answers \\d+: .* a multiple of 8, at most ${REPORT_MAX}`),
  ]),
  [
    'a fantail_state that is no function',
    () => filterOf({ more: '(global (export "fantail_state") i32 (i32.const 1))' }),
    /^its export fantail_state is not a function/,
  ],
  [
    'a state of no layout',
    () => filterOf({ more: '(func (export "fantail_state") (result i32) (i32.const 0))' }),
    /^fantail_state\(\) answers 0, which means no state/,
  ],
  [
    'a state that is never answered',
    () =>
      filterOf({
        more: '(func (export "fantail_state") (result i32) (loop $l (br $l)) (unreachable))',
      }),
    /^its export fantail_state, function 2, must answer a constant and nothing else: it uses \w+/,
  ],
  [
    'an ABI that is never answered',
    () =>
      filterOf({
        abi: '(func (export "fantail_abi") (result i32) (loop $l (br $l)) (unreachable))',
      }),
    /^its export fantail_abi, function 0, must answer a constant and nothing else: it uses \w+/,
  ],
  [
    'an ABI that depends on where it is asked',
    () =>
      filterOf({
        abi: `(func $abi (export "fantail_abi") (result i32)
          (if (i32.ne (i32.load8_u (i32.const ${limits.WINDOW_SLOTS})) (i32.const 0xa5)) (then (unreachable)))
          (i32.const 1))`,
      }),
    /^its export fantail_abi, function 0 \(abi\), must answer a constant and nothing else: it uses \w+/,
  ],
  [
    'an ABI that another function answers',
    () =>
      filterOf({
        abi: '(func $one (result i32) (i32.const 1)) (func (export "fantail_abi") (result i32) (call $one))',
      }),
    /^its export fantail_abi, function 1, must answer a constant and nothing else: it uses call/,
  ],

  [
    'memory.fill',
    () => using('(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))'),
    /^function 2 \(helper\) uses memory\.fill: bulk memory/,
  ],
  [
    'memory.copy',
    () => using('(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))'),
    /^function 2 \(helper\) uses memory\.copy: bulk memory/,
  ],
  [
    'a passive segment and memory.init',
    () => using('(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))', '(data $d "abc")'),
    /^data segment 0 is passive: bulk memory/,
  ],
  [
    'memory.init of a segment in place',
    () =>
      filterOf({
        memory: '(import "env" "memory" (memory 1))',
        more: '(data $d (i32.const 0) "abc") (func $helper (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)))',
      }),
    /^function 2 \(helper\) uses memory\.init: bulk memory/,
  ],
  [
    'an atomic store',
    () => using('(i32.atomic.store (i32.const 0) (i32.const 0))'),
    /^function 2 \(helper\) uses an atomic store: atomic/,
  ],
  [
    'an atomic add',
    () => using('(drop (i64.atomic.rmw.add (i32.const 0) (i64.const 0)))'),
    /uses an atomic read-modify-write: atomic/,
  ],
  [
    'a notify',
    () => using('(drop (memory.atomic.notify (i32.const 0) (i32.const 0)))'),
    /uses memory\.atomic\.notify: /,
  ],
  ['a fence', () => using('(atomic.fence)'), /uses atomic\.fence: atomic/],
  [
    'memory.grow',
    () => using('(drop (memory.grow (i32.const 0)))'),
    /^function 2 \(helper\) uses memory\.grow: growing detaches/,
  ],
  [
    'table.grow and what it takes',
    () => using('(drop (table.grow $t (ref.null func) (i32.const 1)))', '(table $t 1 funcref)'),
    /uses ref\.null, which is not known to be guarded/,
  ],
  [
    'an exception',
    () => using('(throw $e)', '(tag $e)'),
    /uses throw, which is not known to be guarded/,
  ],
  [
    'a name hiding what it does',
    () =>
      filterOf({
        more: '(func $"a\\") (nop \\"" (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))',
      }),
    /uses memory\.fill: /,
  ],
  [
    'a large table',
    () => filterOf({ more: `(table ${TABLE_ENTRIES_MAX + 1} funcref)` }),
    /^table 0 has 1025 entries; at most 1024/,
  ],
  [
    'a large table behind a small one',
    () => filterOf({ more: `(table 1 funcref) (table ${TABLE_ENTRIES_MAX} funcref)` }),
    /^tables 0 to 1 have 1025 entries; at most 1024/,
  ],
  [
    'many tables',
    () => filterOf({ more: '(table 0 funcref)'.repeat(TABLES_MAX + 1) }),
    /^it has 17 tables; at most 16/,
  ],
  [
    'many locals in many functions',
    () => filterOf({ more: `(func ${'(local i32)'.repeat(1000)})`.repeat(LOCALS_MAX / 1000) }),
    /^its functions have more than 100000 locals/,
  ],
  [
    'a start function',
    () => filterOf({ more: '(func $setup) (start $setup)' }),
    /^function 2 \(setup\) is a start function/,
  ],
  [
    'data past its declared memory',
    () =>
      filterOf({
        memory: '(import "env" "memory" (memory 1))',
        more: '(data (i32.const 0) "x") (data (i32.const 65535) "xy")',
      }),
    /^data segment 1 ends at byte 65537, past the 65536 bytes/,
  ],
  [
    'data at the end of the address space',
    () => filterOf({ more: '(data (i32.const -1) "x")' }),
    /^data segment 0 ends at byte 4294967296/,
  ],
  [
    'data at a computed address',
    () =>
      filterOf({
        more: '(global $g i32 (i32.const 4)) (data (offset (i32.add (i32.const 1) (i32.const 2))) "x")',
      }),
    /^data segment 0 has an address that is not a constant|not allowed in constant expressions/,
  ],
];

for (const [name, bytes, sentence] of refused) {
  test(`refuses a module with ${name}`, async () => {
    assert.match(await refusalOf(bytes()), sentence);
  });
}

const inSlot = (offset: number) =>
  `(i32.store8 offset=${offset} (i32.load offset=8 ${JOB}) (i32.const 1))`;
const only = (instructions: string) => () => filterOf({ burst: burst(`${instructions} ${DROP}`) });
const answering = (instructions: string) => () =>
  filterOf({ burst: burst(`${SEND} ${instructions}`) });

/** What only shows when it runs. */
const misbehaved: readonly [name: string, bytes: () => Uint8Array, sentence: RegExp][] = [
  [
    'traps',
    only('(unreachable)'),
    /^function 1, byte 0x[0-9a-f]+, fails in sample job 0 \(a packet of 42 bytes\): unreachable/,
  ],
  [
    'traps on a long packet',
    only(`(if (i32.gt_u (i32.load offset=4 ${JOB}) (i32.const 1500)) (then (unreachable)))`),
    /fails in sample job 30 \(a packet of 1514 bytes\)/,
  ],
  [
    'reads outside memory',
    only('(drop (i32.load (i32.const -8)))'),
    /fails in sample job 0 .*out of bounds/,
  ],
  ['never returns', only('(loop $l (br $l))'), /^sample job 0 .*does not return within 1000 ms/],
  [
    'calls itself without end',
    () => filterOf({ more: '(func $f (call $f))', burst: burst(`(call $f) ${DROP}`) }),
    /fails in sample job 0 .*call stack/,
  ],
  [
    'answers nothing',
    () => filterOf({ burst: burst('') }),
    /: sample job 0 .*: it is not answered/,
  ],
  [
    'answers an unknown verdict',
    answering(`(i32.store offset=16 ${JOB} (i32.const 2))`),
    /: its verdict 2 is unknown/,
  ],
  [
    'starts its header too far back',
    answering(
      `(i32.store16 offset=20 ${JOB} (i32.const 250)) (i32.store16 offset=22 ${JOB} (i32.const 7))`,
    ),
    /: its header ends at byte 257 of a slot of 256/,
  ],
  [
    'replaces more than there is',
    answering(`(i32.store offset=24 ${JOB} (i32.const 43))`),
    /^fantail_burst\(jobs, 0, 42\): sample job 0 .*stands for 43 bytes/,
  ],
  [
    'ignores first',
    () =>
      filterOf({
        burst: burst(DROP).replace(
          `(i32.mul (local.get $first) (i32.const ${limits.JOB_SIZE}))`,
          '(i32.const 0)',
        ),
      }),
    /^fantail_burst\(jobs, 3, 5\): sample job 5 .*: it is not answered/,
  ],
  [
    'answers one too many',
    () => filterOf({ burst: burst(DROP).replace('i32.ge_u', 'i32.gt_u') }),
    /it writes at address 0x1.*to the job array/,
  ],
  [
    'writes to a packet',
    only(`(i32.store8 (i32.load ${JOB}) (i32.const 9))`),
    /writes at address 0x4\d+, to the packets, which are read-only/,
  ],
  [
    'writes to a subscriber',
    only(`(i32.store8 offset=70 (i32.load offset=12 ${JOB}) (i32.const 9))`),
    /writes at address 0x24\w+, to the subscriber records/,
  ],
  [
    'writes to its question',
    only(`(i32.store offset=8 ${JOB} (i32.const 9))`),
    /writes at address 0x100008, to the job array/,
  ],
  [
    'writes to the state block without fantail_state',
    only('(i32.store (i32.const 0x230000) (i32.const 9))'),
    /writes at address 0x230000, to the state block, which is for modules that export fantail_state/,
  ],
  [
    'writes past its state block',
    () =>
      filterOf({
        burst: burst(`(i32.store8 (i32.const 0x231000) (i32.const 9)) ${DROP}`),
        more: STATE,
      }),
    /writes at address 0x231000, to what is behind the state block/,
  ],
  [
    'writes past its slots',
    only(inSlot(256)),
    /writes at address 0x\w+, to header slots that are not of its jobs/,
  ],
];

for (const [name, bytes, sentence] of misbehaved) {
  test(`refuses a filter that ${name}`, async () => {
    assert.match(await refusalOf(bytes()), sentence);
  });
}

test('a module nested as deep as its size allows is read to the end', async () => {
  const depth = 300_000;
  const blocks = Array.from({ length: depth }, () => [0x02, 0x40]).flat(); // block, no result
  const burst = [0, ...blocks, ...Array.from({ length: depth + 1 }, () => 0x0b)]; // no locals; end
  // The rules alone: what the engine makes of it depends on the time that it gets.
  compileByRules(rawFilter([burst]));
  const forbidden = [0x41, 0, 0x40, 0, 0x1a, 0x0b]; // i32.const 0; memory.grow; drop; end
  const last = rawFilter([[...burst.slice(0, -1), ...forbidden]]);
  assert.match(await refusalOf(last, compileByRules), /uses memory\.grow/);
});

test('a module that workers could not compile in time is refused', async () => {
  const depth = 40_000;
  const loops = Array.from({ length: depth }, () => [0x03, 0x40]).flat(); // loop, no result
  const ends = Array.from({ length: depth }, (_, index) => {
    const [one = 0, other = 0, sum = 0, condition = 0] = [7, 11, 3, 1].map(
      (step) => (index * step) % 40,
    );
    // sum = one + other; br_if; end
    return [0x20, one, 0x20, other, 0x6a, 0x21, sum, 0x20, condition, 0x0d, 0, 0x0b];
  }).flat();
  const slow = [1, 40, 0x7f, ...loops, ...ends, 0x0b]; // 40 locals of type i32
  assert.match(
    await refusalOf(rawFilter([DROPPING, slow]), checkFilter),
    /^compiling it as workers do takes over 1 s of CPU time: split/,
  );
});

/** A burst that drops all: burst(DROP), assembled. */
const size = limits.JOB_SIZE;
const DROPPING = [
  ...[1, 2, 0x7f], // two locals of type i32: job, end
  ...[0x20, 0, 0x20, 1, 0x41, size, 0x6c, 0x6a, 0x21, 3], // job = jobs + first * size
  ...[0x20, 3, 0x20, 2, 0x41, size, 0x6c, 0x6a, 0x21, 4], // end = job + count * size
  // block, loop: out of both if job >= end
  ...[0x02, 0x40, 0x03, 0x40, 0x20, 3, 0x20, 4, 0x4f, 0x0d, 1],
  ...[0x20, 3, 0x41, 0, 0x36, 2, 16], // verdict = 0
  // job += size; again; three ends
  ...[0x20, 3, 0x41, size, 0x6a, 0x21, 3, 0x0c, 0, 0x0b, 0x0b, 0x0b],
];

/**
 * A filter of those functions, the first its burst, given as code: byte by byte, as no assembler
 * would nest so deep.
 */
function rawFilter(codes: readonly (readonly number[])[]): Uint8Array {
  const leb = (value: number): number[] =>
    value < 128 ? [value] : [(value % 128) + 128, ...leb(value >> 7)];
  const section = (id: number, body: number[]) => [id, ...leb(body.length), ...body];
  const name = (text: string) => [text.length, ...Buffer.from(text)];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    // () -> i32; (i32, i32, i32) -> ()
    ...section(1, [2, 0x60, 0, 1, 0x7f, 0x60, 3, 0x7f, 0x7f, 0x7f, 0]),
    ...section(2, [1, ...name('env'), ...name('memory'), 2, 0, 0]),
    ...section(3, [1 + codes.length, 0, ...codes.map(() => 1)]),
    ...section(7, [2, ...name('fantail_abi'), 0, 0, ...name('fantail_burst'), 0, 1]),
    ...section(10, [
      1 + codes.length,
      4,
      0,
      0x41,
      1,
      0x0b,
      ...codes.flatMap((code) => [...leb(code.length), ...code]),
    ]),
  ]);
}

/** Each kind of expression that may hold another, with GROW in each place that it has. */
const GROW = '(memory.grow (i32.const 0))';
const ZERO = '(i32.const 0)';
const VECTOR = '(v128.const i32x4 0 0 0 0)';
const holders = [
  `(block (drop ${GROW}))`,
  `(loop (drop ${GROW}))`,
  `(if ${GROW} (then))`,
  `(if ${ZERO} (then (drop ${GROW})))`,
  `(if ${ZERO} (then) (else (drop ${GROW})))`,
  `(block $b (br_if $b ${GROW}))`,
  `(drop (block $b (result i32) (br $b ${GROW})))`,
  `(drop (block $b (result i32) (drop (br_if $b ${GROW} ${ZERO})) ${ZERO}))`,
  `(block $a (block $b (br_table $a $b ${GROW})))`,
  `(drop (block $a (result i32) (drop (block $b (result i32) (br_table $a $b ${GROW} ${ZERO}))) ${ZERO}))`,
  `(call $two ${GROW} ${ZERO})`,
  `(call $two ${ZERO} ${GROW})`,
  `(call_indirect (type $two) ${ZERO} ${ZERO} ${GROW})`,
  `(call_indirect (type $two) ${ZERO} ${GROW} ${ZERO})`,
  `(drop (select ${GROW} ${ZERO} ${ZERO}))`,
  `(drop (select ${ZERO} ${GROW} ${ZERO}))`,
  `(drop (select ${ZERO} ${ZERO} ${GROW}))`,
  `(local.set $local ${GROW})`,
  `(drop (local.tee $local ${GROW}))`,
  `(global.set $global ${GROW})`,
  `(drop (i32.load ${GROW}))`,
  `(i32.store ${GROW} ${ZERO})`,
  `(i32.store ${ZERO} ${GROW})`,
  `(drop (i32.eqz ${GROW}))`,
  `(drop (i32.add ${GROW} ${ZERO}))`,
  `(drop (i32.add ${ZERO} ${GROW}))`,
  `(drop (i32x4.splat ${GROW}))`,
  `(drop (i32x4.extract_lane 0 (i32x4.splat ${GROW})))`,
  `(drop (i32x4.replace_lane 0 (i32x4.splat ${GROW}) ${ZERO}))`,
  `(drop (i32x4.replace_lane 0 ${VECTOR} ${GROW}))`,
  `(drop (i8x16.shuffle ${'0 '.repeat(16)} (i32x4.splat ${GROW}) ${VECTOR}))`,
  `(drop (i8x16.shuffle ${'0 '.repeat(16)} ${VECTOR} (i32x4.splat ${GROW})))`,
  `(drop (v128.bitselect (i32x4.splat ${GROW}) ${VECTOR} ${VECTOR}))`,
  `(drop (v128.bitselect ${VECTOR} (i32x4.splat ${GROW}) ${VECTOR}))`,
  `(drop (v128.bitselect ${VECTOR} ${VECTOR} (i32x4.splat ${GROW})))`,
  `(drop (i32x4.shl (i32x4.splat ${GROW}) ${ZERO}))`,
  `(drop (i32x4.shl ${VECTOR} ${GROW}))`,
  `(drop (v128.load8_splat ${GROW}))`,
  `(v128.store8_lane 0 ${GROW} ${VECTOR})`,
  `(v128.store8_lane 0 ${ZERO} (i32x4.splat ${GROW}))`,
];

test('what is refused is found in every place that can hold it', async () => {
  const around =
    '(type $two (func (param i32 i32))) (table 1 funcref) (global $global (mut i32) (i32.const 0))';
  const two = '(func $two (type $two))';
  for (const holder of [...holders, `(return ${GROW})`]) {
    const returning = holder.startsWith('(return');
    const types = returning ? '(result i32)' : '';
    const more = `${around} ${two} (func $helper ${types} (local $local i32) ${holder})`;
    assert.match(await refusalOf(filterOf({ more })), /\(helper\) uses memory\.grow/, holder);
    const harmless = more.replace(GROW, ZERO);
    checkModule(filterOf({ more: harmless }));
  }
});

test('the loader asks for the ABI again', () => {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64 });
  const other = filterOf({ abi: '(func (export "fantail_abi") (result i32) (i32.const 7))' });
  assert.throws(
    () => instantiate(new WebAssembly.Module(other), memory),
    /answers 7; this fantail speaks version 1/,
  );
  assert.is(instantiate(new WebAssembly.Module(filterOf({})), memory).abi, limits.FILTER_ABI);
  assert.is(instantiate(new WebAssembly.Module(filterOf({})), memory).state, 0);
  assert.is(instantiate(new WebAssembly.Module(filterOf({})), memory).report, null);
  const telling = filterOf({ more: `${STATE}${reportAt(`(i32.const ${REPORT_MAX})`)}` });
  assert.is(instantiate(new WebAssembly.Module(telling), memory).report, REPORT_MAX);
  assert.is(
    instantiate(new WebAssembly.Module(filterOf({ more: STATE })), memory).state,
    0xffffffff,
  );
});

test.run();
