/**
 * What a filter's module may contain, as far as reading it can tell; each refusal names the rule
 * and the place.
 *
 * Why the rules are what they are: packets and subscriber records lie in the filter's memory as
 * read-only pages, and an ordinary store there becomes a trap that costs one job. Bulk memory and
 * atomic instructions, stores to constant addresses below the declared minimum of the memory, and
 * data segments are not guarded so: they end the process. Hence the list of instructions, the small
 * minimum, and data in the declared pages only.
 */
import type Binaryen from 'binaryen';
import { FantailError } from '../../domain/errors.js';
import { limits } from '../../memory/layout.js';
import { ABI_EXPORT, BURST_EXPORT, refuse, STATE_EXPORT } from '../module.js';
import { checkSections } from './sections.js';

/**
 * Tables, and entries of all of them: room for a compiler's function pointers. The engine allocates
 * as many as are declared: 100 000 tables of 1024 are 400 KB of module, 3 GB of memory and 20 s.
 */
export const TABLES_MAX = 16;
export const TABLE_ENTRIES_MAX = 1024;

const PAGE_SIZE = 0x10000;
/** The private pages end where the job array starts. */
const PRIVATE_PAGES = limits.WINDOW_JOBS / PAGE_SIZE;

/**
 * Expressions, by binaryen's names, that run under the guard or touch no memory, and where each
 * holds others. What is not here is refused, so whatever comes new is too.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  Nop: [],
  Unreachable: [],
  Block: ['children'],
  Loop: ['body'],
  If: ['condition', 'ifTrue', 'ifFalse'],
  Break: ['condition', 'value'],
  Switch: ['condition', 'value'],
  Return: ['value'],
  Call: ['operands'],
  CallIndirect: ['target', 'operands'],
  Drop: ['value'],
  Select: ['ifTrue', 'ifFalse', 'condition'],
  LocalGet: [],
  LocalSet: ['value'],
  GlobalGet: [],
  GlobalSet: ['value'],
  MemorySize: [],
  Load: ['ptr'], // isAtomic is looked at
  Store: ['ptr', 'value'], // the same
  Const: [],
  Unary: ['value'],
  Binary: ['left', 'right'],
  SIMDExtract: ['vec'],
  SIMDReplace: ['vec', 'value'],
  SIMDShuffle: ['left', 'right'],
  SIMDTernary: ['a', 'b', 'c'],
  SIMDShift: ['vec', 'shift'],
  SIMDLoad: ['ptr'],
  SIMDLoadStoreLane: ['ptr', 'vec'],
};

/**
 * What fantail_abi and fantail_state may consist of: they are called when the module is loaded, on
 * the live window and outside any burst, where a trap is not accounted for and nobody sees that
 * they do not return.
 */
const CONSTANT: ReadonlySet<string> = new Set([
  'Nop',
  'Block',
  'Return',
  'Drop',
  'LocalGet',
  'LocalSet',
  'GlobalGet', // debug builds keep constants so; to read one can neither trap nor touch memory
  'Const',
]);

const BULK = 'bulk memory is not guarded against stores to packets (asc: --disable bulk-memory)';
const ATOMIC = 'atomic instructions are not guarded against stores to packets (asc: no threads)';
/** What compilers are likely to have put there, as their users know it. */
const REFUSED: Readonly<Record<string, string>> = {
  MemoryFill: `memory.fill: ${BULK}`,
  MemoryCopy: `memory.copy: ${BULK}`,
  MemoryInit: `memory.init: ${BULK}`,
  DataDrop: `data.drop: ${BULK}`,
  MemoryGrow: 'memory.grow: growing detaches the memory that the packets are mapped over',
  AtomicRMW: `an atomic read-modify-write: ${ATOMIC}`,
  AtomicCmpxchg: `an atomic compare-exchange: ${ATOMIC}`,
  AtomicWait: `memory.atomic.wait: ${ATOMIC}`,
  AtomicNotify: `memory.atomic.notify: ${ATOMIC}`,
  AtomicFence: `atomic.fence: ${ATOMIC}`,
};

/** Refuses a module, given as the engine compiled it and as bytes, that breaks a rule. */
export async function checkRules(module: WebAssembly.Module, bytes: Uint8Array): Promise<void> {
  checkImports(module);
  checkSections(bytes);
  const { default: binaryen } = await import('binaryen'); // 14 MB: not before a module is checked
  try {
    new Reader(binaryen, bytes).check();
  } catch (error) {
    if (error instanceof FantailError) throw error;
    refuse('the module is beyond what the checker can read: it is malformed, or nested too deeply');
  }
}

