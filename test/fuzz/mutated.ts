/**
 * Modules of the other generators with some bytes changed: what a reader of modules takes for one thing and the engine
 * for another would show here. Most are refused by the engine at once.
 */
import type { Chance } from './chance.js';

const CHANGES_MAX = 6;
/** First bytes of instructions worth having: loads, stores, prefixes, control. */
const OPCODES = [
  0x00, 0x03, 0x0b, 0x0c, 0x10, 0x1a, 0x28, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3f, 0x40, 0xfc, 0xfd, 0xfe,
];
const ODD_BYTES = [0x00, 0x01, 0x7f, 0x80, 0xff];
const HEADER_BYTES = 8; // magic and version

export function mutated(bytes: Uint8Array, chance: Chance): Uint8Array {
  let changed = [...bytes];
  for (let left = 1 + chance.below(CHANGES_MAX); left > 0; left--) changed = change(changed, chance);
  return Uint8Array.from(changed);
}

function change(bytes: number[], chance: Chance): number[] {
  const at = HEADER_BYTES + chance.below(bytes.length - HEADER_BYTES);
  const count = 1 + chance.below(8);
  switch (chance.below(6)) {
    case 0:
      return bytes.with(at, (bytes[at] ?? 0) ^ (1 << chance.below(8)));
    case 1:
      return bytes.with(at, chance.pick(OPCODES));
    case 2:
      return bytes.with(at, chance.pick(ODD_BYTES));
    case 3:
      return bytes.toSpliced(at, 0, ...chance.bytes(count));
    case 4:
      return bytes.toSpliced(at, count);
    default: // the same bytes once more, elsewhere
      return bytes.toSpliced(
        HEADER_BYTES + chance.below(bytes.length - HEADER_BYTES),
        0,
        ...bytes.slice(at, at + count),
      );
  }
}
