/**
 * Our own random modules: loads and stores of every kind round every border of the filter's memory,
 * at constant and computed addresses, among loops, recursion, calls through tables, divisions,
 * SIMD, tail calls and globals. One in a few also breaks a rule of the checker.
 */
import { limits, offsetOf } from '../../src/memory/layout.js';
import type { Chance } from './chance.js';
import { answerOf, constant, filterText } from './frame.js';
import { NEAR, nearBorder } from './window.js';

const { JOB_SIZE, SLOT_SIZE, WINDOW_JOBS } = limits;
const SLOT = offsetOf('job', 'slot');
const PAGE_SIZE = 0x10000;
const FUNCTIONS = 4;
const TABLE_ENTRIES = 6;
const DEPTH_MAX = 3;
/**
 * Turns of a loop that ends: few where it runs on the checker's samples, many where only a time
 * limit ends it.
 */
const FEW_TURNS = 2;
const MANY_TURNS = 1 << 26;

type Type = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
const TYPES: readonly Type[] = ['i32', 'i64', 'f32', 'f64', 'v128'];

/** Operators by result: the instruction with its immediates, and what it takes. */
const OPERATORS: Readonly<Record<Type, readonly (readonly [string, ...Type[]])[]>> = {
  i32: [
    ...[
      'add',
      'sub',
      'mul',
      'div_s',
      'div_u',
      'rem_s',
      'rem_u',
      'and',
      'or',
      'xor',
      'shl',
      'shr_u',
      'rotl',
    ].map((name) => [`i32.${name}`, 'i32', 'i32'] as const),
    ['i32.eqz', 'i32'],
    ['i32.clz', 'i32'],
    ['i32.extend8_s', 'i32'],
    ['i32.lt_s', 'i32', 'i32'],
    ['i32.wrap_i64', 'i64'],
    ['i64.gt_u', 'i64', 'i64'],
    ['f32.le', 'f32', 'f32'],
    ['f64.eq', 'f64', 'f64'],
    ['i32.trunc_f32_s', 'f32'],
    ['i32.trunc_f64_u', 'f64'],
    ['i32.trunc_sat_f64_s', 'f64'],
    ['i32.reinterpret_f32', 'f32'],
    ['v128.any_true', 'v128'],
    ['i8x16.bitmask', 'v128'],
    ['i32x4.extract_lane 3', 'v128'],
    ['i8x16.extract_lane_u 7', 'v128'],
  ],
  i64: [
    ...['add', 'mul', 'div_s', 'rem_u', 'xor', 'shr_s', 'rotr'].map(
      (name) => [`i64.${name}`, 'i64', 'i64'] as const,
    ),
    ['i64.extend_i32_s', 'i32'],
    ['i64.extend_i32_u', 'i32'],
    ['i64.trunc_f64_s', 'f64'],
    ['i64.trunc_sat_f32_u', 'f32'],
    ['i64.reinterpret_f64', 'f64'],
    ['i64x2.extract_lane 1', 'v128'],
  ],
  f32: [
    ['f32.add', 'f32', 'f32'],
    ['f32.div', 'f32', 'f32'],
    ['f32.sqrt', 'f32'],
    ['f32.convert_i64_s', 'i64'],
    ['f32.demote_f64', 'f64'],
    ['f32.reinterpret_i32', 'i32'],
    ['f32x4.extract_lane 2', 'v128'],
  ],
  f64: [
    ['f64.mul', 'f64', 'f64'],
    ['f64.min', 'f64', 'f64'],
    ['f64.floor', 'f64'],
    ['f64.convert_i32_u', 'i32'],
    ['f64.promote_f32', 'f32'],
    ['f64.reinterpret_i64', 'i64'],
  ],
  v128: [
    ['i8x16.splat', 'i32'],
    ['i64x2.splat', 'i64'],
    ['f32x4.splat', 'f32'],
    ['i32x4.mul', 'v128', 'v128'],
    ['v128.xor', 'v128', 'v128'],
    ['f64x2.div', 'v128', 'v128'],
    ['i8x16.swizzle', 'v128', 'v128'],
    ['i8x16.shuffle 0 31 2 29 4 27 6 25 8 23 10 21 12 19 14 17', 'v128', 'v128'],
    ['v128.bitselect', 'v128', 'v128', 'v128'],
    ['i16x8.shl', 'v128', 'i32'],
    ['i32x4.replace_lane 1', 'v128', 'i32'],
    ['i32x4.trunc_sat_f32x4_s', 'v128'],
  ],
};

