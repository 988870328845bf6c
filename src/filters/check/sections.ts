/**
 * The rules that are read off a module's bytes, before binaryen reads them (rules.ts): it tells of
 * one memory only, and has no limit of its own on locals.
 */
import { refuse } from '../module.js';

/**
 * Locals of all functions: hundreds of times what compilers make. A few bytes declare 50 000 of
 * them, and binaryen takes memory and time for each.
 */
export const LOCALS_MAX = 100_000;
/** Their ids (WebAssembly core specification, 5.5.2). */
const MEMORY_SECTION = 5;
const CODE_SECTION = 10;
/** First bytes of the types (ref null …) and (ref …), which another number follows. */
const REFERENCES = new Set([0x63, 0x64]);

/** A section is an id, its size and that many bytes. */
export function checkSections(bytes: Uint8Array): void {
  const cursor = new Cursor(bytes);
  cursor.skip(8); // magic and version
  while (!cursor.atEnd) {
    const id = cursor.byte();
    const size = cursor.unsigned();
    const section = cursor.take(size);
    if (id === MEMORY_SECTION && section.unsigned() > 0) {
      refuse('it has a memory of its own beside env.memory: a filter has that one only');
    }
    if (id === CODE_SECTION) checkLocals(section);
  }
}

/**
 * A function's code is its size, groups of locals (how many, of which type), and its instructions.
 */
function checkLocals(section: Cursor): void {
  let locals = 0;
  for (let left = section.unsigned(); left > 0; left--) {
    const code = section.take(section.unsigned());
    for (let groups = code.unsigned(); groups > 0; groups--) {
      locals += code.unsigned();
      if (locals > LOCALS_MAX) refuse(`its functions have more than ${LOCALS_MAX} locals`);
      if (REFERENCES.has(code.byte())) code.unsigned(); // what it refers to
    }
  }
}

/** Reads a module that the engine has accepted, so that what it looks for is there. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  /** LEB128, to 32 bits. */
  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  skip(count: number): void {
    this.#at += count;
  }

  take(count: number): Cursor {
    const part = new Cursor(this.#bytes.subarray(this.#at, this.#at + count));
    this.skip(count);
    return part;
  }
}
