/**
 * A file that somebody names, read whole: a pipe that nobody writes to would be waited for, and
 * what has no end would fill the memory.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

export interface WholeFile {
  readonly bytes: Buffer;
  /** Its permissions, as of stat(2). */
  readonly mode: number;
}

/** Throws an Error that says why not. */
export function readWhole(path: string, size_max: number): WholeFile {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const about = fstatSync(file);
    if (!about.isFile()) throw new Error(`${path} is no file`);
    if (about.size > size_max)
      throw new Error(`${path} has ${about.size} bytes; ${size_max} are read`);
    return { bytes: readFileSync(file), mode: about.mode };
  } finally {
    closeSync(file);
  }
}