const LOADS: Readonly<Record<Type, readonly string[]>> = {
  i32: ['i32.load', 'i32.load8_s', 'i32.load8_u', 'i32.load16_s', 'i32.load16_u'],
  i64: ['i64.load', 'i64.load8_u', 'i64.load16_s', 'i64.load32_u'],
  f32: ['f32.load'],
  f64: ['f64.load'],
  v128: [
    'v128.load',
    'v128.load8x8_u',
    'v128.load32x2_s',
    'v128.load8_splat',
    'v128.load64_splat',
    'v128.load32_zero',
  ],
};

const STORES: Readonly<Record<Type, readonly string[]>> = {
  i32: ['i32.store', 'i32.store8', 'i32.store16'],
  i64: ['i64.store', 'i64.store8', 'i64.store16', 'i64.store32'],
  f32: ['f32.store'],
  f64: ['f64.store'],
  v128: ['v128.store'],
};
const LANES = [
  ['8', 16],
  ['16', 8],
  ['32', 4],
  ['64', 2],
] as const;

const JOB = '(local.get $job)';
const ZERO = '(i32.const 0)';
/** Statements that the checker must refuse. */
const FORBIDDEN = [
  `(drop (memory.grow ${ZERO}))`,
  `(memory.fill ${ZERO} ${ZERO} (i32.const 9))`,
  `(memory.copy ${ZERO} (i32.const 64) (i32.const 9))`,
  `(i32.atomic.store ${ZERO} ${ZERO})`,
  `(drop (i32.atomic.load ${ZERO}))`,
  `(drop (i64.atomic.rmw.add ${ZERO} (i64.const 1)))`,
  `(drop (i32.atomic.rmw.cmpxchg ${ZERO} ${ZERO} ${ZERO}))`,
  `(drop (memory.atomic.notify ${ZERO} ${ZERO}))`,
  '(atomic.fence)',
  `(drop (table.grow $table (ref.null func) (i32.const 1)))`,
  `(table.set $table ${ZERO} (ref.null func))`,
];
/** Definitions that it must refuse; none of them refers to the random part. */
const FORBIDDEN_MORE = [
  '(start $f0_start) (func $f0_start)',
  '(data $passive "abc")',
  '(data (i32.const -2) "abc")',
  `(data (i32.const ${WINDOW_JOBS - 1}) "ab")`,
  '(table $large 1025 funcref)',
  '(memory $second 1)',
];

/** Writes the random part. What only a time limit ends is left out where `ends` is set. */
class Writer {
  readonly #chance: Chance;
  readonly #ends: boolean;

  constructor(chance: Chance, ends: boolean) {
    this.#chance = chance;
    this.#ends = ends;
  }

  functions(): string {
    return Array.from({ length: FUNCTIONS }, (_, index) => this.#function(index)).join('\n');
  }

  #function(index: number): string {
    const locals = TYPES.map((type) => `(local $${type} ${type})`).join(' ');
    const turns = Array.from(
      { length: DEPTH_MAX + 1 },
      (_, depth) => `(local $turns${depth} i32)`,
    ).join(' ');
    const tail = this.#chance.oneIn(8) ? `(return_call $f${this.#callee(index)} ${JOB})` : '';
    return `(func $f${index} (param $job i32) ${locals} ${turns} ${this.#block(0, index)} ${tail})`;
  }

  #block(depth: number, within: number): string {
    const count = 1 + this.#chance.below(depth === 0 ? 6 : 3);
    return Array.from({ length: count }, () => this.#statement(depth, within)).join('\n');
  }