function checkImports(module: WebAssembly.Module): void {
  const imports = WebAssembly.Module.imports(module);
  for (const { module: from, name, kind } of imports) {
    if (from !== 'env' || name !== 'memory' || kind !== 'memory') {
      refuse(
        `it imports ${from}.${name} (${kind}): a filter imports env.memory only (asc: --use abort=)`,
      );
    }
  }
  if (imports.length === 0) {
    refuse('it does not import env.memory, where the packets are (asc: --importMemory)');
  }
  if (imports.length > 1)
    refuse(`it imports ${imports.length} memories: a filter has one, env.memory`);
}

/** What binaryen's build has; the types that it comes with describe another one here. */
interface Parsed extends Binaryen.Module {
  getNumDataSegments(): number;
  /** `offset` is a number; where no constant says it, this throws. */
  getDataSegmentInfo(segment: Binaryen.DataSegmentRef): {
    offset: number;
    data: ArrayBuffer;
    passive: boolean;
  };
}

/** An expression's kind, its fields that hold expressions, and the name of its function. */
interface Part {
  readonly kind: string;
  readonly fields: readonly string[];
  readonly name: string;
}

/** One module as binaryen reads it. */
class Reader {
  readonly #binaryen: typeof Binaryen;
  readonly #module: Parsed;
  readonly #names: Map<unknown, string>;

  constructor(binaryen: typeof Binaryen, bytes: Uint8Array) {
    this.#binaryen = binaryen;
    this.#names = namesOf(binaryen);
    this.#module = binaryen.readBinary(bytes) as Parsed; // see Parsed
  }

  check(): void {
    const { i32 } = this.#binaryen;
    try {
      this.#checkMemory();
      const abi = this.#checkExport({ name: ABI_EXPORT, params: [], results: [i32] });
      this.#checkExport({ name: BURST_EXPORT, params: [i32, i32, i32], results: [] });
      const isStateful = this.#module.getExport(STATE_EXPORT) !== 0;
      const state = isStateful
        ? this.#checkExport({ name: STATE_EXPORT, params: [], results: [i32] })
        : null;
      this.#checkStart();
      this.#checkTables();
      this.#checkData();
      this.#checkInstructions();
      this.#checkConstant(abi, ABI_EXPORT);
      if (state !== null) this.#checkConstant(state, STATE_EXPORT);
    } finally {
      this.#module.dispose();
    }
  }

