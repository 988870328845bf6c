/**
 * What a filter's module may contain, as far as reading it can tell; each refusal names the rule and the place.
 *
 * Why the rules are what they are: packets and subscriber records lie in the filter's memory as read-only pages, and
 * an ordinary store there becomes a trap that costs one job. Bulk memory and atomic instructions, stores to constant
 * addresses below the declared minimum of the memory, and data segments are not guarded so: they end the process.
 * Hence the list of instructions, the small minimum, and data in the declared pages only.
 */
import type Binaryen from 'binaryen';
import { FantailError } from './errors.js';
import { limits } from './layout.js';

/** Entries of a table: room for a compiler's function pointers; the engine allocates as many as are declared. */
export const TABLE_ENTRIES_MAX = 1024;
export const ABI_EXPORT = 'fantail_abi';
export const BURST_EXPORT = 'fantail_burst';

const PAGE_SIZE = 0x10000;
/** The private pages end where the job array starts. */
const PRIVATE_PAGES = limits.WINDOW_JOBS / PAGE_SIZE;

/** Instructions that run under the guard or touch no memory. What is not here is refused, so new ones are too. */
const ALLOWED = new RegExp(
  '^(block|loop|if|then|else|br|br_if|br_table|return|call|call_indirect|unreachable|nop|drop|select' +
    '|type|param|result|local\\.(get|set|tee)|global\\.(get|set)|memory\\.size' +
    '|(i32|i64|f32|f64|v128|i8x16|i16x8|i32x4|i64x2|f32x4|f64x2)\\.(?!atomic)[a-z0-9_]+)$',
);

/** Why an instruction is not allowed, for those that a compiler is likely to have put there. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/atomic|^pause$/, 'atomic instructions are not guarded against stores to packets (asc: no threads)'],
  [/^memory\.grow$/, 'growing detaches the memory that the packets are mapped over'],
  [/^(memory|data)\./, 'bulk memory is not guarded against stores to packets (asc: --disable bulk-memory)'],
];

export function refuse(sentence: string): never {
  throw new FantailError('FILTER_REJECTED', sentence);
}

/** Refuses a module, given as the engine compiled it and as bytes, that breaks a rule. */
export async function checkRules(module: WebAssembly.Module, bytes: Uint8Array): Promise<void> {
  checkImports(module);
  const { default: binaryen } = await import('binaryen'); // 14 MB: loaded when a module is checked, not before
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
      refuse(`it imports ${from}.${name} (${kind}): a filter imports env.memory only (asc: --use abort=)`);
    }
  }
  if (imports.length === 0) {
    refuse('it does not import env.memory, where the packets are (asc: --importMemory)');
  }
  if (imports.length > 1) refuse(`it imports ${imports.length} memories: a filter has one, env.memory`);
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

/** One module as binaryen reads it. */
class Reader {
  readonly #binaryen: typeof Binaryen;
  readonly #module: Parsed;

  constructor(binaryen: typeof Binaryen, bytes: Uint8Array) {
    this.#binaryen = binaryen;
    this.#module = binaryen.readBinary(bytes) as Parsed; // see Parsed
  }

  check(): void {
    const { i32 } = this.#binaryen;
    try {
      this.#checkMemory();
      this.#checkExport({ name: ABI_EXPORT, params: [], results: [i32] });
      this.#checkExport({ name: BURST_EXPORT, params: [i32, i32, i32], results: [] });
      this.#checkStart();
      this.#checkTables();
      this.#checkData();
      this.#checkInstructions();
    } finally {
      this.#module.dispose();
    }
  }

  #checkMemory(): void {
    // A definition starts a line of its own, one blank in; nothing that a module can name or hold does.
    if (/^ \(memory /m.test(this.#module.emitText())) {
      refuse('it has a memory of its own beside env.memory: a filter has that one only');
    }
    const { initial, max, shared, is64 } = this.#module.getMemoryInfo();
    if (shared) refuse('env.memory is declared shared: that of a filter is not (asc: no --sharedMemory)');
    if (is64) refuse('env.memory is declared with 64-bit addresses: that of a filter has 32-bit ones');
    if (max !== undefined) {
      refuse(`env.memory is declared with a maximum of ${max} pages: declare none (asc: no --maximumMemory)`);
    }
    if (initial > PRIVATE_PAGES) {
      refuse(
        `env.memory is declared with a minimum of ${initial} pages: at most ${PRIVATE_PAGES} are a filter's own, ` +
          'and stores to constant addresses below the minimum are not guarded (asc: no --initialMemory)',
      );
    }
  }

  #checkExport(wanted: { name: string; params: number[]; results: number[] }): void {
    const found = this.#module.getExport(wanted.name);
    if (found === 0) refuse(`it does not export ${wanted.name}`);
    const { kind, value } = this.#binaryen.getExportInfo(found);
    if (kind !== this.#binaryen.ExternalFunction) refuse(`its export ${wanted.name} is not a function`);
    const { params, results } = this.#binaryen.getFunctionInfo(this.#module.getFunction(value));
    const type = (types: number[]) => this.#binaryen.createType(types);
    if (params === type(wanted.params) && results === type(wanted.results)) return;
    const words = (types: number[]) => `(${types.map(() => 'i32').join(', ')})`;
    const signature = `${words(wanted.params)} -> ${words(wanted.results)}`;
    refuse(`its export ${wanted.name}, ${this.#placeOf(value)}, must be of type ${signature}`);
  }

  /** It would run on the live window outside any burst, where no trap is accounted for. */
  #checkStart(): void {
    const start = this.#module.getStart();
    if (start === 0) return;
    const place = this.#placeOf(this.#binaryen.getFunctionInfo(start).name);
    refuse(`${place} is a start function: a filter sets itself up in its first ${BURST_EXPORT}`);
  }

  #checkTables(): void {
    for (let index = 0; index < this.#module.getNumTables(); index++) {
      const { initial } = this.#binaryen.getTableInfo(this.#module.getTableByIndex(index));
      if (initial > TABLE_ENTRIES_MAX) {
        refuse(`table ${index} has ${initial} entries; at most ${TABLE_ENTRIES_MAX} are taken`);
      }
    }
  }

  /** Data is copied in without guard when the module is instantiated. */
  #checkData(): void {
    const size = this.#module.getMemoryInfo().initial * PAGE_SIZE;
    for (let index = 0; index < this.#module.getNumDataSegments(); index++) {
      const { passive, end } = this.#readSegment(index);
      if (passive) {
        refuse(`data segment ${index} is passive: bulk memory is not allowed (asc: --disable bulk-memory)`);
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
      const text = this.#binaryen.emitText(body).replaceAll(/"(?:[^"\\]|\\.)*"/g, ''); // names may hold anything
      for (const [, instruction = ''] of text.matchAll(/\(([^\s()]+)/g)) {
        if (ALLOWED.test(instruction)) continue;
        const reason =
          REASONS.find(([pattern]) => pattern.test(instruction))?.[1] ?? 'it is not known to be guarded';
        refuse(`${this.#placeOf(name)} uses ${instruction}: ${reason}`);
      }
    }
  }

  /** "function 3 (name)": the index as engines and disassemblers count; the name if the module has names. */
  #placeOf(name: string): string {
    let index = 0;
    while (this.#binaryen.getFunctionInfo(this.#module.getFunctionByIndex(index)).name !== name) index++;
    return name === String(index) ? `function ${index}` : `function ${index} (${name})`;
  }
}