  #statement(depth: number, within: number): string {
    const chance = this.#chance;
    const kind = chance.below(depth < DEPTH_MAX ? 20 : 13);
    if (kind < 6) return this.#store();
    if (kind < 8) return `(drop ${this.#load(chance.pick(TYPES))})`;
    if (kind < 10) return this.#assignment();
    if (kind < 12) return `(call $f${this.#callee(within)} ${JOB})`;
    if (kind === 12) return this.#rare(within);
    if (kind < 16) return this.#branch(depth, within);
    return this.#loop(depth, within);
  }

  /** A later function, so that calls end; any, itself too, where they need not. */
  #callee(within: number): string {
    if (!this.#ends) return String(this.#chance.below(FUNCTIONS));
    return within + 1 < FUNCTIONS
      ? String(within + 1 + this.#chance.below(FUNCTIONS - within - 1))
      : '_last';
  }

  #assignment(): string {
    const type = this.#chance.pick(TYPES);
    const where = this.#chance.oneIn(3) ? 'global' : 'local';
    return `(${where}.set $${type} ${this.#value(type, 2)})`;
  }

  /** What traps, or may. */
  #rare(within: number): string {
    const chance = this.#chance;
    switch (chance.below(5)) {
      case 0:
        return chance.oneIn(3)
          ? '(unreachable)'
          : `(if ${this.#value('i32', 1)} (then (unreachable)))`;
      case 1:
        return `(drop (i64.div_u ${this.#value('i64', 1)} (i64.const 0)))`;
      case 2:
        return `(call_indirect $table (type $other) (i64.const 0) ${this.#value('i32', 1)})`;
      case 3: // all of the table, where recursion may be without end
        return `(call_indirect $table (type $one) ${JOB} ${this.#ends ? constant(FUNCTIONS) : this.#value('i32', 1)})`;
      default:
        return chance.oneIn(4) ? '(return)' : `(call $f${this.#callee(within)} ${JOB})`;
    }
  }

  #branch(depth: number, within: number): string {
    const inner = () => this.#block(depth + 1, within);
    if (this.#chance.oneIn(3)) {
      const label = `$b${depth}`;
      return `(block ${label}1 (block ${label}2 (br_table ${label}1 ${label}2 ${label}1 ${this.#value('i32', 1)}))
        ${inner()})`;
    }
    return `(if ${this.#value('i32', 2)} (then ${inner()}) (else ${inner()}))`;
  }

  #loop(depth: number, within: number): string {
    const body = this.#block(depth + 1, within);
    const chance = this.#chance;
    if (!this.#ends && chance.oneIn(6)) return `(loop $l${depth} ${body} (br $l${depth}))`;
    const turns =
      !this.#ends && chance.oneIn(4) ? chance.below(MANY_TURNS) : 1 + chance.below(FEW_TURNS);
    const counter = `$turns${depth}`;
    return `(local.set ${counter} ${constant(turns)})
      (loop $l${depth} ${body}
        (br_if $l${depth} (local.tee ${counter} (i32.sub (local.get ${counter}) (i32.const 1)))))`;
  }

  #store(): string {
    const type = this.#chance.pick(TYPES);
    const [offset, address] = this.#place();
    if (type === 'v128' && this.#chance.oneIn(2)) {
      const [bits, count] = this.#chance.pick(LANES);
      return `(v128.store${bits}_lane ${offset} ${this.#chance.below(count)} ${address} ${this.#value('v128', 1)})`;
    }
    return `(${this.#chance.pick(STORES[type])} ${offset} ${address} ${this.#value(type, 2)})`;
  }

  #load(type: Type): string {
    const [offset, address] = this.#place();
    if (type === 'v128' && this.#chance.oneIn(3)) {
      const [bits, count] = this.#chance.pick(LANES);
      return `(v128.load${bits}_lane ${offset} ${this.#chance.below(count)} ${address} (local.get $v128))`;
    }
    return `(${this.#chance.pick(LOADS[type])} ${offset} ${address})`;
  }

  /**
   * Offset and address expression. Every second place is the filter's own, so that not every
   * program ends at its first access; the others are mostly near a border, or about the job.
   */
  #place(): [offset: string, address: string] {
    const chance = this.#chance;
    if (chance.oneIn(2)) return this.#ownPlace();
    const align = chance.oneIn(4) ? ' align=1' : '';
    const goal = nearBorder(chance);
    switch (chance.below(6)) {
      case 0: // all of it constant: what an engine may check once and never again
        return [`offset=0${align}`, constant(goal)];
      case 1: {
        const offset = Math.min(goal, 2 ** 32 - 1);
        return [
          `offset=${offset}${align}`,
          chance.oneIn(2) ? ZERO : `(i32.and ${this.#value('i32', 1)} (i32.const 15))`,
        ];
      }
      case 2: {
        const offset = chance.oneIn(2) ? chance.below(64) : chance.word();
        return [`offset=${offset}${align}`, this.#hidden(goal - offset)];
      }
      case 3: {
        const field = constant(chance.pick([0, 8, 12]));
        const base = `(i32.load (i32.add ${JOB} ${field}))`;
        return [`offset=${chance.below(300)}${align}`, base];
      }
      case 4:
        return [`offset=${chance.below(JOB_SIZE + 8)}${align}`, JOB];
      default:
        return [`offset=${chance.oneIn(3) ? goal % 2 ** 32 : 0}${align}`, this.#value('i32', 2)];
    }
  }

  #ownPlace(): [offset: string, address: string] {
    const chance = this.#chance;
    if (chance.oneIn(2))
      return [`offset=${chance.below(SLOT_SIZE - NEAR)}`, `(i32.load offset=${SLOT} ${JOB})`];
    const mask = constant(PAGE_SIZE - 1);
    return [
      `offset=${chance.below(WINDOW_JOBS - PAGE_SIZE - NEAR)}`,
      `(i32.and ${this.#value('i32', 1)} ${mask})`,
    ];
  }

  /** The same number, as a sum that is only known when it runs. */
  #hidden(value: number): string {
    return `(i32.add ${constant(value - FUNCTIONS)} (i32.add ${constant(FUNCTIONS)} (global.get $nothing)))`;
  }

  #value(type: Type, depth: number): string {
    const chance = this.#chance;
    const kind = chance.below(depth > 0 ? 10 : 4);
    if (kind < 2) return this.#constant(type);
    if (kind === 2) return type === 'i32' && chance.oneIn(2) ? JOB : `(local.get $${type})`;
    if (kind === 3) return `(global.get $${type})`;
    if (kind < 6) return this.#load(type);
    if (kind === 6 && type !== 'v128') {
      return `(select ${this.#value(type, depth - 1)} ${this.#value(type, depth - 1)} ${this.#value('i32', depth - 1)})`;
    }
    const [instruction, ...taken] = chance.pick(OPERATORS[type]);
    return `(${instruction} ${taken.map((each) => this.#value(each, depth - 1)).join(' ')})`;
  }

  #constant(type: Type): string {
    const chance = this.#chance;
    switch (type) {
      case 'i32':
        return constant(
          chance.oneIn(2)
            ? nearBorder(chance)
            : chance.pick([0, 1, -1, 7, -(2 ** 31), chance.word()]),
        );
      case 'i64':
        return `(i64.const ${chance.pick(['0', '1', '-1', '-9223372036854775808', String(chance.word())])})`;
      case 'v128':
        return `(v128.const i32x4 ${[0, 0, 0, 0].map(() => chance.word() | 0).join(' ')})`;
      default:
        return `(${type}.const ${chance.pick(['0', '-0.0', 'nan', 'inf', '-inf', '1.5', '4e9', '1e30'])})`;
    }
  }
}

