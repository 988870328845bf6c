/**
 * The instructions that a filter may use, as the binary format has them (WebAssembly core
 * specification, 5.4), and what follows each. What is not here is refused, so whatever comes new
 * is too.
 *
 * Why these: packets and subscriber records lie in the filter's memory as read-only pages, and an
 * ordinary store there becomes a trap that costs one job. Bulk memory and atomic instructions are
 * not guarded so: they end the process.
 */
import { refuse } from '../module.js';
import type { Cursor } from './cursor.js';

interface Instruction {
  /** As a sentence names it. */
  readonly name: string;
  /** Goes past what follows the opcode. */
  readonly skip: (cursor: Cursor) => void;
  /** How many blocks are open afterwards, more or less. */
  readonly opens: number;
  /**
   * Part of a function that does nothing but answer a constant: it can neither trap, nor loop, nor
   * touch memory. (Debug builds keep constants in locals and globals.)
   */
  readonly isConstant: boolean;
}

const none = () => {};
const number = (cursor: Cursor) => cursor.skipNumber();
const numbers = (count: number) => (cursor: Cursor) => {
  for (let left = count; left > 0; left--) cursor.skipNumber();
};
const bytes = (count: number) => (cursor: Cursor) => cursor.skip(count);

/** Of memory instructions: this bit says that the index of a memory follows (5.4.6). */
const NAMES_MEMORY = 0x40;
function address(cursor: Cursor): void {
  if (cursor.u32() >= NAMES_MEMORY)
    refuse('it names a memory in an instruction: a filter has one, and need not');
  cursor.skipNumber(); // offset
}
function laneAddress(cursor: Cursor): void {
  address(cursor);
  cursor.skip(1); // lane
}

/** Numbers, vectors, and plain references, of one byte each (5.3); no other type is known here. */
const TYPES = new Set([0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f]);
const NO_TYPE = 0x40;

/** Reads a type, and gives its byte. */
export function valueType(cursor: Cursor): number {
  const type = cursor.byte();
  if (TYPES.has(type)) return type;
  return refuse('it uses a type that is no number, vector, funcref or externref');
}

/** None, a value's type, or the number of a function's type (5.4.1). */
function blockType(cursor: Cursor): void {
  const first = cursor.peek();
  // of one byte, and negative as a LEB128 number: it is no number of a type
  const isType = first >= NO_TYPE && first < 0x80;
  if (first === NO_TYPE) cursor.byte();
  else if (isType) valueType(cursor);
  else if (cursor.i33() < 0) refuse('a block has a type that is not known');
}
function list(skip: (cursor: Cursor) => void) {
  return (cursor: Cursor) => {
    for (let left = cursor.u32(); left > 0; left--) skip(cursor);
  };
}
function targets(cursor: Cursor): void {
  list(number)(cursor);
  cursor.skipNumber(); // the default
}

const table = new Map<number, Instruction>();

function allow(
  [first, last]: readonly [number, number],
  name: string,
  skip: Instruction['skip'],
  more: Partial<Instruction> = {},
): void {
  for (let opcode = first; opcode <= last; opcode++)
    table.set(opcode, { name, skip, opens: 0, isConstant: false, ...more });
}

/** Opcodes of two parts: the prefix, and a number behind it. */
const PREFIXES = new Set([0xfb, 0xfc, 0xfd, 0xfe]);
const CODE_MAX = 0xffff;
const prefixed = (prefix: number, code: number) =>
  prefix * (CODE_MAX + 1) + Math.min(code, CODE_MAX);
const numeric = (first: number, last: number) =>
  [prefixed(0xfc, first), prefixed(0xfc, last)] as const;
const vector = (first: number, last: number) =>
  [prefixed(0xfd, first), prefixed(0xfd, last)] as const;
const one = (opcode: number) => [opcode, opcode] as const;
const CONSTANT = { isConstant: true };

