/**
 * What a filter's module may contain, as far as reading it can tell; each refusal names the rule
 * and the place.
 *
 * Why the rules are what they are: packets and subscriber records lie in the filter's memory as
 * read-only pages, and an ordinary store there becomes a trap that costs one job. Other
 * instructions (instructions.ts), stores to constant addresses below the declared minimum of the
 * memory, and data segments are not guarded so: they end the process. Hence the list of
 * instructions, the small minimum, and data in the declared pages only.
 */
import { limits } from '../../memory/layout.js';
import { ABI_EXPORT, BURST_EXPORT, REPORT_EXPORT, refuse, STATE_EXPORT } from '../module.js';
import type { Cursor } from './cursor.js';
import { instructionsIn } from './instructions.js';
import { type Contents, contentsOf, type Signature } from './sections.js';

/**
 * Tables, and entries of all of them: room for a compiler's function pointers. The engine allocates
 * as many as are declared: 100 000 tables of 1024 are 400 KB of module, 3 GB of memory and 20 s.
 */
export const TABLES_MAX = 16;
export const TABLE_ENTRIES_MAX = 1024;

const PAGE_SIZE = 0x10000;
/** The private pages end where the job array starts. */
const PRIVATE_PAGES = limits.WINDOW_JOBS / PAGE_SIZE;
/** Of a function's name, in a sentence. */
const NAME_LENGTH_MAX = 60;
/** The type i32 (5.3.1). */
const I32 = 0x7f;
const ADDRESS_CONSTANT = 0x41; // i32.const
const END = 0x0b;
/** What a data segment begins with (5.5.14): at an address; passive; at an address of a memory. */
const PASSIVE = 1;
const WITH_MEMORY = 2;

/** Refuses a module, given as the engine compiled it and as bytes, that breaks a rule. */
export function checkRules(module: WebAssembly.Module, bytes: Uint8Array): void {
  checkImports(module);
  new Rules(contentsOf(bytes)).check();
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

class Rules {
  readonly #contents: Contents;

  constructor(contents: Contents) {
    this.#contents = contents;
  }

  check(): void {
    this.#checkMemory();
    const constant = new Map<number, string>();
    for (const name of [ABI_EXPORT, STATE_EXPORT, REPORT_EXPORT])
      if (name === ABI_EXPORT || this.#contents.exports.has(name))
        constant.set(this.#checkExport(name, { params: [], results: [I32] }), name);
    this.#checkExport(BURST_EXPORT, { params: [I32, I32, I32], results: [] });
    this.#checkStart();
    this.#checkTables();
    this.#checkData();
    this.#checkInstructions(constant);
  }

  #checkMemory(): void {
    const { memory } = this.#contents;
    if (memory === null) refuse('it declares no memory');
    const { min, max, isShared } = memory;
    if (isShared)
      refuse('env.memory is declared shared: that of a filter is not (asc: no --sharedMemory)');
    if (max !== null) {
      refuse(
        `env.memory is declared with a maximum of ${max} pages: declare none (asc: no --maximumMemory)`,
      );
    }
    if (min > PRIVATE_PAGES) {
      refuse(
        `env.memory is declared with a minimum of ${min} pages: at most ${PRIVATE_PAGES} are a filter's own, ` +
          'and stores to constant addresses below the minimum are not guarded (asc: no --initialMemory)',
      );
    }
  }

  /** Returns the index of the function. */
  #checkExport(name: string, wanted: Signature): number {
    const found = this.#contents.exports.get(name);
    if (found === undefined) return refuse(`it does not export ${name}`);
    if (!found.isFunction) refuse(`its export ${name} is not a function`);
    const type = this.#contents.types[this.#contents.functions[found.index] ?? -1];
    const isSame = (one: readonly number[], other: readonly number[]) =>
      one.join() === other.join();
    if (
      type !== undefined &&
      isSame(type.params, wanted.params) &&
      isSame(type.results, wanted.results)
    )
      return found.index;
    const words = (types: readonly number[]) => `(${types.map(() => 'i32').join(', ')})`;
    const signature = `${words(wanted.params)} -> ${words(wanted.results)}`;
    return refuse(
      `its export ${name}, ${this.#placeOf(found.index)}, must be of type ${signature}`,
    );
  }

  /** It would run on the live window outside any burst, where no trap is accounted for. */
  #checkStart(): void {
    const { start } = this.#contents;
    if (start === null) return;
    const place = this.#placeOf(start);
    refuse(`${place} is a start function: a filter sets itself up in its first ${BURST_EXPORT}`);
  }

  #checkTables(): void {
    const { tables } = this.#contents;
    if (tables.length > TABLES_MAX)
      refuse(`it has ${tables.length} tables; at most ${TABLES_MAX} are taken`);
    let entries = 0;
    for (const [index, initial] of tables.entries()) {
      entries += initial;
      if (entries > TABLE_ENTRIES_MAX) {
        const which = index === 0 ? 'table 0 has' : `tables 0 to ${index} have`;
        refuse(`${which} ${entries} entries; at most ${TABLE_ENTRIES_MAX} are taken`);
      }
    }
  }

  /** Data is copied in without guard when the module is instantiated. */
  #checkData(): void {
    const { data, memory } = this.#contents;
    if (data === null) return;
    const size = (memory?.min ?? 0) * PAGE_SIZE;
    const count = data.u32();
    for (let index = 0; index < count; index++) {
      const end = endOfSegment(data, index);
      if (end > size) {
        refuse(
          `data segment ${index} ends at byte ${end}, past the ${size} bytes of memory that are declared`,
        );
      }
    }
  }

  /**
   * `constant`: functions that are called when the module is loaded, on the live window and outside
   * any burst, where a trap is not accounted for and nobody sees that they do not return; with the
   * name that they are exported by.
   */
  #checkInstructions(constant: ReadonlyMap<number, string>): void {
    for (const [index, code] of this.#contents.codes.entries()) {
      const exported = constant.get(index);
      const place = () => this.#placeOf(index);
      for (const { name, isConstant } of instructionsIn(code, place)) {
        if (exported === undefined || isConstant) continue;
        refuse(
          `its export ${exported}, ${place()}, must answer a constant and nothing else: it uses ${name}`,
        );
      }
      if (!code.atEnd) refuse(`${place()} is longer than the checker can read`);
    }
  }

  /**
   * "function 3 (name)": the index as engines and disassemblers count; the name if the module has
   * names.
   */
  #placeOf(index: number): string {
    const name = this.#contents.names.get(index);
    if (name === undefined) return `function ${index}`;
    return `function ${index} (${name.slice(0, NAME_LENGTH_MAX)})`;
  }
}

/** The address behind the last byte of the next data segment. */
function endOfSegment(data: Cursor, index: number): number {
  const kind = data.u32();
  if (kind === PASSIVE) {
    refuse(
      `data segment ${index} is passive: bulk memory is not allowed (asc: --disable bulk-memory)`,
    );
  }
  if (kind === WITH_MEMORY) data.u32();
  const isConstant = data.byte() === ADDRESS_CONSTANT;
  const start = isConstant ? data.i32() >>> 0 : 0;
  if (!isConstant || data.byte() !== END)
    refuse(`data segment ${index} has an address that is not a constant`);
  const size = data.u32();
  data.skip(size);
  return start + size;
}