function randomAnswer(chance: Chance): string {
  const lawful = () =>
    answerOf(constant(chance.below(2)), constant(64), constant(42), constant(42));
  if (!chance.oneIn(4)) return lawful();
  const value = () => constant(chance.pick([0, 1, 2, 42, 256, 0xffff, -1, chance.word()]));
  return answerOf(value(), value(), value(), value());
}

/** A module's text. */
export function targetedText(chance: Chance): string {
  const gated = !chance.oneIn(4);
  const writer = new Writer(chance, !gated);
  const breaks = chance.oneIn(10);
  const forbidden = breaks && chance.oneIn(2) ? chance.pick(FORBIDDEN) : '';
  const forbiddenMore = breaks && forbidden === '' ? chance.pick(FORBIDDEN_MORE) : '';
  const memory = chance.oneIn(20)
    ? chance.pick(['17', '1 65536', '100', '0 1 shared'])
    : chance.pick(['0', '1', '2', '16']);
  const globals = TYPES.map((type) => {
    const zero = type === 'v128' ? '(v128.const i32x4 0 0 0 0)' : `(${type}.const 0)`;
    return `(global $${type} (mut ${type}) ${zero})`;
  });
  const entries = Array.from({ length: FUNCTIONS }, (_, index) => `$f${index}`).join(' ');
  const data = chance.oneIn(3)
    ? `(data (i32.const ${chance.below(PAGE_SIZE)}) "${'x'.repeat(chance.below(64))}")`
    : '';
  return filterText({
    memory,
    gated,
    stateful: chance.oneIn(2),
    work: `(call $f0 ${JOB}) ${chance.oneIn(2) ? `(call $f1 ${JOB})` : ''}`,
    answer: randomAnswer(chance),
    more: `(type $one (func (param i32))) (type $other (func (param i64)))
      (table $table ${TABLE_ENTRIES} funcref) (elem (table $table) (i32.const 0) func ${entries} $f_last)
      (func $f_last (param $job i32) ${forbidden})
      ${globals.join(' ')} (global $nothing (mut i32) (i32.const 0)) ${data} ${forbiddenMore}
      ${writer.functions()}`,
  });
}