allow(one(0x00), 'unreachable', none);
allow(one(0x01), 'nop', none, CONSTANT);
allow(one(0x02), 'block', blockType, { opens: 1, isConstant: true });
allow(one(0x03), 'loop', blockType, { opens: 1 });
allow(one(0x04), 'if', blockType, { opens: 1 });
allow(one(0x05), 'else', none);
allow(one(0x0b), 'end', none, { opens: -1, isConstant: true });
allow([0x0c, 0x0d], 'a branch', number);
allow(one(0x0e), 'br_table', targets);
allow(one(0x0f), 'return', none, CONSTANT);
allow(one(0x10), 'call', number);
allow(one(0x11), 'call_indirect', numbers(2));
allow(one(0x1a), 'drop', none, CONSTANT);
allow(one(0x1b), 'select', none);
allow(one(0x1c), 'select', list(valueType));
allow([0x20, 0x22], 'a local', number, CONSTANT);
allow(one(0x23), 'global.get', number, CONSTANT);
allow(one(0x24), 'global.set', number);
allow([0x28, 0x35], 'a load', address);
allow([0x36, 0x3e], 'a store', address);
allow(one(0x3f), 'memory.size', number);
allow([0x41, 0x42], 'a constant', number, CONSTANT);
allow(one(0x43), 'a constant', bytes(4), CONSTANT);
allow(one(0x44), 'a constant', bytes(8), CONSTANT);
allow([0x45, 0xc4], 'arithmetic', none);
allow(numeric(0, 7), 'a saturating conversion', none);
allow(vector(0, 10), 'a vector load', address);
allow(vector(11, 11), 'a vector store', address);
allow(vector(12, 12), 'a constant', bytes(16), CONSTANT);
allow(vector(13, 13), 'a shuffle', bytes(16));
allow(vector(14, 20), 'vector arithmetic', none);
allow(vector(21, 34), 'a lane', bytes(1));
allow(vector(35, 83), 'vector arithmetic', none);
allow(vector(84, 91), 'a lane load or store', laneAddress);
allow(vector(92, 93), 'a vector load', address);
allow(vector(94, 255), 'vector arithmetic', none);

const BULK = 'bulk memory is not guarded against stores to packets (asc: --disable bulk-memory)';
const ATOMIC = 'atomic instructions are not guarded against stores to packets (asc: no threads)';
const UNKNOWN = 'which is not known to be guarded';
/** What compilers are likely to have put there, as their users know it. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [0x08, `throw, ${UNKNOWN}`],
  [0x12, `a tail call, ${UNKNOWN}`],
  [0x13, `a tail call, ${UNKNOWN}`],
  [0xd0, `ref.null, ${UNKNOWN}`],
  [0x40, 'memory.grow: growing detaches the memory that the packets are mapped over'],
  [prefixed(0xfc, 8), `memory.init: ${BULK}`],
  [prefixed(0xfc, 9), `data.drop: ${BULK}`],
  [prefixed(0xfc, 10), `memory.copy: ${BULK}`],
  [prefixed(0xfc, 11), `memory.fill: ${BULK}`],
  [prefixed(0xfc, 15), `table.grow, ${UNKNOWN}`],
  [prefixed(0xfe, 0), `memory.atomic.notify: ${ATOMIC}`],
  [prefixed(0xfe, 1), `memory.atomic.wait: ${ATOMIC}`],
  [prefixed(0xfe, 2), `memory.atomic.wait: ${ATOMIC}`],
  [prefixed(0xfe, 3), `atomic.fence: ${ATOMIC}`],
]);
const ATOMIC_PREFIX = 0xfe;
/** Atomic loads, stores, and what reads, changes and writes (threads proposal). */
function atomicName(code: number): string {
  if (code < 0x17) return 'an atomic load';
  return code < 0x1e ? 'an atomic store' : 'an atomic read-modify-write';
}

function refusalOf(opcode: number): string {
  const said = REFUSED.get(opcode);
  if (said !== undefined) return said;
  const prefix = Math.floor(opcode / (CODE_MAX + 1));
  const code = opcode % (CODE_MAX + 1);
  if (prefix === ATOMIC_PREFIX) return `${atomicName(code)}: ${ATOMIC}`;
  const hex = (value: number) => `0x${value.toString(16).padStart(2, '0')}`;
  return `instruction ${prefix === 0 ? hex(code) : `${hex(prefix)} ${code}`}, ${UNKNOWN}`;
}

/**
 * The instructions of an expression, to its `end` and no further. Refuses one that a filter may not
 * use, as what `place` uses.
 */
export function* instructionsIn(cursor: Cursor, place: () => string): Generator<Instruction> {
  let open = 1;
  while (open > 0) {
    const first = cursor.byte();
    const opcode = PREFIXES.has(first) ? prefixed(first, cursor.u32()) : first;
    const instruction = table.get(opcode);
    if (instruction === undefined) return refuse(`${place()} uses ${refusalOf(opcode)}`);
    instruction.skip(cursor);
    open += instruction.opens;
    yield instruction;
  }
}
