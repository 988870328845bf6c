/**
 * Reads the binary format of WebAssembly, forwards (WebAssembly core specification, chapter 5). The
 * engine has accepted the module before, so what is wrong here is beyond this reader, and is
 * refused.
 */
import { refuse } from '../module.js';

/** Bytes of a LEB128 number of 32 bits, and of 64 bits. */
const U32_SIZE_MAX = 5;
const U64_SIZE_MAX = 10;

export class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The next byte, which stays the next. */
  peek(): number {
    return this.#bytes[this.#at] ?? refuse('the module ends where the checker expects more');
  }

  byte(): number {
    const byte = this.peek();
    this.#at++;
    return byte;
  }

  /** u32 as LEB128. */
  u32(): number {
    let value = 0;
    for (let index = 0; index < U32_SIZE_MAX; index++) {
      const byte = this.byte();
      value |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return value >>> 0;
    }
    return refuse(`a number of the module has more than ${U32_SIZE_MAX} bytes`);
  }

  /** i32 as LEB128; sign-extended to 32 bits. */
  i32(): number {
    let value = 0;
    for (let index = 0; index < U32_SIZE_MAX; index++) {
      const byte = this.byte();
      value |= (byte & 0x7f) << (7 * index);
      const bits = 7 * (index + 1);
      if (byte < 0x80) return bits < 32 ? (value << (32 - bits)) >> (32 - bits) : value;
    }
    return refuse(`a number of the module has more than ${U32_SIZE_MAX} bytes`);
  }

  /** The number of a type, as LEB128 of 33 bits with a sign; -1 for any that is negative. */
  i33(): number {
    for (let index = 0, value = 0; index < U32_SIZE_MAX; index++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return (byte & 0x40) === 0 ? value : -1;
    }
    return refuse(`a number of the module has more than ${U32_SIZE_MAX} bytes`);
  }

  /** Past a LEB128 number of up to 64 bits, whatever its value. */
  skipNumber(): void {
    for (let index = 0; index < U64_SIZE_MAX; index++) if (this.byte() < 0x80) return;
    refuse(`a number of the module has more than ${U64_SIZE_MAX} bytes`);
  }

  skip(count: number): void {
    this.take(count);
  }

  take(count: number): Cursor {
    const end = this.#at + count;
    if (end > this.#bytes.length) refuse('a part of the module reaches past its end');
    const part = new Cursor(this.#bytes.subarray(this.#at, end));
    this.#at = end;
    return part;
  }

  /** UTF-8, its length before it. */
  name(): string {
    const count = this.u32();
    const start = this.#at;
    this.skip(count);
    return Buffer.from(this.#bytes.subarray(start, this.#at)).toString();
  }
}
