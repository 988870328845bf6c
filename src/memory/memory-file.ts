/** Unnamed files in memory (memfd) by which bytes pass between processes; addon.ts makes them. */
import { fstatSync, readSync } from 'node:fs';

/** A whole file in memory; its position is shared by all that have it open, and left alone. */
export function contentOf(file: number): Uint8Array<ArrayBuffer> {
  const content = new Uint8Array(fstatSync(file).size);
  readSync(file, content, 0, content.length, 0);
  return content;
}
