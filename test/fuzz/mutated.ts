/**
 * Modules of the other generators with some bytes changed: what a reader of modules takes for one
 * thing and the engine for another would show here. The engine refuses most at once, so most of the
 * time one is looked for that it takes.
 */
import type { Chance } from './chance.js';

const CHANGES_MAX = 6;
const TRIES_MAX = 60;
/** First bytes of instructions worth having: loads, stores, prefixes, control. */
const OPCODES = [
  0x00, 0x03, 0x0b, 0x0c, 0x10, 0x1a, 0x28, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3f, 0x40, 0xfc,
  0xfd, 0xfe,
];
const ODD_BYTES = [0x00, 0x01, 0x7f, 0x80, 0xff];
const HEADER_BYTES = 8; // magic and version

export function mutated(bytes: Uint8Array, chance: Chance): Uint8Array {
  const anyWillDo = chance.oneIn(8);
  let current = bytes;
  let changes = 0;
  for (let tries = 0; tries < TRIES_MAX && changes < CHANGES_MAX; tries++) {
    const changed = Uint8Array.from(change([...current], chance));
    if (!anyWillDo && !isTaken(changed)) continue;
    current = changed;
    changes++;
    if (chance.oneIn(3)) break;
  }
  return current;
}

function isTaken(bytes: Uint8Array): boolean {
  try {
    new WebAssembly.Module(bytes);
    return true;
  } catch {
    return false; // what the engine throws tells nothing here
  }
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
