/**
 * What a module declares, read off its sections (WebAssembly core specification, 5.5); and, on the
 * way, the rules that need nothing but one section.
 */
import { refuse } from '../module.js';
import { Cursor } from './cursor.js';
import { valueType } from './instructions.js';

/**
 * Locals of all functions: hundreds of times what compilers make. A few bytes declare 50 000 of
 * them, and a compiler takes memory and time for each.
 */
export const LOCALS_MAX = 100_000;

/** Section ids (5.5.2). */
const CUSTOM = 0;
const TYPE = 1;
const IMPORT = 2;
const FUNCTION = 3;
const TABLE = 4;
const MEMORY = 5;
const EXPORT = 7;
const START = 8;
const CODE = 10;
const DATA = 11;
/** Nothing in these that a filter could do harm with: global, element, data count, tag. */
const UNREAD = new Set([6, 9, 12, 13]);

const FUNCTION_TYPE = 0x60;
/** What may be imported, exported (5.5.5, 5.5.10). */
const FUNCTION_KIND = 0;
const MEMORY_KIND = 2;
/** Bits of what limits have (5.3.7; threads and memory64 proposals). */
const HAS_MAX = 1;
const IS_SHARED = 2;
const IS_64 = 4;
/** What a table begins with whose entries an expression gives (5.5.7). */
const FILLED = 0x40;

export interface Limits {
  readonly min: number;
  readonly max: number | null;
  readonly isShared: boolean;
}

/** A function's type, as the bytes of its parameters' and results' types. */
export interface Signature {
  readonly params: readonly number[];
  readonly results: readonly number[];
}

export interface Contents {
  types: Signature[];
  /** env.memory; the only import, as the engine lists them. */
  memory: Limits | null;
  /** Of each function, the number of its type. */
  functions: number[];
  /** Entries that each has at first. */
  tables: number[];
  exports: Map<string, { isFunction: boolean; index: number }>;
  start: number | null;
  /** Of each function, its instructions. */
  codes: Cursor[];
  /** To be read by who knows the rules. */
  data: Cursor | null;
  /** Of functions, from the name section; engines do not look at it. */
  names: Map<number, string>;
}

export function contentsOf(bytes: Uint8Array): Contents {
  const contents: Contents = {
    types: [],
    memory: null,
    functions: [],
    tables: [],
    exports: new Map(),
    start: null,
    codes: [],
    data: null,
    names: new Map(),
  };
  const cursor = new Cursor(bytes);
  cursor.skip(8); // magic and version
  while (!cursor.atEnd) {
    const id = cursor.byte();
    readSection(id, cursor.take(cursor.u32()), contents);
  }
  return contents;
}

function readSection(id: number, section: Cursor, contents: Contents): void {
  const each = (read: () => void) => {
    for (let left = section.u32(); left > 0; left--) read();
    if (!section.atEnd) refuse(`section ${id} of the module has more than the checker can read`);
  };
  switch (id) {
    case CUSTOM:
      readNames(section, contents.names);
      break;
    case TYPE:
      each(() => contents.types.push(signature(section)));
      break;
    case IMPORT:
      each(() => {
        contents.memory = importedMemory(section);
      });
      break;
    case FUNCTION:
      each(() => contents.functions.push(section.u32()));
      break;
    case TABLE:
      each(() => contents.tables.push(table(section)));
      break;
    case MEMORY:
      if (section.u32() > 0)
        refuse('it has a memory of its own beside env.memory: a filter has that one only');
      break;
    case EXPORT:
      each(() => {
        const name = section.name();
        const isFunction = section.byte() === FUNCTION_KIND;
        contents.exports.set(name, { isFunction, index: section.u32() });
      });
      break;
    case START:
      contents.start = section.u32();
      break;
    case CODE: {
      let locals = 0;
      each(() => {
        const code = section.take(section.u32());
        locals += skipLocals(code, LOCALS_MAX - locals);
        contents.codes.push(code);
      });
      break;
    }
    case DATA:
      contents.data = section;
      break;
    default:
      if (!UNREAD.has(id)) refuse(`section ${id} of the module is not known to the checker`);
  }
}

function signature(section: Cursor): Signature {
  if (section.byte() !== FUNCTION_TYPE)
    refuse('it declares a type that is not a function’s: a filter has numbers and vectors only');
  return { params: valueTypes(section), results: valueTypes(section) };
}

function valueTypes(section: Cursor): number[] {
  return Array.from({ length: section.u32() }, () => valueType(section));
}

/** The engine has told that it is one (rules.ts). */
function importedMemory(section: Cursor): Limits {
  section.name();
  section.name();
  if (section.byte() !== MEMORY_KIND) refuse('it imports what is not a memory');
  return limits(section);
}

function limits(section: Cursor): Limits {
  const flags = section.u32();
  if ((flags & IS_64) !== 0)
    refuse('it has 64-bit addresses in a memory or table: those of a filter have 32 bits');
  if (flags > (HAS_MAX | IS_SHARED)) refuse('it declares a memory or table of an unknown kind');
  const min = section.u32();
  const max = (flags & HAS_MAX) === 0 ? null : section.u32();
  return { min, max, isShared: (flags & IS_SHARED) !== 0 };
}

/** The entries that it has at first. */
function table(section: Cursor): number {
  if (section.peek() === FILLED) refuse('it has a table that an expression fills: leave it empty');
  valueType(section);
  return limits(section).min;
}

/** Goes to the first instruction; groups of locals, how many and of which type, stand before it. */
function skipLocals(code: Cursor, max: number): number {
  let locals = 0;
  for (let groups = code.u32(); groups > 0; groups--) {
    locals += code.u32();
    if (locals > max) refuse(`its functions have more than ${LOCALS_MAX} locals`);
    valueType(code);
  }
  return locals;
}

/** The id of the part that names functions (7.4.1). */
const FUNCTION_NAMES = 1;

/** Nobody has looked at this section before: what cannot be read of it names nothing. */
function readNames(section: Cursor, names: Map<number, string>): void {
  try {
    if (section.name() !== 'name') return;
    while (!section.atEnd) {
      const id = section.byte();
      const part = section.take(section.u32());
      if (id !== FUNCTION_NAMES) continue;
      for (let left = part.u32(); left > 0; left--) names.set(part.u32(), part.name());
    }
  } catch {
    names.clear();
  }
}