  #checkMemory(): void {
    const { initial, max, shared, is64 } = this.#module.getMemoryInfo();
    if (shared)
      refuse('env.memory is declared shared: that of a filter is not (asc: no --sharedMemory)');
    if (is64)
      refuse('env.memory is declared with 64-bit addresses: that of a filter has 32-bit ones');
    if (max !== undefined) {
      refuse(
        `env.memory is declared with a maximum of ${max} pages: declare none (asc: no --maximumMemory)`,
      );
    }
    if (initial > PRIVATE_PAGES) {
      refuse(
        `env.memory is declared with a minimum of ${initial} pages: at most ${PRIVATE_PAGES} are a filter's own, ` +
          'and stores to constant addresses below the minimum are not guarded (asc: no --initialMemory)',
      );
    }
  }

  /** Returns the name of the function. */
  #checkExport(wanted: { name: string; params: number[]; results: number[] }): string {
    const found = this.#module.getExport(wanted.name);
    if (found === 0) refuse(`it does not export ${wanted.name}`);
    const { kind, value } = this.#binaryen.getExportInfo(found);
    if (kind !== this.#binaryen.ExternalFunction)
      refuse(`its export ${wanted.name} is not a function`);
    const { params, results } = this.#binaryen.getFunctionInfo(this.#module.getFunction(value));
    const type = (types: number[]) => this.#binaryen.createType(types);
    if (params === type(wanted.params) && results === type(wanted.results)) return value;
    const words = (types: number[]) => `(${types.map(() => 'i32').join(', ')})`;
    const signature = `${words(wanted.params)} -> ${words(wanted.results)}`;
    return refuse(
      `its export ${wanted.name}, ${this.#placeOf(value)}, must be of type ${signature}`,
    );
  }

  /** It would run on the live window outside any burst, where no trap is accounted for. */
  #checkStart(): void {
    const start = this.#module.getStart();
    if (start === 0) return;
    const place = this.#placeOf(this.#binaryen.getFunctionInfo(start).name);
    refuse(`${place} is a start function: a filter sets itself up in its first ${BURST_EXPORT}`);
  }

  #checkTables(): void {
    const tables = this.#module.getNumTables();
    if (tables > TABLES_MAX) refuse(`it has ${tables} tables; at most ${TABLES_MAX} are taken`);
    let entries = 0;
    for (let index = 0; index < tables; index++) {
      const { initial } = this.#binaryen.getTableInfo(this.#module.getTableByIndex(index));
      entries += initial;
      if (entries > TABLE_ENTRIES_MAX) {
        const which = index === 0 ? 'table 0 has' : `tables 0 to ${index} have`;
        refuse(`${which} ${entries} entries; at most ${TABLE_ENTRIES_MAX} are taken`);
      }
    }
  }

  /** Data is copied in without guard when the module is instantiated. */
  #checkData(): void {
    const size = this.#module.getMemoryInfo().initial * PAGE_SIZE;
    for (let index = 0; index < this.#module.getNumDataSegments(); index++) {
      const { passive, end } = this.#readSegment(index);
      if (passive) {
        refuse(
          `data segment ${index} is passive: bulk memory is not allowed (asc: --disable bulk-memory)`,
        );
      }
      if (end > size) {
        refuse(
          `data segment ${index} ends at byte ${end}, past the ${size} bytes of memory that are declared`,
        );
      }
    }
  }

  #readSegment(index: number): { passive: boolean; end: number } {
    try {
      const segment = this.#module.getDataSegmentInfo(this.#module.getDataSegmentByIndex(index));
      return { passive: segment.passive, end: (segment.offset >>> 0) + segment.data.byteLength };
    } catch {
      return refuse(`data segment ${index} has an address that is not a constant`);
    }
  }

  #checkInstructions(): void {
    for (let index = 0; index < this.#module.getNumFunctions(); index++) {
      const { name, body } = this.#binaryen.getFunctionInfo(this.#module.getFunctionByIndex(index));
      for (const _ of this.#kindsIn(name, body));
    }
  }

  /** A function that does nothing but answer. */
  #checkConstant(name: string, exported: string): void {
    const { body } = this.#binaryen.getFunctionInfo(this.#module.getFunction(name));
    for (const kind of this.#kindsIn(name, body)) {
      if (CONSTANT.has(kind)) continue;
      refuse(
        `its export ${exported}, ${this.#placeOf(name)}, must answer a constant and nothing else: it uses ${kind}`,
      );
    }
  }

  /** The kind of each expression in the body of a function; refuses one that is not allowed. */
  *#kindsIn(name: string, body: number): Generator<string> {
    const open = [body]; // no recursion: a module may be nested deeper than a stack
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const kind = this.#names.get(this.#binaryen.getExpressionId(next)) ?? 'an unknown expression';
      const fields = ALLOWED[kind];
      if (fields === undefined) {
        refuse(
          `${this.#placeOf(name)} uses ${REFUSED[kind] ?? `${kind}, which is not known to be guarded`}`,
        );
      }
      yield kind;
      if (fields.length > 0) open.push(...this.#partsOf(next, { kind, fields, name }));
    }
  }

  /**
   * The expressions within one, by the fields that hold them; the types know no fields by name,
   * hence the cast.
   */
  #partsOf(expression: number, { kind, fields, name }: Part): number[] {
    const info = this.#binaryen.getExpressionInfo(expression) as unknown as Record<string, unknown>;
    if ((kind === 'Load' || kind === 'Store') && info.isAtomic !== false) {
      refuse(`${this.#placeOf(name)} uses an atomic ${kind.toLowerCase()}: ${ATOMIC}`);
    }
    return fields.flatMap((field) => {
      const held = info[field];
      if (Array.isArray(held)) return held;
      // A field that was not there would hide what it holds.
      if (typeof held !== 'number') throw new Error(`binaryen gives no ${field} of ${kind}`);
      return held === 0 ? [] : [held];
    });
  }

  /**
   * "function 3 (name)": the index as engines and disassemblers count; the name if the module has
   * names.
   */
  #placeOf(name: string): string {
    let index = 0;
    while (this.#binaryen.getFunctionInfo(this.#module.getFunctionByIndex(index)).name !== name)
      index++;
    return name === String(index) ? `function ${index}` : `function ${index} (${name})`;
  }
}

/** binaryen's names of its kinds of expression, from its constants: `LoadId` is that of Load. */
function namesOf(binaryen: typeof Binaryen): Map<unknown, string> {
  const ids = Object.entries(binaryen).filter(([name]) => /^[A-Z]\w+Id$/.test(name));
  return new Map(ids.map(([name, id]) => [id, name.slice(0, -2)]));
}
